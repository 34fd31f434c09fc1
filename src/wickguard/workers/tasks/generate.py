"""Generate: a prompt in, the text that follows out, whole or in pieces.

Decides how often pieces are handed on: a piece wakes the front and the caller, so several tokens go together when they come
fast. Promises that a prompt which turns out longer than was reserved for is refused before anything is computed, and that no
piece ends within a character. It must not know HTTP, dialects or limits.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import msgspec
import wickguard_engine as engine

from wickguard import clock
from wickguard.backend import GeneratePayload, GenerateResult, LogitsPayload, WriterShape
from wickguard.workers.loader import Refused
from wickguard.workers.tasks import logits

# As often as a reader can see; the first piece goes at once.
PIECE_EVERY_S = 0.02
_PAYLOAD = msgspec.msgpack.Decoder(GeneratePayload | LogitsPayload)


def describe(model: engine.Generator) -> dict[str, object]:
    """What ModelSpec says of it beyond the numbers that every model has."""
    spec = model.spec
    return {
        "writer": WriterShape(spec.kv_heads or 0, spec.head_width or 0, spec.chat_tokens, spec.message_tokens),
    }


def run(model: engine.Generator, payload: bytes) -> bytes | Generator[bytes, None, bytes]:
    """One job. Raises Refused, or engine.EngineError."""
    job = _PAYLOAD.decode(payload)
    if isinstance(job, LogitsPayload):
        return logits.run(model, job)
    field, prompt = _prompt(model, job)
    limit = model.spec.max_tokens or 0
    if len(prompt) > job.prompt_tokens:
        raise Refused(
            "too_many_tokens", "the prompt has more tokens than were reserved for it", field=field,
            limit=job.prompt_tokens, seen=len(prompt),
        )  # fmt: skip
    room = limit - len(prompt)
    if room < 1 or (job.max_tokens > room and not job.clip):
        raise Refused(
            "too_many_tokens", f"the prompt has {len(prompt)} tokens, which leaves {max(0, room)} for the answer",
            field=field, limit=limit, seen=len(prompt) + job.max_tokens,
        )  # fmt: skip
    session = model.start(
        prompt,
        max_tokens=min(job.max_tokens, room),
        temperature=job.temperature,
        top_p=job.top_p,
        top_k=job.top_k,
        seed=job.seed,
        stop=job.stop,
        repetition_penalty=job.repetition_penalty,
        presence_penalty=job.presence_penalty,
        frequency_penalty=job.frequency_penalty,
        ignore_end=job.to_the_end,
    )
    return _write(session) if job.stream else _whole(session)


def _prompt(model: engine.Generator, job: GeneratePayload) -> tuple[str, list[int]]:
    """The name of the field that held the prompt, and its ids. Raises Refused."""
    field = "messages" if job.messages else "prompt"
    try:
        if job.messages:
            return field, model.encode_chat(job.messages)
        return field, model.encode(job.prompt) if isinstance(job.prompt, str) else job.prompt
    except engine.BadShape as error:
        limit = model.spec.max_tokens or 0
        too_many = "the limit is" in str(error)
        reason = "too_many_tokens" if too_many else "out_of_envelope"
        raise Refused(reason, str(error), field=field, limit=limit - 1 if too_many else None) from error


def _whole(session: engine.Session) -> bytes:
    text: list[str] = []
    while True:
        step = session.step()
        text.append(step.text)
        if step.finish is not None:
            return _result(session, "".join(text), step.finish)


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
            return _result(session, "", step.finish)


def _result(session: engine.Session, text: str, finish: Any) -> bytes:
    tokens = (session.prompt_tokens, session.completion_tokens)
    return msgspec.msgpack.encode(GenerateResult(text, finish, tokens))
