"""Batches over real workers: what one member does to its job, the others don't notice."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence

import msgspec
import pytest
from tests.process.cage import Cage, cage, job

from wickguard.backend import Job, Task
from wickguard.guard.batch import Batches
from wickguard.guard.sharing import Part
from wickguard.records import Company, Cost, Outcome, OutcomeKind
from wickguard.units import MIB
from wickguard.workers.events import WorkerDied

LIMITS = Cost(0.25, 5.0, 16 * MIB)


class Each:
    """Merges jobs of the misbehaving model."""

    def merge(self, payloads: Sequence[bytes]) -> bytes:
        """See Merger."""
        return msgspec.msgpack.encode({"do": "each", "jobs": list(payloads)})

    def split(self, payloads: Sequence[bytes], result: bytes) -> list[Part]:
        """See Merger."""
        return [Part(one) for one in msgspec.msgpack.decode(result, type=list[bytes])]


def company(*jobs: Job) -> list[Job]:
    """These jobs, in one slot."""
    together = Company(jobs[0].call_id, len(jobs))
    return [dataclasses.replace(one, company=together, expected_s=0.005) for one in jobs]


async def run(c: Cage, jobs: Sequence[Job]) -> list[Outcome]:
    """All of them at once."""
    batches = Batches(c.pool, {Task.EMBED: Each()})
    return await asyncio.gather(*(batches.execute(one) for one in jobs))


def test_calls_are_one_job_when_they_share_a_slot() -> None:
    """Each gets its own answer and its part of the bill."""

    async def scenario() -> None:
        async with cage(recycle_calls=1) as c:
            outcomes = await run(c, company(*(job("echo", LIMITS, text=str(number)) for number in range(8))))
            assert [outcome.result for outcome in outcomes] == [str(number).encode() for number in range(8)]
            assert {outcome.kind for outcome in outcomes} == {OutcomeKind.COMPLETED}
            assert len({outcome.worker for outcome in outcomes}) == 1
            assert c.pool.snapshot().recycled == {"calls": 1}

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("poison", "ends"),
    [
        (job("spin", LIMITS, seconds=9), OutcomeKind.EXPIRED_CPU),
        (job("leak", LIMITS, nbytes=900 * MIB), OutcomeKind.OUT_OF_MEMORY),
        (job("exit", LIMITS, number=3), OutcomeKind.CRASHED),
        (job("refuse", LIMITS), OutcomeKind.REFUSED_BY_WORKER),
    ],
    ids=["spins", "hoards", "ends its worker", "is refused"],
)
def test_only_the_guilty_one_fails_when_a_batch_of_eight_holds_a_poison(poison: Job, ends: OutcomeKind) -> None:
    """The seven others are run again, alone, and answered; the guilty one also pays for the job that it ruined."""

    async def scenario() -> None:
        async with cage() as c:
            jobs = [job("echo", LIMITS, text=str(number)) for number in range(8)]
            jobs[4] = dataclasses.replace(poison, call_id=jobs[4].call_id)
            outcomes = await run(c, company(*jobs))
            assert [outcome.kind for index, outcome in enumerate(outcomes) if index != 4] == [OutcomeKind.COMPLETED] * 7
            assert [outcome.result for index, outcome in enumerate(outcomes) if index != 4] == [
                b"%d" % n for n in range(8) if n != 4
            ]
            assert outcomes[4].kind is ends
            if ends is OutcomeKind.EXPIRED_CPU:
                # Stopped twice: in the company, where it had room for everybody, and alone.
                assert outcomes[4].usage.cpu_s > 1.8 * LIMITS.cpu_s
                assert outcomes[4].respawn_s > 0
                assert len(c.seen(WorkerDied)) == 2
            await c.full()

    asyncio.run(scenario())


def test_the_others_are_answered_when_one_caller_leaves() -> None:
    """What is done for them goes on; who left gets nothing."""

    async def scenario() -> None:
        async with cage() as c:
            batches = Batches(c.pool, {Task.EMBED: Each()})
            jobs = company(*(job("sleep", LIMITS, seconds=0.05, text=str(number)) for number in range(3)))
            tasks = [asyncio.create_task(batches.execute(one)) for one in jobs]
            await c.until(lambda: c.pool.snapshot().running)
            batches.abandon(jobs[1].call_id)
            outcomes = await asyncio.gather(*tasks)
            kinds = [outcome.kind for outcome in outcomes]
            assert kinds == [OutcomeKind.COMPLETED, OutcomeKind.ABANDONED, OutcomeKind.COMPLETED]
            assert outcomes[1].result is None

    asyncio.run(scenario())


def test_the_job_is_stopped_when_all_callers_leave() -> None:
    """Nobody waits for it any more."""

    async def scenario() -> None:
        async with cage() as c:
            batches = Batches(c.pool, {Task.EMBED: Each()})
            jobs = company(*(job("sleep", Cost(5.0, 60.0, 16 * MIB), seconds=50) for _ in range(3)))
            tasks = [asyncio.create_task(batches.execute(one)) for one in jobs]
            await c.until(lambda: c.pool.snapshot().running)
            for one in jobs:
                batches.abandon(one.call_id)
            assert {outcome.kind for outcome in await asyncio.gather(*tasks)} == {OutcomeKind.ABANDONED}

    asyncio.run(scenario())


def test_the_rest_starts_without_it_when_a_member_never_comes() -> None:
    """Its caller left between the grant and the start."""

    async def scenario() -> None:
        async with cage() as c:
            jobs = company(*(job("echo", LIMITS, text=str(number)) for number in range(3)))
            outcomes = await run(c, jobs[:2])
            assert [outcome.result for outcome in outcomes] == [b"0", b"1"]

    asyncio.run(scenario())
