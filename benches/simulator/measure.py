"""The measures: what a run was worth to those who did nothing wrong.

Decides nothing. Everything is of requests that arrived while the attack lasted, every request with equal weight: goodput
(answered within the deadline), by class; p99 of slowdown (time in the system over what it really took) of answered ones; Jain's
index over good tenants of compute served over what they asked for, or were entitled to if that is less; the part of the
machine that attackers had; and CPU-seconds wasted on answers that came too late, on calls that were killed or left, and on
new workers.
"""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from benches.simulator.workload import CORES, KINDS
from benches.simulator.world import Fate, Story


@dataclass(frozen=True, slots=True)
class Measure:
    """Of one run. goodput, refused and wasted are shares (of calls, and of the machine); classes: goodput by class."""

    goodput: float
    classes: dict[str, float]
    worst_tenant: float
    slowdown: float
    jain: float
    attackers: float
    wasted: float
    refused: float
    killed: int
    reasons: Counter[str]


def measure(stories: Iterable[Story], begin: float, end: float) -> Measure:
    """The measures of a run whose attack lasted from `begin` to `end`."""
    window = [story for story in stories if begin <= story.request.at < end]
    good = [story for story in window if not story.request.tenant.attacks]
    slow = sorted((story.ended_at - story.request.at) / story.request.needs.wall_s for story in good if story.good)
    machine_s = (end - begin) * CORES
    wasted = sum(story.cpu_s for story in window if not story.good)
    tenants = _shares(good, lambda story: story.request.tenant.name)
    reasons = Counter(
        f"{story.fate}: {story.reason}" if story.reason else story.fate for story in good if not story.good
    )
    return Measure(
        goodput=_share(good),
        classes={kind.name: _share([one for one in good if one.request.kind == kind.name]) for kind in KINDS},
        worst_tenant=min(tenants.values()),
        slowdown=slow[int(0.99 * len(slow))] if slow else 0.0,
        jain=_jain(good, end - begin),
        attackers=sum(story.cpu_s for story in window if story.request.tenant.attacks) / machine_s,
        wasted=wasted / machine_s,
        refused=sum(story.fate is Fate.REFUSED for story in good) / max(1, len(good)),
        killed=sum(story.fate is Fate.KILLED for story in good),
        reasons=reasons,
    )


def mean(values: Iterable[float]) -> float:
    """The mean over seeds."""
    return statistics.fmean(values)


def _share(stories: Sequence[Story]) -> float:
    return sum(story.good for story in stories) / max(1, len(stories))


def _shares(stories: Sequence[Story], key: Callable[[Story], str]) -> dict[str, float]:
    groups: dict[str, list[Story]] = {}
    for story in stories:
        groups.setdefault(key(story), []).append(story)
    return {name: _share(group) for name, group in groups.items()}


def _jain(good: Sequence[Story], seconds: float) -> float:
    served, asked = defaultdict[str, float](float), defaultdict[str, float](float)
    rates = {story.request.tenant.name: story.request.tenant.rate or 0.0 for story in good}
    for story in good:
        asked[story.request.tenant.name] += story.request.expected.cpu_s
        served[story.request.tenant.name] += story.request.expected.cpu_s if story.good else 0.0
    shares = [served[name] / min(asked[name], rate * seconds) for name, rate in rates.items()]
    return sum(shares) ** 2 / (len(shares) * sum(share * share for share in shares)) if any(shares) else 0.0
