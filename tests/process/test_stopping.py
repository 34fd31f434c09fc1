"""Calls that are asked to stop, in the real cage: they do at their next checkpoint, and their worker lives on."""

from __future__ import annotations

import asyncio
import dataclasses
from array import array
from pathlib import Path

import msgspec
import pytest
from tests.process.cage import ROOT
from tests.process.test_writing import alone, asked, writing

from wickguard.backend import Job, LogitsPayload
from wickguard.records import Cost, OutcomeKind
from wickguard.units import MIB
from wickguard.workers import staff
from wickguard.workers.events import WorkerDied

pytestmark = pytest.mark.skipif(
    not (ROOT / "build" / "faults").exists(), reason="the engine's test build is not there: make engine-faults"
)
# As many as fit into one result.
ROWS = 30


def longest() -> Job:
    """A call that takes far longer than a word to its worker."""
    payload = LogitsPayload(array("q", [5] * 500 * ROWS).tobytes(), ROWS, "raw")
    return dataclasses.replace(asked(), payload=msgspec.msgpack.encode(payload), limits=Cost(20.0, 20.0, 512 * MIB))


def test_the_worker_lives_on_when_its_caller_leaves(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is killed, no new process is paid for, and it ends long before its end."""
    # Nobody is killed for not listening: whoever does not listen computes all of it.
    monkeypatch.setattr(staff, "STOP_GRACE_S", 60.0)

    async def scenario() -> None:
        async with writing(shared) as c:
            whole = await c.pool.execute(longest())
            assert whole.kind is OutcomeKind.COMPLETED
            for _ in range(10):
                job = longest()
                call = asyncio.create_task(c.pool.execute(job))
                while not c.pool.snapshot().running:  # noqa: ASYNC110 (what is waited for has no event)
                    await asyncio.sleep(0)
                c.pool.abandon(job.call_id)
                outcome = await call
                assert (outcome.kind, outcome.result, outcome.respawn_s) == (OutcomeKind.ABANDONED, None, 0.0)
                assert outcome.usage.cpu_s < whole.usage.cpu_s / 2
            assert not c.seen(WorkerDied)

    asyncio.run(scenario())


def test_the_next_call_is_never_stopped_for_the_one_before(shared: Path) -> None:
    """Callers leave at any moment, also just after the answer: whoever comes then has the whole of its own."""

    async def scenario() -> None:
        async with writing(shared) as c:
            job = asked()
            text, _ = await alone(c, job)
            for number in range(60):
                leaving = asked(tokens=1 + number % 20)
                call = asyncio.create_task(c.pool.execute(leaving))
                await asyncio.sleep(number * 0.0004)
                c.pool.abandon(leaving.call_id)
                assert (await call).kind in (OutcomeKind.ABANDONED, OutcomeKind.COMPLETED)
                for _ in range(2):
                    assert (await alone(c, job))[0] == text
            assert not c.seen(WorkerDied)

    asyncio.run(scenario())
