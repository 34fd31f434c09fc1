"""A worker is replaced before what it has kept can hurt, and nobody waits for that."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest
from tests.process.cage import cage, job, status

from wickguard.records import Cost, OutcomeKind
from wickguard.units import KIB, MIB
from wickguard.workers.events import WorkerDied, WorkerRecycled


def test_worker_retires_when_it_has_done_its_calls() -> None:
    """Every third call of a process is its last; all calls complete."""

    async def scenario() -> None:
        async with cage(recycle_calls=3) as c:
            outcomes = [await c.run("echo", text=str(i)) for i in range(12)]
            assert [outcome.result for outcome in outcomes] == [str(i).encode() for i in range(12)]
            by_worker = [sum(outcome.worker == other.worker for other in outcomes) for outcome in outcomes]
            assert max(by_worker) <= 3
            assert {event.reason for event in c.seen(WorkerRecycled)} == {"calls"}
            assert not c.seen(WorkerDied)
            await c.full()

    asyncio.run(scenario())


def test_every_call_has_a_fresh_process_when_the_policy_says_so() -> None:
    """No two calls share a worker."""

    async def scenario() -> None:
        async with cage(recycle_always=True) as c:
            outcomes = [await c.run("echo") for _ in range(20)]
            assert len({outcome.worker for outcome in outcomes}) == 20
            assert c.pool.snapshot().recycled == {"policy": 20}

    asyncio.run(scenario())


def test_worker_ends_with_its_call_when_the_call_is_a_trial() -> None:
    """What may be poison leaves nothing behind for the next call; the one before it was not a trial and stayed."""

    async def scenario() -> None:
        async with cage() as c:
            before = await c.run("echo")
            trial = await c.pool.execute(dataclasses.replace(job("echo"), trial=True))
            assert (trial.kind, trial.worker) == (OutcomeKind.COMPLETED, before.worker)
            assert (await c.run("echo")).worker != trial.worker
            assert c.pool.snapshot().recycled == {"trial": 1}

    asyncio.run(scenario())


def test_a_death_costs_a_new_process_when_a_call_is_stopped() -> None:
    """What is charged for it: a birth, and what the kernel needs to take the memory back."""

    async def scenario() -> None:
        async with cage() as c:
            small = await c.run("spin", Cost(0.05, 5.0, 64 * MIB), seconds=9)
            assert small.kind is OutcomeKind.EXPIRED_CPU
            assert small.respawn_s > 0
            assert (await c.run("echo")).respawn_s == 0

    asyncio.run(scenario())


def test_worker_retires_when_the_engine_has_panicked() -> None:
    """The tainted call itself is answered."""

    async def scenario() -> None:
        async with cage() as c:
            outcome = await c.run("taint")
            assert outcome.result == b"tainted"
            assert (await c.run("echo")).worker != outcome.worker
            assert [event.reason for event in c.seen(WorkerRecycled)] == ["panic"]

    asyncio.run(scenario())


def test_worker_retires_when_the_ledger_keeps_growing() -> None:
    """Retained bytes, as the engine's allocator counts them."""

    async def scenario() -> None:
        async with cage(load="load_with_ledger", recycle_retained_bytes=10 * MIB) as c:
            first = await c.run("retain", nbytes=6 * MIB)
            second = await c.run("retain", nbytes=6 * MIB)
            assert first.worker == second.worker
            assert [event.reason for event in c.seen(WorkerRecycled)] == ["retained"]

    asyncio.run(scenario())


def test_leak_is_contained_when_every_call_leaks() -> None:
    """60 calls leak 2 MiB each; no worker ever holds more than the limit plus one leak, nobody notices."""

    async def scenario() -> None:
        async with cage(recycle_retained_bytes=8 * MIB) as c:
            largest = 0
            for _ in range(60):
                outcome = await c.run("leak", Cost(1.0, 5.0, 8 * MIB), nbytes=2 * MIB)
                assert outcome.kind is OutcomeKind.COMPLETED
                alive = [event for event in c.pool._staff.roster.workers.values() if event.state == "idle"]
                largest = max(largest, *(int(status(worker.pid, "RssAnon").split()[0]) * KIB for worker in alive))
            assert len(c.seen(WorkerRecycled)) >= 60 // 6
            assert {event.reason for event in c.seen(WorkerRecycled)} == {"retained"}
            fresh = min(int(status(worker.pid, "RssAnon").split()[0]) * KIB for worker in alive)
            assert largest - fresh < 8 * MIB + 4 * MIB

    asyncio.run(scenario())


@pytest.mark.parametrize("do", ["leak", "allocate"])
def test_worker_retires_when_resident_memory_stays(do: str) -> None:
    """Memory that no ledger counts is seen in the resident size; memory that was given back is not held against a worker."""

    async def scenario() -> None:
        async with cage(load="load_with_ledger", recycle_rss_bytes=16 * MIB) as c:
            await c.run(do, Cost(1.0, 5.0, 48 * MIB), nbytes=24 * MIB)
            reasons = [event.reason for event in c.seen(WorkerRecycled)]
            assert reasons == (["resident"] if do == "leak" else [])

    asyncio.run(scenario())
