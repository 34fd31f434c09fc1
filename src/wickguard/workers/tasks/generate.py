"""Generate: a prompt in, the text that follows out, whole or in pieces.

Decides how often pieces are handed on: a piece wakes the front and the caller, so several tokens go together when they come
fast. Promises that no piece ends within a character. It must not know HTTP, dialects or limits.
"""

from __future__ import annotations

from collections.abc import Generator

import msgspec
import wickguard_engine as engine

from wickguard import clock
from wickguard.backend import GenerateBatch, GeneratePayload, LogitsPayload, WriterShape
from wickguard.workers.tasks import generate_batch, logits
from wickguard.workers.tasks.session import PIECE_EVERY_S, begin, result

_JOB = msgspec.msgpack.Decoder(GeneratePayload | GenerateBatch | LogitsPayload)


def describe(model: engine.Generator) -> dict[str, object]:
    """What ModelSpec says of it beyond the numbers that every model has."""
    spec = model.spec
    return {
        "writer": WriterShape(spec.kv_heads or 0, spec.head_width or 0, spec.chat_tokens, spec.message_tokens),
    }


def run(model: engine.Generator, payload: bytes) -> bytes | Generator[bytes, None, bytes]:
    """One job. Raises Refused, or engine.EngineError."""
    job = _JOB.decode(payload)
    if isinstance(job, LogitsPayload):
        return logits.run(model, job)
    if isinstance(job, GenerateBatch):
        return generate_batch.run(model, job)
    session = begin(model, job)
    return _write(session) if job.stream else _whole(session)


def _whole(session: engine.Session) -> bytes:
    text: list[str] = []
    while True:
        step = session.step()
        text.append(step.text)
        if step.finish is not None:
            return msgspec.msgpack.encode(result(session, "".join(text), step.finish))


def _write(session: engine.Session) -> Generator[bytes, None, bytes]:
    held: list[str] = []
    next_at = clock.now()
    while True:
        step = session.step()
        if step.text:
            held.append(step.text)
        if held and (step.finish is not None or clock.now() >= next_at):
            yield "".join(held).encode()
            held.clear()
            next_at = clock.now() + PIECE_EVERY_S
        if step.finish is not None:
            return msgspec.msgpack.encode(result(session, "", step.finish))
