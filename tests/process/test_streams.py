"""Pieces of an answer on their way from a worker, while the call runs."""

from __future__ import annotations

import asyncio

from tests.process.cage import cage, job

from wickguard.records import Cost, OutcomeKind
from wickguard.units import MIB
from wickguard.workers.death import Death
from wickguard.workers.events import WorkerDied

LIMITS = Cost(2.0, 20.0, 8 * MIB)


def test_pieces_come_in_order_and_before_the_outcome_when_a_call_streams() -> None:
    """All of them, whole, and the worker serves the next call."""

    async def scenario() -> None:
        async with cage() as c:
            pieces: list[bytes] = []

            def sink(piece: bytes) -> bool:
                pieces.append(piece)
                return True

            outcome = await c.pool.execute(job("stream", LIMITS, number=300, text="p"), sink)
            assert (outcome.kind, outcome.result) == (OutcomeKind.COMPLETED, b"all")
            assert pieces == [b"p%d" % index for index in range(300)]
            again = await c.run("echo", text="on")
            assert (again.result, again.worker) == (b"on", outcome.worker)
            assert outcome.usage.cpu_s < 1.0

    asyncio.run(scenario())


def test_call_fails_and_the_worker_lives_when_it_raises_after_its_pieces() -> None:
    """What was handed on stays handed on; the outcome says how it ended."""

    async def scenario() -> None:
        async with cage() as c:
            pieces: list[bytes] = []
            outcome = await c.pool.execute(
                job("stream", LIMITS, number=3, text="p", nbytes=1), lambda piece: pieces.append(piece) is None
            )
            assert (outcome.kind, len(pieces)) == (OutcomeKind.FAILED, 3)
            assert (await c.run("echo", text="on")).worker == outcome.worker

    asyncio.run(scenario())


def test_call_is_stopped_when_its_reader_takes_no_more() -> None:
    """A sink that says no ends the work at once, as if its caller had left."""

    async def scenario() -> None:
        async with cage() as c:
            seen: list[bytes] = []

            def sink(piece: bytes) -> bool:
                seen.append(piece)
                return len(seen) < 5

            outcome = await c.pool.execute(job("stream", LIMITS, number=100_000, text="p", seconds=20), sink)
            assert (outcome.kind, len(seen)) == (OutcomeKind.ABANDONED, 5)
            assert outcome.usage.wall_s < 10
            assert (await c.run("echo", text="on")).result == b"on"

    asyncio.run(scenario())


def test_worker_is_killed_when_it_sends_pieces_that_nobody_asked_for() -> None:
    """A call without a sink has no pieces: a worker that sends some breaks the protocol."""

    async def scenario() -> None:
        async with cage() as c:
            outcome = await c.run("stream", LIMITS, number=3, text="p", seconds=10)
            assert outcome.kind is OutcomeKind.CRASHED
            assert c.seen(WorkerDied)[0].death is Death.PROTOCOL

    asyncio.run(scenario())
