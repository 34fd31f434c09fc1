"""Limits: how much of a feature a target takes, and how much it should take.

Decides a limit from a sweep: the largest size that the target accepts (found by bisection between the largest accepted and
the smallest refused), whose predicted latency fits the time that one request may have, whose memory fits, and that stays
below 0.8 of the first cliff. Decides as well when none follows: a target that takes longer than that for the smallest size
is slow, not full, and a limit of one would refuse everybody. Promises never to recommend beyond what was measured, and to
send the recommended size once more. It must not know policies.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence

from wickguard.clock import now
from wickguard.probe.case import Case
from wickguard.probe.events import Arm, CurveFitted, Event, LimitDerived, Sampled
from wickguard.probe.fit import Family
from wickguard.probe.observe import Observer
from wickguard.units import MIB, format_bytes, format_seconds

# What one request may take at most: a tenth of a deadline of ten seconds, and a quarter gigabyte.
REQUEST_S = 1.0
REQUEST_BYTES = 256 * MIB
_BOUNDS: tuple[tuple[str, float, Callable[[float], str]], ...] = (
    ("latency_s", REQUEST_S, format_seconds),
    ("memory_bytes", REQUEST_BYTES, format_bytes),
)
_CLIFF_SHARE = 0.8
# Of what one request may take, the part from which on a cliff counts: one that stays below is bounded by the rest.
_MATTERS_SHARE = 0.5
_BISECTIONS = 6
_CONFIRMED_RATIO = 2.0
# A sweep that had to stop before so many sizes says how slow the target is, and nothing about what it takes.
_FEWEST_SIZES = 4


class LimitFinder:
    """A listener that notes a sweep's samples and curves, and derives its limit when the sweep is over."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._samples: list[Sampled] = []
        self._curves: dict[str, CurveFitted] = {}

    def note(self, event: Event) -> None:
        """Take in what happens in a sweep."""
        if isinstance(event, Sampled) and event.arm is Arm.ATTACK:
            self._samples.append(event)
        elif isinstance(event, CurveFitted):
            self._curves[event.channel] = event

    async def find(self, case: Case) -> AsyncIterator[LimitDerived]:
        """The limit of the sweep that has just ended; nothing when none follows (see `why_none`)."""
        samples, curves = self._samples, self._curves
        self._samples, self._curves = [], {}
        if why_none(samples, curves, case.sizes):
            return
        accepted, refused = accepted_and_refused(samples)
        largest, reason = max(accepted), "the largest size that was tried"
        if refused:
            largest = await self._bisect(case, largest, min(refused))
            reason = "the target refuses more"
        limit, reason = recommend(largest, reason, of_accepted(curves, accepted))
        if limit < largest:
            seen = await self._observer.observe(case.attack(self._observer.target.spelling, limit, random.Random(0)))
            if seen.latency_s > _CONFIRMED_RATIO * REQUEST_S:
                limit //= 2
        # What is below the smallest was not measured.
        if limit >= min(accepted):
            yield LimitDerived(round(now() - self._observer.allowance.began, 3), case.feature, limit, reason)

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


def accepted_and_refused(samples: Sequence[Sampled]) -> tuple[set[int], set[int]]:
    """The sizes of a sweep that were accepted, and those above all of them that were refused. Pure."""
    accepted = {sample.size for sample in samples if _served(sample)}
    largest = max(accepted, default=0)
    return accepted, {sample.size for sample in samples if sample.status >= 400 and sample.size > largest}


def _served(sample: Sampled) -> bool:
    return 200 <= sample.status < 300


def of_accepted(curves: Mapping[str, CurveFitted], accepted: Collection[int]) -> dict[str, CurveFitted]:
    """The curves of what was accepted: where that is little, a sweep's curve may be one of refusals. Pure."""
    return {channel: curve for channel, curve in curves.items() if curve.points[0].size in accepted}


def why_none(samples: Sequence[Sampled], curves: Mapping[str, CurveFitted], sizes: Sequence[int]) -> str:
    """Why no limit follows from a sweep that was to go over `sizes`, in words; "" when one does. Pure.

    samples: of the attack alone. curves: by channel.
    """
    accepted, refused = accepted_and_refused(samples)
    if not accepted:
        return "no size of it was accepted"
    smallest = min(accepted)
    least_s = min(sample.latency_s for sample in samples if sample.size == smallest and _served(sample))
    for channel, most, say in _BOUNDS:
        curve = of_accepted(curves, accepted).get(channel)
        cost = curve.fit.predict(smallest) if curve is not None else least_s if channel == "latency_s" else 0.0
        if cost > most:
            return f"the smallest size already takes {say(cost)}, and a request should take {say(most)}"
    if len(accepted) < _FEWEST_SIZES and not refused and max(sizes) not in accepted:
        return f"its sweep had to stop after {len(accepted)} of {len(sizes)} sizes"
    return ""


def recommend(largest: int, reason: str, curves: Mapping[str, CurveFitted]) -> tuple[int, str]:
    """The limit and why, from the curves of a sweep that was accepted up to `largest`. Pure."""
    limit = float(largest)
    for channel, most, say in _BOUNDS:
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
            limit, reason = bounded, f"{channel}: more is predicted to take over {say(most)} ({fitted.describe()})"
    return int(limit), reason
