"""Generate: a prompt in, the text that follows out, whole or in pieces.

Decides which of a writing model's jobs this is: one text, several that are written together, or raw logits. It must not know
HTTP, dialects or limits.
"""

from __future__ import annotations

from collections.abc import Generator

import msgspec
import wickguard_engine as engine

from wickguard.backend import GenerateBatch, GeneratePayload, LogitsPayload, WriterShape
from wickguard.workers.tasks import generate_batch, logits
from wickguard.workers.tasks.session import Written, begin

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
    written = Written(in_pieces=False)
    while True:
        step = session.step()
        written.take(step)
        if step.finish is not None:
            return msgspec.msgpack.encode(written.result(session, step.finish))


def _write(session: engine.Session) -> Generator[bytes, None, bytes]:
    written = Written(in_pieces=True)
    while True:
        step = session.step()
        if piece := written.take(step):
            yield piece
        if step.finish is not None:
            return msgspec.msgpack.encode(written.result(session, step.finish))
