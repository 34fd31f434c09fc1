"""GenerateBatch: several prompts in, their texts out, written together.

Decides what each member is the cause of: tokenising and reading its own prompt, as measured, and of the steps that all take
together a part by what its own steps would read alone: the weights once, and its own keys and values. So nobody pays more than
alone. Promises that a member which is refused is refused alone, that members end in their own time and each gets the text that
it would get alone; results come when all have ended. It must not know HTTP, dialects or limits.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence

import msgspec
import wickguard_engine as engine

from wickguard.backend import GenerateBatch, GenerateBatchResult, GeneratePayload, GenerateResult, Refusal
from wickguard.workers.loader import Refused
from wickguard.workers.tasks.session import Written, begin


class _Member:
    """One call. own_s: CPU-seconds that it used while no other member was served."""

    __slots__ = ("ended", "index", "job", "own_s", "refusal", "session", "written")

    def __init__(self, index: int, job: GeneratePayload) -> None:
        self.index, self.job = index, job
        self.written = Written(in_pieces=job.stream)
        self.own_s = 0.0
        self.session: engine.Session | None = None
        self.refusal: Refusal | None = None
        self.ended: GenerateResult | None = None

    def begin(self, model: engine.Generator) -> None:
        """Tokenise, or find out that it is refused."""
        begun = time.thread_time()
        try:
            self.session = begin(model, self.job, in_batch=True)
        except Refused as refused:
            self.refusal = refused.spelled()
        except engine.BadShape as error:
            self.refusal = Refused("out_of_envelope", str(error), field="input").spelled()
        self.own_s += time.thread_time() - begun

    def take(self, step: engine.Step) -> bytes:
        """A step of it; the piece that is to be handed on now, empty if none is."""
        piece = self.written.take(step)
        if step.finish is not None and self.session is not None:
            self.ended = self.written.result(self.session, step.finish)
        return bytes([self.index]) + piece if piece else b""

    def read_bytes(self, weight_bytes: int, token_bytes: int) -> float:
        """What its steps after the first would read alone."""
        if self.ended is None:
            return 0.0
        prompt, answer = self.ended.tokens
        return (answer - 1) * (weight_bytes + token_bytes * (prompt + answer / 2))


def run(model: engine.Generator, batch: GenerateBatch) -> bytes | Generator[bytes, None, bytes]:
    """All of the jobs. Raises engine.EngineError when they can't go on together."""
    pieces = _write(model, batch.jobs)
    if any(job.stream for job in batch.jobs):
        return pieces
    try:
        next(pieces)
    except StopIteration as end:
        found: bytes = end.value
        return found
    raise AssertionError("a piece that nobody asked for")


def _write(model: engine.Generator, jobs: Sequence[GeneratePayload]) -> Generator[bytes, None, bytes]:
    members = [_Member(index, job) for index, job in enumerate(jobs)]
    for member in members:
        member.begin(model)
    live = [member for member in members if member.session is not None]
    together_s = 0.0
    if live:
        batch = engine.Batch([member.session for member in live if member.session is not None])
        for reader in live:
            begun = time.thread_time()
            ((index, step),) = batch.step()
            assert live[index] is reader  # noqa: S101 - prompts are read in order
            reader.own_s += time.thread_time() - begun
            if piece := reader.take(step):
                yield piece
        begun = time.thread_time()
        while steps := batch.step():
            for index, step in steps:
                if piece := live[index].take(step):
                    yield piece
        together_s = time.thread_time() - begun
    return msgspec.msgpack.encode(_results(model, members, together_s))


def _results(model: engine.Generator, members: Sequence[_Member], together_s: float) -> GenerateBatchResult:
    spec = model.spec
    token_bytes = 8 * (spec.layers or 0) * (spec.kv_heads or 0) * (spec.head_width or 0)
    alone = [member.read_bytes(spec.weight_bytes, token_bytes) for member in members]
    per_byte_s = together_s / max(1.0, sum(alone))
    return GenerateBatchResult(
        [member.ended for member in members],
        [member.refusal for member in members],
        [member.own_s + per_byte_s * read for member, read in zip(members, alone, strict=True)],
    )
