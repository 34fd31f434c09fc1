"""Every way a call can end, on real processes, with what it used."""

from __future__ import annotations

import asyncio
import os
import signal

import msgspec
import pytest
from tests.process.cage import cage, job

from wickguard.backend import Refusal
from wickguard.records import Cost, OutcomeKind
from wickguard.units import MIB
from wickguard.workers.events import WorkerDied


def test_result_comes_back_when_a_call_completes() -> None:
    """The answer, CPU and wall time above zero, nothing killed."""

    async def scenario() -> None:
        async with cage() as c:
            outcome = await c.run("echo", text="hello")
            assert (outcome.kind, outcome.result) == (OutcomeKind.COMPLETED, b"hello")
            assert 0 < outcome.usage.cpu_s < 0.1
            assert outcome.usage.wall_s > 0
            assert not c.seen(WorkerDied)

    asyncio.run(scenario())


def test_usage_is_the_kernels_when_a_call_completes() -> None:
    """0.2 CPU-seconds spent are 0.2 reported, not what the next call or the birth cost."""

    async def scenario() -> None:
        async with cage() as c:
            spun = await c.run("spin", seconds=0.2)
            echoed = await c.run("echo")
            assert 0.2 <= spun.usage.cpu_s < 0.25
            assert echoed.usage.cpu_s < 0.05

    asyncio.run(scenario())


def test_expired_cpu_when_the_grant_is_spent() -> None:
    """The kernel stops a spinning call at its CPU grant, and the use of the dead process is reported."""

    async def scenario() -> None:
        async with cage() as c:
            outcome = await c.run("spin", Cost(0.3, 20.0, 64 * MIB), seconds=30)
            assert outcome.kind is OutcomeKind.EXPIRED_CPU
            assert 0.28 <= outcome.usage.cpu_s <= 0.60
            assert outcome.usage.wall_s >= 0.28
            assert not outcome.retryable
            await c.full()
            assert c.seen(WorkerDied)[0].signal == signal.SIGPROF

    asyncio.run(scenario())


def test_expired_wall_when_the_grant_is_slept_away() -> None:
    """A call that uses no CPU is stopped by the wall timer."""

    async def scenario() -> None:
        async with cage() as c:
            outcome = await c.run("sleep", Cost(1.0, 0.2, MIB), seconds=30)
            assert outcome.kind is OutcomeKind.EXPIRED_WALL
            assert outcome.usage.wall_s >= 0.19
            assert outcome.usage.cpu_s < 0.1

    asyncio.run(scenario())


def test_out_of_memory_when_more_than_the_grant_is_allocated() -> None:
    """64 MiB granted: 32 pass, 200 don't, and the worker that met the limit is replaced."""

    async def scenario() -> None:
        async with cage() as c:
            assert (await c.run("allocate", nbytes=32 * MIB)).kind is OutcomeKind.COMPLETED
            outcome = await c.run("allocate", nbytes=200 * MIB)
            assert outcome.kind is OutcomeKind.OUT_OF_MEMORY
            assert c.pool.snapshot().recycled == {"memory": 1}

    asyncio.run(scenario())


def test_out_of_memory_when_the_allocator_aborts_after_a_breach() -> None:
    """A SIGABRT with a breach in the ledger page is memory, with its size; one without is a crash."""

    async def scenario() -> None:
        async with cage(load="load_with_ledger") as c:
            outcome = await c.run("breach", nbytes=123 * MIB)
            assert outcome.kind is OutcomeKind.OUT_OF_MEMORY
            assert str(123 * MIB) in outcome.detail
            assert outcome.usage.peak_bytes == 5 * MIB

    asyncio.run(scenario())


def test_failed_when_the_model_raises() -> None:
    """An exception is the call's failure, not the worker's: the same process takes the next call."""

    async def scenario() -> None:
        async with cage() as c:
            outcome = await c.run("raise", text="bad luck")
            assert (outcome.kind, outcome.detail) == (OutcomeKind.FAILED, "ValueError: bad luck")
            assert (await c.run("echo")).worker == outcome.worker

    asyncio.run(scenario())


def test_refused_by_worker_when_the_model_refuses() -> None:
    """The reason, the limit and the value seen arrive."""

    async def scenario() -> None:
        async with cage() as c:
            outcome = await c.run("refuse", text="600 tokens", number=600)
            assert outcome.kind is OutcomeKind.REFUSED_BY_WORKER
            assert msgspec.json.decode(outcome.detail, type=Refusal) == Refusal(
                "too_many_tokens", "600 tokens", "input", 512, 600
            )

    asyncio.run(scenario())


@pytest.mark.parametrize("do", ["abort", "segfault", "exit"])
def test_crashed_when_the_process_ends(do: str) -> None:
    """Abort, segmentation fault and exit are crashes of that call only, and no reason to try again."""

    async def scenario() -> None:
        async with cage() as c:
            outcome = await c.run(do, number=7)
            assert (outcome.kind, outcome.retryable) == (OutcomeKind.CRASHED, False)
            assert (await c.run("echo", text="on")).result == b"on"

    asyncio.run(scenario())


def test_crashed_when_a_stranger_kills_the_worker() -> None:
    """kill -9 in the middle of work: a crash, with the CPU used so far."""

    async def scenario() -> None:
        async with cage() as c:
            call = asyncio.create_task(c.run("spin", Cost(20.0, 20.0, MIB), seconds=30))
            await c.until(lambda: c.pool.snapshot().running == 1)
            await asyncio.to_thread(_wait_for_cpu, c.pid_of(_busy(c.pool)), 0.1)
            os.kill(c.pid_of(_busy(c.pool)), signal.SIGKILL)
            outcome = await call
            assert outcome.kind is OutcomeKind.CRASHED
            assert outcome.usage.cpu_s >= 0.05
            await c.full()

    asyncio.run(scenario())


def test_abandoned_when_the_client_has_gone() -> None:
    """abandon kills the work, the caller of execute learns it, and the slot is usable again."""

    async def scenario() -> None:
        async with cage() as c:
            work = job("spin", Cost(20.0, 20.0, MIB), seconds=30)
            call = asyncio.create_task(c.pool.execute(work))
            await c.until(lambda: c.pool.snapshot().running == 1)
            c.pool.abandon(work.call_id)
            c.pool.abandon(work.call_id)
            c.pool.abandon("unknown")
            outcome = await call
            assert outcome.kind is OutcomeKind.ABANDONED
            assert outcome.usage.cpu_s < 5
            await c.full()

    asyncio.run(scenario())


def test_abandoned_call_finishes_when_little_time_is_left() -> None:
    """Under 100 ms of granted time the worker is left alone and lives on."""

    async def scenario() -> None:
        async with cage() as c:
            work = job("sleep", Cost(1.0, 0.09, MIB), seconds=0.04)
            call = asyncio.create_task(c.pool.execute(work))
            await c.until(lambda: c.pool.snapshot().running == 1)
            c.pool.abandon(work.call_id)
            assert (await call).kind is OutcomeKind.ABANDONED
            assert not c.seen(WorkerDied)

    asyncio.run(scenario())


def test_work_is_stopped_when_the_callers_task_is_cancelled() -> None:
    """Cancelling execute abandons the call; no slot is lost."""

    async def scenario() -> None:
        async with cage() as c:
            call = asyncio.create_task(c.run("spin", Cost(20.0, 20.0, MIB), seconds=30))
            await c.until(lambda: c.pool.snapshot().running == 1)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            assert call.cancelled()
            await c.full()
            assert (await c.run("echo", text="on")).result == b"on"

    asyncio.run(scenario())


def test_expired_wall_when_no_worker_is_free_in_time() -> None:
    """Waiting for a worker counts against the granted wall time."""

    async def scenario() -> None:
        async with cage() as c:
            busy = [asyncio.create_task(c.run("sleep", Cost(1.0, 10.0, MIB), seconds=1)) for _ in range(2)]
            await c.until(lambda: c.pool.snapshot().running == 2)
            outcome = await c.run("echo", Cost(1.0, 0.1, MIB))
            assert (outcome.kind, outcome.usage.cpu_s, outcome.worker) == (OutcomeKind.EXPIRED_WALL, 0.0, 0)
            assert {(await call).kind for call in busy} == {OutcomeKind.COMPLETED}
            assert c.pool.snapshot().waiting == 0

    asyncio.run(scenario())


def test_waiting_call_gets_the_worker_when_one_becomes_free() -> None:
    """More calls than workers: all complete, in turn."""

    async def scenario() -> None:
        async with cage() as c:
            outcomes = await asyncio.gather(*(c.run("sleep", seconds=0.02) for _ in range(12)))
            assert {outcome.kind for outcome in outcomes} == {OutcomeKind.COMPLETED}

    asyncio.run(scenario())


@pytest.mark.parametrize("do", ["spin", "sleep", "abort", "exit"])
def test_process_is_gone_when_the_outcome_says_that_it_was_stopped(do: str) -> None:
    """An outcome is returned after the process has been reaped: its number is free, its memory given back."""

    async def scenario() -> None:
        async with cage() as c:
            for _ in range(5):
                outcome = await c.run(do, Cost(0.05, 0.2, MIB), seconds=30, number=1)
                with pytest.raises(ProcessLookupError):
                    os.kill(c.pid_of(outcome.worker), 0)

    asyncio.run(scenario())


def test_usage_is_the_kernels_when_the_worker_lies() -> None:
    """A reply that claims no CPU and no memory is charged what the kernel counted; a claimed peak can't exceed the grant."""

    async def scenario() -> None:
        async with cage() as c:
            outcome = await c.run("lie", seconds=0.2, nbytes=1 << 50)
            assert (outcome.kind, outcome.result) == (OutcomeKind.COMPLETED, b"lied")
            assert outcome.usage.cpu_s >= 0.2
            assert outcome.usage.peak_bytes <= 96 * MIB

    asyncio.run(scenario())


def test_failed_when_the_job_cannot_be_sent() -> None:
    """A job over the frame bound or for an unknown model is an outcome, not an exception."""

    async def scenario() -> None:
        async with cage(max_job_bytes=4096) as c:
            assert (await c.run("echo", text="x" * 5000)).kind is OutcomeKind.FAILED
            assert (await c.run("echo", text="x" * 3000)).kind is OutcomeKind.COMPLETED

    asyncio.run(scenario())


def _busy(pool: object) -> int:
    staff = pool._staff  # type: ignore[attr-defined]
    return next(number for number, worker in staff.roster.workers.items() if worker.state == "busy")


def _wait_for_cpu(pid: int, seconds: float) -> None:
    """Block until the process has used so much CPU since now."""
    import time  # noqa: PLC0415

    clock_id = (~pid << 3) | 2
    start = time.clock_gettime(clock_id)
    while time.clock_gettime(clock_id) - start < seconds:
        os.sched_yield()
