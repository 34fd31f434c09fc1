"""The canary and the health watch: what everybody else feels while a case runs.

Decides how a benign neighbour is imitated: one small request at a fixed rate, each on a new connection, sent whatever
became of the one before (open loop, so that a stall is not hidden by waiting for it); and one health request every 50 ms
on a warm connection. Promises to take off what this process itself was late by. It must not know cases or bounds.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from wickguard.clock import now
from wickguard.probe.wire import Answer

HEALTH_S = 0.05
_TICK_S = 0.01


@dataclass(slots=True)
class Window:
    """What was seen while a window was open; times are seconds.

    canary_s: latency of each canary that was answered well. canary_limited: those that the target's own rate limit refused
    (429). canary_failures: all others. suffered_in_a_row: of the latest canaries, by the judgement of whoever opened the
    window. health_s: latency of each health request, less our own lateness. health_failures: no answer at all. lag_s: our
    own worst lateness.
    """

    canary_s: list[float] = field(default_factory=list)
    canary_limited: int = 0
    canary_failures: int = 0
    suffered_in_a_row: int = 0
    health_s: list[float] = field(default_factory=list)
    health_failures: int = 0
    lag_s: float = 0.0

    @property
    def gap_s(self) -> float:
        """The longest that health was silent."""
        return max(self.health_s, default=0.0)

    def canary_quantile(self, share: float) -> float:
        """A quantile of the canary's latencies; a failed one counts as the worst. 0 when none was sent."""
        values = sorted(self.canary_s) + [float("inf")] * self.canary_failures
        return values[min(len(values) - 1, int(share * len(values)))] if values else 0.0


class Lateness:
    """How late this process runs: a task that wants to wake every 10 ms, and notes when it did."""

    def __init__(self) -> None:
        self._late: list[tuple[float, float]] = []

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            due = now() + _TICK_S
            await asyncio.sleep(_TICK_S)
            late = now() - due
            if late > _TICK_S:
                self._late.append((now(), late))
                del self._late[:-1000]

    def between(self, start: float, end: float) -> float:
        """Seconds by which we were late between two readings of the clock."""
        return sum(min(late, end - start) for at, late in self._late if at > start and at - late < end)


Sender = Callable[[], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Canary:
    """An ordinary request, how often a second it is sent, and who says whether its answer is one of a target that suffers."""

    send: Sender
    per_s: float
    suffers: Callable[[Answer], bool]


@contextlib.asynccontextmanager
async def watched(health: Sender, canary: Canary | None, timeout_s: float) -> AsyncIterator[Window]:
    """Open a window: the health watch, and canaries when there is a `canary`. timeout_s: for what is on its way at its end."""
    window, lateness = Window(), Lateness()
    tasks = [
        asyncio.create_task(lateness.run()),
        asyncio.create_task(_watch(health, window, lateness)),
    ]
    flying: set[asyncio.Task[None]] = set()
    if canary is not None:
        tasks.append(asyncio.create_task(_sing(canary, window, lateness, flying)))
    try:
        yield window
        # Those that are still on their way belong to the window, too.
        if flying:
            await asyncio.wait(flying, timeout=timeout_s)
    finally:
        for task in (*tasks, *flying):
            task.cancel()
        await asyncio.gather(*tasks, *flying, return_exceptions=True)


async def _watch(health: Sender, window: Window, lateness: Lateness) -> None:
    started: float | None = None
    try:
        while True:
            started = now()
            answer = await health()
            _note(window, lateness, started)
            if answer.status == 0:
                window.health_failures += 1
            due, started = started + HEALTH_S, None
            await asyncio.sleep(max(0.0, due - now()))
    finally:
        # The one that is still without an answer when the window closes is as long as it has waited.
        if started is not None:
            _note(window, lateness, started)


def _note(window: Window, lateness: Lateness, started: float) -> None:
    ended = now()
    late = lateness.between(started, ended)
    window.lag_s = max(window.lag_s, late)
    window.health_s.append(max(0.0, ended - started - late))


async def _sing(canary: Canary, window: Window, lateness: Lateness, flying: set[asyncio.Task[None]]) -> None:
    due = now()
    while True:
        task = asyncio.create_task(_one(canary, window, lateness))
        flying.add(task)
        task.add_done_callback(flying.discard)
        due += 1 / canary.per_s
        await asyncio.sleep(max(0.0, due - now()))


async def _one(canary: Canary, window: Window, lateness: Lateness) -> None:
    started = now()
    answer = await canary.send()
    ended = now()
    if answer.ok:
        window.canary_s.append(max(0.0, ended - started - lateness.between(started, ended)))
    elif answer.status == 429:
        window.canary_limited += 1
    else:
        window.canary_failures += 1
    window.suffered_in_a_row = window.suffered_in_a_row + 1 if canary.suffers(answer) else 0
