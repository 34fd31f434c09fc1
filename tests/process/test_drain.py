"""The end of a server: what runs may finish, what does not is stopped, nothing is left."""

from __future__ import annotations

import asyncio
import os
import signal

from tests.process.cage import cage, marked

from wickguard.records import Cost, OutcomeKind
from wickguard.units import MIB


def test_running_call_finishes_when_the_pool_drains() -> None:
    """A call inside the time-out completes; new ones are turned away, to be tried elsewhere."""

    async def scenario() -> None:
        async with cage() as c:
            call = asyncio.create_task(c.run("sleep", seconds=0.3))
            await c.until(lambda: c.pool.snapshot().running == 1)
            drain = asyncio.create_task(c.pool.drain(10.0))
            await asyncio.sleep(0)
            late = await c.run("echo")
            assert (late.kind, late.retryable) == (OutcomeKind.CRASHED, True)
            assert not c.pool.ready("m")
            await drain
            assert call.done()
            assert (await call).kind is OutcomeKind.COMPLETED

    asyncio.run(scenario())


def test_running_call_is_stopped_when_draining_takes_too_long() -> None:
    """After the time-out the work is killed and the caller told to try elsewhere."""

    async def scenario() -> None:
        async with cage() as c:
            call = asyncio.create_task(c.run("spin", Cost(30.0, 30.0, MIB), seconds=30))
            await c.until(lambda: c.pool.snapshot().running == 1)
            await c.pool.drain(0.1)
            assert call.done()
            outcome = await call
            assert (outcome.kind, outcome.retryable) == (OutcomeKind.CRASHED, True)

    asyncio.run(scenario())


def test_waiting_call_is_released_when_the_pool_closes() -> None:
    """Running and waiting calls all get an outcome, and no process is left."""

    async def scenario() -> None:
        async with cage() as c:
            calls = [asyncio.create_task(c.run("spin", Cost(30.0, 30.0, MIB), seconds=30)) for _ in range(4)]
            await c.until(lambda: c.pool.snapshot().running == 2 and c.pool.snapshot().waiting == 2)
            await c.pool.close()
            assert {(await call).retryable for call in calls} == {True}
            assert not marked(c.mark)
            await c.pool.close()

    asyncio.run(scenario())


def test_no_worker_is_born_when_the_pool_drains() -> None:
    """A worker that ends while draining is not replaced."""

    async def scenario() -> None:
        async with cage() as c:
            await c.pool.drain(0)
            before = len(marked(c.mark))
            call = c.pid_of(1)
            assert before == 5

            os.kill(call, signal.SIGKILL)
            await c.until(lambda: c.pool.snapshot().deaths)
            assert len(marked(c.mark)) == before - 1

    asyncio.run(scenario())
