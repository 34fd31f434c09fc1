"""Slots: how many calls run at once, and how many of those may be long.

Decides whether a call of a lane may start. A share of the slots is closed to long calls, so that however many long calls
are admitted, a short one finds a slot that frees soon. Promises: running <= total, long running <= long total, every take
is given back exactly once. It must not know queues or processes.
"""

from __future__ import annotations

from wickguard.errors import ConfigError, WickguardError
from wickguard.records import Lane


class Slots:
    """`total` slots, of which at most `long` at once are used by long calls."""

    def __init__(self, total: int, long: int) -> None:
        if not 1 <= long <= total:
            raise ConfigError(f"long_slots must be 1 to slots ({total}), not {long}")
        self._capacity = {Lane.SHORT: total, Lane.LONG: long}
        self._running = {Lane.SHORT: 0, Lane.LONG: 0}

    def capacity(self, lane: Lane) -> int:
        """Slots that calls of this lane could use on an idle server."""
        return self._capacity[lane]

    def running(self, lane: Lane) -> int:
        """Calls of this lane that run now."""
        return self._running[lane]

    def free(self, lane: Lane) -> bool:
        """Whether a call of this lane may start now."""
        if self._running[Lane.SHORT] + self._running[Lane.LONG] >= self._capacity[Lane.SHORT]:
            return False
        return lane is Lane.SHORT or self._running[Lane.LONG] < self._capacity[Lane.LONG]

    def take(self, lane: Lane) -> None:
        """Start a call. Raises WickguardError when no slot is free."""
        if not self.free(lane):
            raise WickguardError(f"no {lane} slot is free")
        self._running[lane] += 1

    def give_back(self, lane: Lane) -> None:
        """End a call. Raises WickguardError when none runs (given back twice)."""
        if self._running[lane] == 0:
            raise WickguardError(f"no {lane} slot is taken")
        self._running[lane] -= 1
