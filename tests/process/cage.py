"""A real pool for one test: real arbiter, zygotes and workers, and proof afterwards that none of them is left.

`cage` starts a Pool whose model misbehaves on command, collects its events, and on leaving closes it and fails the test if any
process that carries its mark still runs.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from wickguard.backend import Job
from wickguard.records import Cost, Lane, Outcome
from wickguard.units import MIB
from wickguard.workers.events import WorkerBorn, WorkerEvent
from wickguard.workers.pool import Pool
from wickguard.workers.settings import WorkerSettings, ZygoteSpec

ROOT = Path(__file__).parents[2]
MARK = "WICKGUARD_TEST_MARK"
PATIENCE_S = 20.0
Event = TypeVar("Event", bound=WorkerEvent)
_ids = itertools.count(1)


def spec(mark: str, load: str = "load", name: str = "m", path: str = "/nowhere") -> ZygoteSpec:
    """A model that misbehaves; every process of it carries the mark in its environment."""
    env = (("PYTHONPATH", os.pathsep.join((str(ROOT / "build" / "faults"), str(ROOT)))), (MARK, mark))
    return ZygoteSpec(name, path, f"tests.process.misbehave:{load}", env)


def job(do: str, limits: Cost | None = None, lane: Lane = Lane.SHORT, **arguments: object) -> Job:
    """A job that does `do`; by default 1 CPU-second, 5 s, 64 MiB."""
    payload = msgspec.msgpack.encode({"do": do, **arguments})
    return Job(f"call-{next(_ids)}", "m", payload, limits or Cost(1.0, 5.0, 64 * MIB), lane)


def marked(mark: str) -> set[int]:
    """Processes that run (zombies don't) and carry the mark."""
    found = set()
    needle = f"{MARK}={mark}".encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if needle in (entry / "environ").read_bytes() and runs(int(entry.name)):
                found.add(int(entry.name))
        except OSError:
            continue
    return found


def runs(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def status(pid: int, field: str) -> str:
    """A line of /proc/pid/status."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return line.partition(":")[2].strip()
    raise KeyError(field)


class Cage:
    """A started pool, what it has said, and the mark of its processes."""

    def __init__(self, pool: Pool, events: list[WorkerEvent], mark: str) -> None:
        self.pool, self.events, self.mark = pool, events, mark

    async def run(self, do: str, limits: Cost | None = None, lane: Lane = Lane.SHORT, **arguments: object) -> Outcome:
        """Execute one job."""
        return await self.pool.execute(job(do, limits, lane, **arguments))

    def seen(self, kind: type[Event]) -> list[Event]:
        """All events of a kind so far."""
        return [event for event in self.events if isinstance(event, kind)]

    def pid_of(self, worker: int) -> int:
        """The process of a worker."""
        return next(event.pid for event in self.seen(WorkerBorn) if event.worker == worker)

    def zygote_pid(self) -> int:
        """The marked process that is no worker."""
        workers = {event.pid for event in self.seen(WorkerBorn)}
        (pid,) = (pid for pid in marked(self.mark) - workers if b"workers.zygote" in _command(pid) and _is_leader(pid))
        return pid

    async def until(self, condition: Callable[[], Any]) -> None:
        """Wait until `condition()` is true, looking again after each turn of the loop. Fails after PATIENCE_S."""
        await until(condition)

    async def full(self) -> None:
        """Wait until every worker, spares included, is idle."""
        settings = self.pool.settings
        wanted = sum(settings.workers(lane) for lane in Lane)
        await until(lambda: {key[2] for key in self.pool.snapshot().workers} == {"idle"} and self.idle() == wanted)

    def idle(self) -> int:
        """Idle workers."""
        return sum(n for (_, _, state), n in self.pool.snapshot().workers.items() if state == "idle")


async def until(condition: Callable[[], Any]) -> None:
    """Wait until `condition()` is true. Fails after PATIENCE_S."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "the condition has not come true"
        await asyncio.sleep(0.005)


@asynccontextmanager
async def cage(load: str = "load", path: str = "/nowhere", **settings: Any) -> AsyncIterator[Cage]:
    """A running pool with two workers per lane unless `settings` say otherwise."""
    mark = uuid.uuid4().hex
    chosen = {"slots": 1, "long_slots": 1, "spares": 1, "start_timeout_s": 30.0} | settings
    events: list[WorkerEvent] = []
    pool = Pool([spec(mark, load, path=path)], WorkerSettings(**chosen), events.append)
    await pool.start()
    try:
        yield Cage(pool, events, mark)
    finally:
        arbiter = pool.arbiter_pid
        await pool.close()
        await until(lambda: not marked(mark) and not runs(arbiter))


def open_descriptors(pid: int) -> int:
    """How many descriptors a process has."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _is_leader(pid: int) -> bool:
    try:
        return os.getsid(pid) == pid
    except OSError:
        return False
