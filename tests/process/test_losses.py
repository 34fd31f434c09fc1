"""kill -9 of every process of the tree in the middle of work: nothing is orphaned, no slot is lost."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from tests.process.cage import MARK, ROOT, Cage, cage, marked, runs, until

from wickguard.errors import ConfigError, ModelError
from wickguard.records import Cost, Lane, OutcomeKind
from wickguard.units import MIB
from wickguard.workers.events import ArbiterLost, WorkerBorn, WorkerDied, ZygoteLost
from wickguard.workers.pool import Pool
from wickguard.workers.settings import WorkerSettings, ZygoteSpec

LONG_CALL = Cost(20.0, 20.0, MIB)


async def spinning(c: Cage) -> list[asyncio.Task[object]]:
    """One call running in each lane."""
    calls: list[asyncio.Task[object]] = [
        asyncio.create_task(c.run("spin", LONG_CALL, lane, seconds=30)) for lane in Lane
    ]
    await c.until(lambda: c.pool.snapshot().running == len(calls))
    return calls


def test_calls_are_retryable_and_zygote_replaced_when_the_zygote_is_killed() -> None:
    """Its workers die with it, their CPU is still known, and a new zygote brings new workers."""

    async def scenario() -> None:
        async with cage() as c:
            calls = await spinning(c)
            before = c.zygote_pid()
            os.kill(before, signal.SIGKILL)
            for call in calls:
                outcome = await call
                assert outcome.kind is OutcomeKind.CRASHED  # type: ignore[attr-defined]
                assert outcome.retryable  # type: ignore[attr-defined]
            await c.full()
            assert c.zygote_pid() != before
            assert c.seen(ZygoteLost)[0].signal == signal.SIGKILL
            assert (await c.run("echo", text="on")).result == b"on"

    asyncio.run(scenario())


def test_calls_are_retryable_and_arbiter_replaced_when_the_arbiter_is_killed() -> None:
    """The whole tree below dies with it; calls end when their processes have, and a new tree takes over."""

    async def scenario() -> None:
        async with cage() as c:
            calls = await spinning(c)
            before, tree = c.pool.arbiter_pid, marked(c.mark)
            os.kill(before, signal.SIGKILL)
            for call in calls:
                outcome = await call
                assert outcome.kind is OutcomeKind.CRASHED  # type: ignore[attr-defined]
                assert outcome.retryable  # type: ignore[attr-defined]
            await c.until(lambda: not any(runs(pid) for pid in tree))
            await c.full()
            assert c.pool.arbiter_pid != before
            assert len(c.seen(ArbiterLost)) == 1
            assert (await c.run("echo", text="on")).result == b"on"

    asyncio.run(scenario())


@pytest.mark.parametrize("who", ["arbiter", "zygote"])
def test_call_ends_and_tree_is_replaced_when_a_supervisor_hangs(who: str) -> None:
    """SIGSTOP: the kernel still stops the work at its grant; a death nobody reports is taken as the loss of the arbiter."""

    async def scenario() -> None:
        async with cage() as c:
            os.kill(c.pool.arbiter_pid if who == "arbiter" else c.zygote_pid(), signal.SIGSTOP)
            outcome = await c.run("spin", Cost(0.1, 30.0, MIB), seconds=30)
            assert (outcome.kind, outcome.retryable) == (OutcomeKind.CRASHED, True)
            assert outcome.usage.cpu_s <= 0.1
            await c.full()
            assert len(c.seen(ArbiterLost)) == 1
            assert (await c.run("echo", text="on")).result == b"on"

    asyncio.run(scenario())


def test_zygote_lives_on_when_it_cannot_fork() -> None:
    """No descriptors left: births fail and are tried again later, while the workers that live serve on."""

    async def scenario() -> None:
        async with cage(backoff_base_s=0.01, backoff_max_s=0.05) as c:
            zygote = c.zygote_pid()
            resource.prlimit(zygote, resource.RLIMIT_NOFILE, (4, 4096))
            assert (await c.run("exit", number=1)).kind is OutcomeKind.CRASHED
            for _ in range(50):
                assert (await c.run("echo", text="on")).result == b"on"
            assert c.idle() == 3
            resource.prlimit(zygote, resource.RLIMIT_NOFILE, (1024, 4096))
            await c.full()
            assert c.zygote_pid() == zygote

    asyncio.run(scenario())


def test_waiting_call_is_served_when_the_tree_below_is_replaced() -> None:
    """A call that comes while there is no worker at all waits for the next tree."""

    async def scenario() -> None:
        async with cage() as c:
            os.kill(c.pool.arbiter_pid, signal.SIGKILL)
            await c.until(lambda: c.seen(ArbiterLost))
            assert not c.pool.ready("m")
            outcome = await c.run("echo", Cost(1.0, 20.0, MIB), text="late")
            assert outcome.result == b"late"

    asyncio.run(scenario())


def test_nothing_is_left_when_the_front_is_killed() -> None:
    """A front in a process of its own, kill -9 while both lanes work: arbiter, zygote and workers are gone."""
    mark = uuid.uuid4().hex
    program = Path(__file__).with_name("front_program.py")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "src"))), MARK: ""}
    with subprocess.Popen([sys.executable, str(program), mark], stdout=subprocess.PIPE, env=env, text=True) as front:
        assert front.stdout is not None
        arbiter = int(front.stdout.readline())
        tree = marked(mark)
        assert len(tree) == 5
        assert runs(arbiter)
        front.kill()
    asyncio.run(until(lambda: not any(runs(pid) for pid in {arbiter, *tree})))
    assert not marked(mark)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_tree_works_on_when_a_terminal_or_service_manager_signals_it(number: int) -> None:
    """Ctrl-C and SIGTERM to every process are the front's business: it drains, the cage does not fall apart."""

    async def scenario() -> None:
        async with cage() as c:
            call = asyncio.create_task(c.run("sleep", seconds=0.2))
            await c.until(lambda: c.pool.snapshot().running == 1)
            for pid in (c.pool.arbiter_pid, *marked(c.mark)):
                os.kill(pid, number)
            assert (await call).kind is OutcomeKind.COMPLETED
            assert not c.seen(WorkerDied)

    asyncio.run(scenario())


def test_start_fails_with_the_loaders_words_when_a_model_cannot_be_loaded() -> None:
    """The message reaches the operator and nothing is tried again."""
    with pytest.raises(ModelError, match=r"header of model.safetensors is 12 bytes short"):
        asyncio.run(start_with("load_nothing"))


def test_start_fails_when_the_loader_takes_its_process_down() -> None:
    """Three crashes while loading are enough, with the signal named."""
    with pytest.raises(ModelError, match=f"signal {int(signal.SIGABRT)}"):
        asyncio.run(start_with("load_and_crash"))


def test_start_fails_when_the_loader_leaves_a_thread() -> None:
    """One thread at every fork is a law; a zygote with two refuses to fork."""
    with pytest.raises(ModelError, match="2 threads"):
        asyncio.run(start_with("load_with_thread"))


def test_start_fails_when_there_is_no_such_loader() -> None:
    """The name is in the message."""
    with pytest.raises(ModelError, match="load_imaginary"):
        asyncio.run(start_with("load_imaginary"))


def test_births_back_off_when_workers_die_before_hello() -> None:
    """Two seconds of a crash loop with a base of 0.2 s: the first four at once, then at most a handful."""
    events: list[object] = []
    with pytest.raises(ModelError):
        asyncio.run(start_with("load_stillborn", events, start_timeout_s=2.0, backoff_base_s=0.2))
    died = [event for event in events if isinstance(event, WorkerDied)]
    assert 4 <= len(died) <= 4 + 6
    assert not [event for event in events if isinstance(event, WorkerBorn)]


def test_pool_is_refused_when_names_collide() -> None:
    """Two models of one name, or none at all, are a configuration error."""
    one = ZygoteSpec("a", "/x")
    with pytest.raises(ConfigError):
        Pool([one, one])
    with pytest.raises(ConfigError):
        Pool([])


async def start_with(load: str, events: list[object] | None = None, **settings: float) -> None:
    """Start a pool with this loader; whatever happens, nothing of it may be left."""
    mark = uuid.uuid4().hex
    env = (("PYTHONPATH", str(ROOT)), (MARK, mark))
    model = ZygoteSpec("m", "/nowhere", f"tests.process.misbehave:{load}", env)
    chosen: dict[str, float] = {"slots": 1, "long_slots": 1, "start_timeout_s": 20.0, "backoff_base_s": 0.01} | settings
    collected = events if events is not None else []
    pool = Pool([model], WorkerSettings(**chosen), collected.append)  # type: ignore[arg-type]
    try:
        await pool.start()
    finally:
        await pool.close()
        assert not marked(mark)
