"""The surge: the safety net for when prices are wrong, by two signs that no price can hide.

Decides when to refuse the least trusted group, and when to refuse on heads alone. Calls that start are asked how much of the
time that they could wait they have waited; when the *least* share of a whole interval is above a half, the queue is standing
and not merely bursting (CoDel, RFC 8289, on slack instead of milliseconds, because here costs differ by a thousand). Heartbeats
of the event loop that come late several times in a row say that the front itself has no time left; then nothing is read.

Promises: both states end by themselves, by one call that waited little or an interval in which none started, and by as many
punctual heartbeats as there were late ones. Pure; it must not know calls, tenants or what refusing means.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from wickguard.errors import ConfigError


@dataclass(frozen=True, slots=True)
class SurgeSettings:
    """share: of the slack, waited by every call of an interval. interval_s: how long that must last. late_s: a heartbeat that
    is later than this is late; beats: so many in a row mean that the front is overrun.
    """

    share: float = 0.5
    interval_s: float = 1.0
    late_s: float = 0.05
    beats: int = 3

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ConfigError(f"share must be between 0 and 1, not {self.share}")
        if self.interval_s <= 0 or self.late_s <= 0 or self.beats < 1:
            raise ConfigError("interval_s and late_s must be positive and beats at least 1")


class Surge:
    """The two signs of one server."""

    __slots__ = ("_above_since", "_last", "_late", "_settings", "overrun")

    def __init__(self, settings: SurgeSettings | None = None) -> None:
        self._settings = settings or SurgeSettings()
        self._above_since = math.inf
        self._last = -math.inf
        self._late = 0
        self.overrun = False

    def started(self, now: float, waited_s: float, slack_s: float) -> None:
        """A call starts; when it came it could wait `slack_s` and still be in time."""
        self._last = now
        if waited_s <= self._settings.share * slack_s:
            self._above_since = math.inf
        elif math.isinf(self._above_since):
            self._above_since = now

    def standing(self, now: float) -> bool:
        """Whether the queue has been standing for a whole interval."""
        if now - self._last > self._settings.interval_s:
            # Nothing has started for so long: what the last calls told is old.
            self._above_since = math.inf
        return now - self._above_since >= self._settings.interval_s

    def beat(self, late_s: float) -> None:
        """A heartbeat of the event loop came this much later than due."""
        most = self._settings.beats
        self._late = min(most, self._late + 1) if late_s > self._settings.late_s else max(0, self._late - 1)
        self.overrun = self._late == most or (self.overrun and self._late > 0)
