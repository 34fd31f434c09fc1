"""Session: from a job that asks for text to a session of the engine, and from what it writes to pieces and a result.

Decides how often pieces are handed on: a piece wakes the front and the caller, so several tokens go together when they come
fast. Promises that a prompt which turns out longer than was reserved for is refused before anything is computed, and that no
piece ends within a character. It must not know HTTP, dialects or limits, nor who steps.
"""

from __future__ import annotations

import math
from typing import Any

import wickguard_engine as engine

from wickguard import clock
from wickguard.backend import GeneratePayload, GenerateResult
from wickguard.workers.loader import Refused

# How often pieces are handed on: as often as a reader can see. The first goes at once.
PIECE_EVERY_S = 0.02


def begin(model: engine.Generator, job: GeneratePayload, *, in_batch: bool = False) -> engine.Session:
    """The session of a job; nothing is computed yet. Raises Refused, or engine.EngineError."""
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
    return model.start(
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
        in_batch=in_batch,
    )


class Written:
    """What a session writes: handed on in pieces when its caller wants them, else held to the end."""

    def __init__(self, *, in_pieces: bool) -> None:
        self._in_pieces = in_pieces
        self._held: list[str] = []
        self._next_at = -math.inf

    def take(self, step: engine.Step) -> bytes:
        """One more step; the piece that is to be handed on now, empty if none is."""
        if step.text:
            self._held.append(step.text)
        due = self._in_pieces and (step.finish is not None or clock.now() >= self._next_at)
        if not (due and self._held):
            return b""
        piece = "".join(self._held).encode()
        self._held.clear()
        self._next_at = clock.now() + PIECE_EVERY_S
        return piece

    def result(self, session: engine.Session, finish: Any) -> GenerateResult:
        """What a session that has ended is to its caller, with the text that was not handed on."""
        return GenerateResult("".join(self._held), finish, (session.prompt_tokens, session.completion_tokens))


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
