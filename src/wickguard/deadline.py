"""Deadline: the instant by which an answer is worthless.

A duration is turned into an instant once, at the edge, and only instants are passed on, so that waiting in one stage
shortens what is left for the next. Promises: immutable, no clock inside. It must not know what is being waited for.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Deadline:
    """`at` is in monotonic seconds; `by_client` says whether the caller chose it (then it is named in refusals)."""

    at: float
    by_client: bool = False

    @classmethod
    def after(cls, timeout_s: float, now: float, *, by_client: bool = False) -> Deadline:
        """The deadline `timeout_s` seconds after `now`."""
        return cls(now + timeout_s, by_client)

    def remaining_s(self, now: float) -> float:
        """Seconds left, never negative."""
        return max(0.0, self.at - now)

    def passed(self, now: float) -> bool:
        """Whether the answer would already be worthless."""
        return now >= self.at
