"""What a worker says is data from a hostile process: bounded, parsed strictly, never believed."""

from __future__ import annotations

import asyncio
import os

import pytest
from tests.process.cage import cage

from wickguard.records import Cost, OutcomeKind
from wickguard.units import KIB, MIB
from wickguard.workers.death import Death
from wickguard.workers.events import WorkerDied


@pytest.mark.parametrize(
    ("length", "body"),
    [(0xFFFFFFFF, ""), (5, "abcde"), (0, ""), (200 * MIB, "x" * 100)],
)
def test_worker_is_killed_when_it_writes_what_is_no_frame(length: int, body: str) -> None:
    """An endless length, bytes that are no message, an empty frame: the worker dies, its call has crashed."""

    async def scenario() -> None:
        async with cage() as c:
            outcome = await c.run("garbage", Cost(1.0, 10.0, MIB), number=length, text=body, seconds=10)
            assert (outcome.kind, outcome.retryable) == (OutcomeKind.CRASHED, False)
            assert c.seen(WorkerDied)[0].death is Death.PROTOCOL
            assert (await c.run("echo", text="on")).result == b"on"

    asyncio.run(scenario())


def test_worker_is_killed_when_it_closes_its_socket_and_works_on() -> None:
    """The end of the stream without a death is a breach of protocol; the outcome waits for the process to be gone."""

    async def scenario() -> None:
        async with cage() as c:
            outcome = await c.run("hang_up", Cost(1.0, 20.0, MIB), seconds=20)
            assert outcome.kind is OutcomeKind.CRASHED
            assert c.seen(WorkerDied)[0].death is Death.PROTOCOL

    asyncio.run(scenario())


def test_failed_when_the_result_is_over_the_bound() -> None:
    """The worker itself checks, so an honest one survives its own large answer."""

    async def scenario() -> None:
        async with cage(max_result_bytes=64 * KIB) as c:
            assert (await c.run("large", nbytes=60 * KIB)).kind is OutcomeKind.COMPLETED
            outcome = await c.run("large", nbytes=80 * KIB)
            assert outcome.kind is OutcomeKind.FAILED
            assert "over 65536" in outcome.detail
            assert not c.seen(WorkerDied)

    asyncio.run(scenario())


def test_large_frames_arrive_whole_when_they_are_under_the_bound() -> None:
    """8 MiB there and 32 MiB back, in many pieces."""

    async def scenario() -> None:
        async with cage() as c:
            there = await c.run("echo", text="x" * (8 * MIB))
            assert there.result is not None
            assert len(there.result) == 8 * MIB
            back = await c.run("large", nbytes=32 * MIB)
            assert back.result == bytes(32 * MIB)

    asyncio.run(scenario())


def test_worker_loses_its_job_socket_only_when_the_front_ends() -> None:
    """Nobody but front and worker holds the job socket: not the zygote, not the arbiter, not a sibling."""

    async def scenario() -> None:
        async with cage() as c:
            for pid in (c.pool.arbiter_pid, c.zygote_pid()):
                links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
                assert sum(link.startswith("socket:") for link in links) <= 2, links  # control channels only

    asyncio.run(scenario())
