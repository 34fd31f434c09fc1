"""Answers that are written together, in the real cage: each is what it is alone, and only the guilty one fails."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import msgspec
import pytest
from tests.process.cage import ROOT, Cage, cage

from wickguard.backend import GeneratePayload, GenerateResult, Job, Refusal, Task
from wickguard.guard.batch import Batches
from wickguard.guard.generation import GenerationMerger
from wickguard.records import Company, Cost, Lane, Outcome, OutcomeKind
from wickguard.units import MIB
from wickguard.workers.events import WorkerDied

pytestmark = pytest.mark.skipif(
    not (ROOT / "build" / "faults").exists(), reason="the engine's test build is not there: make engine-faults"
)
LIMITS = Cost(0.4, 20.0, 32 * MIB)
_NUMBERS = itertools.count()


def writing(shared: Path, **settings: int) -> AbstractAsyncContextManager[Cage]:
    """A pool that serves the trained model on the engine's test build."""
    return cage("load_writer", str(shared / "models" / "stories-llama"), **settings)


def asked(prompt: str = "Mara was a", tokens: int = 40, **more: object) -> Job:
    """A call that writes; drawn, by a seed of its own."""
    number = next(_NUMBERS)
    payload = GeneratePayload(prompt, [], 400, tokens, **({"seed": number} | more))  # type: ignore[arg-type]
    return Job(f"call-{number}", "m", msgspec.msgpack.encode(payload), LIMITS, Lane.SHORT, expected_s=0.01)


class Reader:
    """Takes pieces; after so many it takes no more."""

    def __init__(self, most: int = 10**9) -> None:
        self.most, self.pieces = most, list[bytes]()

    def __call__(self, piece: bytes) -> bool:
        """A sink."""
        self.pieces.append(piece)
        return len(self.pieces) < self.most

    @property
    def text(self) -> str:
        """What was read; every piece is whole characters."""
        return "".join(piece.decode() for piece in self.pieces)


def batches(c: Cage) -> Batches:
    """As the server has them."""
    return Batches(c.pool, {Task.GENERATE: GenerationMerger()})


async def together(c: Cage, jobs: Sequence[Job], readers: dict[int, Reader] | None = None) -> list[Outcome]:
    """All of them in one slot. readers: of those that stream."""
    company, backend = Company(jobs[0].call_id, len(jobs)), batches(c)
    members = [dataclasses.replace(job, company=company) for job in jobs]
    return await asyncio.gather(
        *(backend.execute(job, (readers or {}).get(index)) for index, job in enumerate(members))
    )


async def alone(c: Cage, job: Job) -> tuple[str, GenerateResult]:
    """The text and the result of a call that has its slot to itself; whole, whether it streams or not."""
    payload = msgspec.msgpack.decode(job.payload, type=GeneratePayload)
    whole = msgspec.msgpack.encode(msgspec.structs.replace(payload, stream=False))
    found = result(await c.pool.execute(dataclasses.replace(job, call_id=f"{job.call_id}-alone", payload=whole)))
    return found.text, found


def result(outcome: Outcome) -> GenerateResult:
    """The result of a call that went well."""
    assert outcome.kind is OutcomeKind.COMPLETED, outcome
    assert outcome.result is not None
    return msgspec.msgpack.decode(outcome.result, type=GenerateResult)


def test_eight_answers_are_one_job_and_each_is_what_it_is_alone(shared: Path) -> None:
    """Whole and in pieces, of different lengths; who writes more pays more."""

    async def scenario() -> None:
        async with writing(shared) as c:
            jobs = [asked(tokens=20 * number + 20, stream=number % 2 == 1) for number in range(8)]
            readers = {number: Reader() for number in range(1, 8, 2)}
            outcomes = await together(c, jobs, readers)
            assert len({outcome.worker for outcome in outcomes}) == 1
            for number, (job, outcome) in enumerate(zip(jobs, outcomes, strict=True)):
                text, want = await alone(c, job)
                got = result(outcome)
                assert (got.finish, got.tokens) == (want.finish, want.tokens)
                assert (readers[number].text if number in readers else got.text) == text
                assert got.text == ("" if number in readers else text)
            # Who writes more was the cause of more.
            assert outcomes[7].usage.cpu_s > outcomes[0].usage.cpu_s > 0
            assert sum(outcome.usage.peak_bytes for outcome in outcomes) <= 8 * LIMITS.peak_bytes
            assert not c.seen(WorkerDied)

    asyncio.run(scenario())


def test_a_prompt_that_turns_out_too_long_is_refused_alone(shared: Path) -> None:
    """Found in the cage; the seven others are answered by the same job."""

    async def scenario() -> None:
        async with writing(shared, recycle_calls=1) as c:
            jobs = [asked() for _ in range(8)]
            jobs[3] = asked(prompt="word " * 200)
            outcomes = await together(c, jobs)
            assert [one.kind for one in outcomes].count(OutcomeKind.COMPLETED) == 7
            assert outcomes[3].kind is OutcomeKind.REFUSED_BY_WORKER
            refusal = msgspec.json.decode(outcomes[3].detail, type=Refusal)
            assert (refusal.reason, refusal.field, refusal.limit) == ("too_many_tokens", "prompt", 400)
            assert c.pool.snapshot().recycled == {"calls": 1}

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("fault", "ends"),
    [
        ("spin", OutcomeKind.EXPIRED_CPU),
        ("leak", OutcomeKind.OUT_OF_MEMORY),
        ("segfault", OutcomeKind.CRASHED),
        ("abort", OutcomeKind.CRASHED),
        ("panic", OutcomeKind.FAILED),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
def test_only_the_guilty_one_fails_when_a_batch_of_eight_holds_a_poison(
    shared: Path, fault: str, ends: OutcomeKind, stream: bool
) -> None:
    """The seven others are written again, alone; who had read a part of an answer reads on as if nothing had happened."""

    async def scenario() -> None:
        async with writing(shared) as c:
            jobs = [asked(stream=stream, tokens=60) for _ in range(8)]
            jobs[4] = asked(prompt=f"fault {fault}", stream=stream, tokens=60)
            readers = {number: Reader() for number in range(8)} if stream else {}
            outcomes = await together(c, jobs, readers)
            assert outcomes[4].kind is ends, outcomes[4]
            # It pays for the job that it ruined.
            assert outcomes[4].usage.cpu_s > (1.8 * LIMITS.cpu_s if fault == "spin" else 0)
            for number in {*range(8)} - {4}:
                text, want = await alone(c, jobs[number])
                got = result(outcomes[number])
                assert (got.finish, got.tokens) == (want.finish, want.tokens)
                assert (readers[number].text if stream else got.text) == text
            await c.full()

    asyncio.run(scenario())


def test_the_others_read_on_when_one_reader_takes_no_more(shared: Path) -> None:
    """It loses its own answer; the worker lives."""

    async def scenario() -> None:
        async with writing(shared) as c:
            jobs = [asked(stream=True, tokens=400, to_the_end=True) for _ in range(4)]
            readers = {number: Reader(1 if number == 2 else 10**9) for number in range(4)}
            outcomes = await together(c, jobs, readers)
            assert [one.kind for one in outcomes] == [
                OutcomeKind.ABANDONED if number == 2 else OutcomeKind.COMPLETED for number in range(4)
            ]
            assert len(readers[2].pieces) == 1
            for number in (0, 1, 3):
                assert readers[number].text == (await alone(c, jobs[number]))[0]
            assert not c.seen(WorkerDied)

    asyncio.run(scenario())


def test_the_job_is_stopped_when_all_readers_have_left(shared: Path) -> None:
    """In the middle of an answer that nobody waits for any more."""

    async def scenario() -> None:
        async with writing(shared) as c:
            jobs = [asked(prompt="fault spin", stream=True, tokens=400) for _ in range(3)]
            outcomes = await together(c, jobs, {number: Reader(1) for number in range(3)})
            assert {one.kind for one in outcomes} == {OutcomeKind.ABANDONED}
            assert sum(one.usage.cpu_s for one in outcomes) < LIMITS.cpu_s
            await c.full()

    asyncio.run(scenario())
