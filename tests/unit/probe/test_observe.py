"""Observing: what counts against the allowance, and how long anything is waited for. A real socket on the other side."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from tests.unit.probe.tiny import saying

from wickguard.clock import now
from wickguard.probe.observe import Observer
from wickguard.probe.rails import Allowance, Limits
from wickguard.probe.spelling import TargetSpelling, openai_embeddings
from wickguard.probe.target import Target

PATH = "/v1/embeddings"
LIMITS = Limits(1000, 1 << 20, 3600.0, 600.0, 1.0, 1, 0.0)


@contextlib.asynccontextmanager
async def observing(answer: bytes, began: float) -> AsyncIterator[Observer]:
    """An observer of a server that says `answer` to each request head, in a run that began then."""

    async with saying(answer, keep=True) as (address, _):
        spelling = TargetSpelling("openai", PATH, "m", {PATH: openai_embeddings}, (), {})
        target = Target(address, spelling, None, "/health", metrics=False, url="")
        yield Observer(target, Allowance(LIMITS, began), None)


def test_health_polls_count_against_the_allowance() -> None:
    """Twenty a second for a whole run are most of its requests."""

    async def run() -> tuple[int, int, int]:
        async with observing(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", now()) as observer:
            async with observer.watch() as window:
                await observer.control()
            return len(window.health_s), observer.allowance.requests, observer.allowance.bytes

    polls, requests, sent = asyncio.run(run())
    assert polls >= 1
    assert requests >= 1 + polls
    assert sent > 0


def test_answer_is_not_waited_for_long_beyond_the_end_of_the_run() -> None:
    """A request may take ten minutes by these limits; the run is over, so it is given up in seconds."""

    async def run() -> str:
        async with observing(b"", now() - LIMITS.seconds) as observer:
            return (await asyncio.wait_for(observer.control(), 120)).error

    assert asyncio.run(run()) == "timeout"
