"""Limits: how much of a feature a target takes, and how much it should take.

Decides a limit from a sweep: the largest size that the target accepts (found by bisection between the largest accepted and
the smallest refused), whose predicted latency fits the time that one request may have, whose memory fits, and that stays
below 0.8 of the first cliff. Promises never to recommend beyond what was measured, and to send the recommended size once
more. It must not know policies.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator

from wickguard.clock import now
from wickguard.probe.case import Case
from wickguard.probe.events import Arm, CurveFitted, Event, LimitDerived, Sampled
from wickguard.probe.fit import Family
from wickguard.probe.observe import Observer
from wickguard.units import MIB, format_bytes, format_seconds

# What one request may take at most: a tenth of a deadline of ten seconds, and a quarter gigabyte.
REQUEST_S = 1.0
REQUEST_BYTES = 256 * MIB
_CLIFF_SHARE = 0.8
# Of what one request may take, the part from which on a cliff counts: one that stays below is bounded by the rest.
_MATTERS_SHARE = 0.5
_BISECTIONS = 6
_CONFIRMED_RATIO = 2.0


class LimitFinder:
    """A listener that notes a sweep's samples and curves, and derives its limit when the sweep is over."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._accepted: set[int] = set()
        self._refused: set[int] = set()
        self._curves: dict[str, CurveFitted] = {}

    def note(self, event: Event) -> None:
        """Take in what happens in a sweep."""
        if isinstance(event, Sampled) and event.arm is Arm.ATTACK:
            if 200 <= event.status < 300:
                self._accepted.add(event.size)
            elif event.status >= 400:
                self._refused.add(event.size)
        elif isinstance(event, CurveFitted):
            self._curves[event.channel] = event

    async def find(self, case: Case) -> AsyncIterator[LimitDerived]:
        """The limit of the sweep that has just ended; nothing when it was not accepted at all."""
        accepted, refused, curves = self._accepted, self._refused, self._curves
        self._accepted, self._refused, self._curves = set(), set(), {}
        if not accepted:
            return
        largest, smallest = max(accepted), min((size for size in refused if size > max(accepted)), default=0)
        reason = "the largest size that was tried"
        if smallest:
            largest = await self._bisect(case, largest, smallest)
            reason = "the target refuses more"
        limit, reason = recommend(largest, reason, curves)
        if limit < largest:
            seen = await self._observer.observe(case.attack(self._observer.target.spelling, limit, random.Random(0)))
            if seen.latency_s > _CONFIRMED_RATIO * REQUEST_S:
                limit //= 2
        yield LimitDerived(
            at_s=round(now() - self._observer.allowance.began, 3),
            feature=case.feature,
            limit=max(1, limit),
            reason=reason,
        )

    async def _bisect(self, case: Case, accepted: int, refused: int) -> int:
        for _ in range(_BISECTIONS):
            middle = (accepted + refused) // 2
            if middle in (accepted, refused) or self._observer.allowance.exceeded(now()) is not None:
                break
            trace = case.attack(self._observer.target.spelling, middle, random.Random(0))
            if (await self._observer.observe(trace, watch=False)).accepted:
                accepted = middle
            else:
                refused = middle
        return accepted


def recommend(largest: int, reason: str, curves: dict[str, CurveFitted]) -> tuple[int, str]:
    """The limit and why, from the curves of a sweep that was accepted up to `largest`. Pure."""
    limit = float(largest)
    for channel, most, text in (
        ("latency_s", REQUEST_S, format_seconds(REQUEST_S)),
        ("memory_bytes", REQUEST_BYTES, format_bytes(REQUEST_BYTES)),
    ):
        curve = curves.get(channel)
        if curve is None:
            continue
        fitted = curve.fit
        # A step up to what is still little is nobody's trouble: an allocator takes its first megabytes at once.
        matters = fitted.predict(largest) > _MATTERS_SHARE * most
        below = (
            _CLIFF_SHARE * fitted.cliff_at if fitted.family is Family.CLIFF and fitted.cliff_at is not None else None
        )
        if below is not None and below < limit and matters:
            limit, reason = below, f"{channel}: 0.8 of the cliff at {fitted.cliff_at:g}"
        bounded = fitted.largest_below(most, limit)
        if bounded < limit:
            limit, reason = bounded, f"{channel}: more is predicted to take over {text} ({fitted.describe()})"
    return int(limit), reason
