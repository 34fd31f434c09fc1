"""The world: virtual time, slots on cores of their own, and what becomes of every request.

Decides nothing about who may run: a policy is told of arrivals, endings and callers who left, and says whose turn it is. The
world lets calls run for what they really need, kills them at their grants, keeps a slot busy until its worker is replaced, and
lets a call crash that would need more memory than there is. Promises: a fate for every request, and no more calls at once
than slots.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from benches.simulator.workload import CORES, MEMORY_BYTES, Request
from wickguard.records import Cost

RESPAWN_S = 0.005


class Fate(StrEnum):
    """What became of a request."""

    ANSWERED = "answered"
    REFUSED = "refused"
    LATE = "too late in the queue"
    KILLED = "killed at its grant"
    CRASHED = "out of memory"
    LEFT = "its client left"


@dataclass(frozen=True, slots=True)
class Start:
    """A waiting request's turn: limits of CPU and wall seconds, or why it may not run after all."""

    id: str
    cpu_s: float = math.inf
    wall_s: float = math.inf
    refused: str = ""


@dataclass(frozen=True, slots=True)
class End:
    """How its work ended, and what was used."""

    fate: Fate
    usage: Cost
    respawn_s: float = 0.0
    hurried: bool = False


class Policy(Protocol):
    """A way to admit. confines: whether calls are stopped at limits, deadlines and when their client leaves."""

    confines: bool

    def arrive(self, now: float, request: Request) -> str:
        """Let it wait (an empty string), or say why not."""

    def turns(self, now: float) -> list[Start]:
        """Waiting requests whose turn has come."""

    def leave(self, now: float, request: Request) -> None:
        """A waiting request is no longer wanted."""

    def finish(self, now: float, request: Request, end: End) -> None:
        """The work of a running request has stopped."""


@dataclass(frozen=True, slots=True)
class Story:
    """What became of a request, when, and the CPU-seconds that it took, its worker's replacement included."""

    request: Request
    fate: Fate
    ended_at: float
    cpu_s: float = 0.0
    reason: str = ""

    @property
    def good(self) -> bool:
        """Answered in time."""
        return self.fate is Fate.ANSWERED and self.ended_at <= self.request.deadline_at


@dataclass(slots=True)
class _Run:
    request: Request
    started_at: float
    end: End


class World:
    """One run of one policy against one list of requests."""

    def __init__(self, policy: Policy, requests: Iterable[Request]) -> None:
        self._policy = policy
        self._events: list[tuple[float, int, str, Request]] = []
        self._sequence = 0
        self._waiting: dict[str, Request] = {}
        self._running: dict[str, _Run] = {}
        self._bytes = 0
        self.stories: list[Story] = []
        for request in requests:
            self._at(request.at, "arrive", request)

    def run(self) -> list[Story]:
        """Until every request has its fate."""
        while self._events:
            now, _, what, request = heapq.heappop(self._events)
            if what == "arrive":
                self._arrive(now, request)
            elif what == "end":
                self._end(now, request)
            else:
                self._leave(now, request, Fate.LATE if what == "late" else Fate.LEFT)
        assert not self._waiting
        assert not self._running
        return self.stories

    def _at(self, when: float, what: str, request: Request) -> None:
        self._sequence += 1
        heapq.heappush(self._events, (when, self._sequence, what, request))

    def _arrive(self, now: float, request: Request) -> None:
        reason = self._policy.arrive(now, request)
        if reason:
            self.stories.append(Story(request, Fate.REFUSED, now, reason=reason))
            return
        self._waiting[request.id] = request
        if self._policy.confines:
            self._at(request.deadline_at, "late", request)
        if request.leaves_at < math.inf:
            self._at(request.leaves_at, "left", request)
        self._dispatch(now)

    def _dispatch(self, now: float) -> None:
        for start in self._policy.turns(now):
            request = self._waiting.pop(start.id)
            if start.refused:
                self.stories.append(Story(request, Fate.LATE, now, reason=start.refused))
            else:
                self._start(now, request, start)

    def _start(self, now: float, request: Request, start: Start) -> None:
        assert len(self._running) < CORES
        needs, end_s = request.needs, request.needs.wall_s
        end = End(Fate.ANSWERED, needs)
        if self._bytes + needs.peak_bytes > MEMORY_BYTES:
            end, end_s = End(Fate.CRASHED, Cost(0.0, 0.0, needs.peak_bytes), RESPAWN_S), 0.0
        elif needs.cpu_s > start.cpu_s or needs.wall_s > start.wall_s:
            end_s = min(start.wall_s, start.cpu_s * needs.wall_s / needs.cpu_s)
            used = Cost(needs.cpu_s * end_s / needs.wall_s, end_s, needs.peak_bytes)
            end = End(Fate.KILLED, used, RESPAWN_S, hurried=end_s == start.wall_s < request.ceiling.wall_s)
        self._running[request.id] = _Run(request, now, end)
        self._bytes += needs.peak_bytes
        self._at(now + end_s + end.respawn_s, "end", request)

    def _leave(self, now: float, request: Request, fate: Fate) -> None:
        if self._waiting.pop(request.id, None) is not None:
            self._policy.leave(now, request)
            self.stories.append(Story(request, fate, now))
            self._dispatch(now)
            return
        run = self._running.get(request.id)
        if run is None or fate is not Fate.LEFT or not self._policy.confines or run.end.fate is Fate.KILLED:
            return
        ran_s, needs = now - run.started_at, request.needs
        run.end = End(Fate.LEFT, Cost(needs.cpu_s * ran_s / needs.wall_s, ran_s, needs.peak_bytes), RESPAWN_S)
        self._at(now + RESPAWN_S, "end", request)

    def _end(self, now: float, request: Request) -> None:
        run = self._running.get(request.id)
        due = run is not None and now >= run.started_at + run.end.usage.wall_s + run.end.respawn_s - 1e-9
        if run is None or not due:
            # It was stopped before, or is to be stopped at another time.
            return
        del self._running[request.id]
        self._bytes -= request.needs.peak_bytes
        self._policy.finish(now, request, run.end)
        ended_at = now - run.end.respawn_s
        fate = Fate.LEFT if run.end.fate is Fate.ANSWERED and ended_at > request.leaves_at else run.end.fate
        self.stories.append(Story(request, fate, ended_at, run.end.usage.cpu_s + run.end.respawn_s))
        self._dispatch(now)
