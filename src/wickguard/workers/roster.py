"""Roster: the workers that the front knows, who of them is free, and who waits for one.

A free worker goes to the longest waiting call of its model and lane. It promises that a worker is in exactly one
state, and that a wait is resolved exactly once: with a worker, or with None when it was given up. Pure bookkeeping on
the event loop: it must not know processes, frames or time.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from wickguard.backend import Job
from wickguard.records import Lane
from wickguard.workers.link import Link
from wickguard.workers.protocol import DeathNote, Reply


class State(StrEnum):
    """What a worker is doing, as far as the front knows."""

    BEING_BORN = "being_born"
    IDLE = "idle"
    TAKEN = "taken"
    BUSY = "busy"
    LEAVING = "leaving"


@dataclass(slots=True, eq=False)
class Running:
    """A call inside the pool. wait: for a worker; ending: of the work; armed: the arbiter was told. Monotonic seconds."""

    job: Job
    serial: int
    asked_at: float
    wait: asyncio.Future[Worker | None] | None = None
    ending: asyncio.Future[Reply | DeathNote] | None = None
    worker: Worker | None = None
    sent_at: float = 0.0
    abandoned: bool = False
    armed: bool = False

    @property
    def wall_at(self) -> float:
        """When its granted time is over."""
        return self.asked_at + self.job.limits.wall_s


@dataclass(slots=True, eq=False)
class Worker:
    """One worker. cpu_total_s: CPU of its life up to its last hello or reply. birth_s: from the news of its fork to its hello,
    what a replacement costs. It is gone when it has ended and has a note.
    """

    number: int
    model: str
    lane: Lane
    pid: int
    seen_at: float
    link: Link | None = None
    state: State = State.BEING_BORN
    cpu_total_s: float = 0.0
    birth_s: float = 0.0
    call: Running | None = None
    retiring: str = ""
    ended: bool = False
    note: DeathNote | None = None


@dataclass(slots=True)
class Roster:
    """All workers by number, the idle ones and the waits by (model, lane)."""

    workers: dict[int, Worker] = field(default_factory=dict)
    _idle: dict[tuple[str, Lane], deque[Worker]] = field(default_factory=dict)
    _waits: dict[tuple[str, Lane], deque[asyncio.Future[Worker | None]]] = field(default_factory=dict)

    def add(self, worker: Worker) -> None:
        """A worker is being born."""
        self.workers[worker.number] = worker

    def offer(self, worker: Worker) -> None:
        """A worker is free: give it to the longest wait, or keep it idle."""
        worker.call = None
        waits = self._waits.get((worker.model, worker.lane))
        while waits:
            wait = waits.popleft()
            if not wait.done():
                worker.state = State.TAKEN
                wait.set_result(worker)
                return
        worker.state = State.IDLE
        self._idle.setdefault((worker.model, worker.lane), deque()).append(worker)

    def take(self, model: str, lane: Lane) -> Worker | None:
        """An idle worker, the one used last (its caches are warm)."""
        idle = self._idle.get((model, lane))
        if not idle:
            return None
        worker = idle.pop()
        worker.state = State.TAKEN
        return worker

    def wait(self, model: str, lane: Lane) -> asyncio.Future[Worker | None]:
        """A future of the next free worker; whoever gives up sets it to None."""
        waits = self._waits.setdefault((model, lane), deque())
        while waits and waits[0].done():
            waits.popleft()
        wait: asyncio.Future[Worker | None] = asyncio.get_running_loop().create_future()
        waits.append(wait)
        return wait

    def leave(self, worker: Worker) -> None:
        """A worker takes no more calls."""
        if worker.state is State.IDLE:
            self._idle[worker.model, worker.lane].remove(worker)
        worker.state = State.LEAVING

    def remove(self, worker: Worker) -> None:
        """A worker is gone."""
        self.leave(worker)
        del self.workers[worker.number]

    def idle(self, model: str, lane: Lane) -> int:
        """Workers that could start a call now."""
        return len(self._idle.get((model, lane), ()))

    def waiting(self) -> Iterator[asyncio.Future[Worker | None]]:
        """All unresolved waits."""
        return (wait for waits in self._waits.values() for wait in waits if not wait.done())

    def counts(self) -> dict[tuple[str, Lane, str], int]:
        """Workers by model, lane and state."""
        return dict(Counter((worker.model, worker.lane, worker.state.value) for worker in self.workers.values()))


def give_up(wait: asyncio.Future[Worker | None]) -> None:
    """Resolve a wait without a worker, unless it has been resolved."""
    if not wait.done():
        wait.set_result(None)
