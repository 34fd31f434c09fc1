"""Series: what was observed of one case, by size, attack and benign twin beside one another.

Decides how repeats become one number (the least for times, since noise only adds; the median for ratios). Promises that
what oracles read is here and nothing else. Pure.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from wickguard.probe.canary import Window
from wickguard.probe.events import Point
from wickguard.probe.observe import Observation

Reader = Callable[[Observation], float | None]


def latency(observation: Observation) -> float | None:
    """Latency in seconds."""
    return observation.latency_s


def cpu(observation: Observation) -> float | None:
    """CPU-seconds, where the target's own answers tell them."""
    return observation.cpu_s if observation.exact else None


def tree_cpu(observation: Observation) -> float | None:
    """CPU-seconds from any channel."""
    return observation.cpu_s


def growth(observation: Observation) -> float | None:
    """Bytes by which memory rose during the trace."""
    return float(observation.memory.peak - observation.memory.before) if observation.memory else None


def tokens(observation: Observation) -> float | None:
    """Tokens that the target counted."""
    return float(observation.tokens) if observation.tokens is not None else None


def told_peak(observation: Observation) -> float | None:
    """Peak bytes, where the target's own answers tell them."""
    return float(observation.peak_told) if observation.peak_told is not None else None


@dataclass(slots=True)
class Storm:
    """A canary beside the case: quiet, beside the twin, beside the attack, and after it."""

    size: int
    quiet: Window
    twin: Window
    attack: Window
    after: Window

    @property
    def limited(self) -> bool:
        """Whether the target's own rate limit refused ordinary requests: a neighbour has a limit of its own, so this tells
        nothing of it."""
        return any(window.canary_limited for window in (self.quiet, self.twin, self.attack, self.after))


@dataclass(slots=True)
class Series:
    """All observations of one case. stopped: why it did not grow further, "" when it reached its last size.

    down: ordinary requests suffered, so the target was left alone; lives: it still answered something then.
    floor_bytes: the target's memory before an earlier series of the same case, None when this is the first.
    """

    attack: dict[int, list[Observation]] = field(default_factory=dict)
    twin: dict[int, list[Observation]] = field(default_factory=dict)
    storm: Storm | None = None
    stopped: str = ""
    limited: bool = False
    down: bool = False
    lives: bool = False
    floor_bytes: int | None = None

    @property
    def sizes(self) -> list[int]:
        """Sizes that were reached, ascending."""
        return sorted(self.attack)

    @property
    def least_bytes(self) -> int | None:
        """The target's memory before any of the attacks; None where there is no channel."""
        before = [item.memory.before for items in self.attack.values() for item in items if item.memory]
        return min(before + ([self.floor_bytes] if self.floor_bytes is not None else []), default=None)

    @property
    def accepted(self) -> list[int]:
        """Sizes at which the attack was accepted every time."""
        return [size for size in self.sizes if all(item.accepted for item in self.attack[size])]

    @property
    def refused(self) -> list[int]:
        """Sizes at which the attack was answered with an error status every time."""
        return [size for size in self.sizes if all(item.status >= 400 for item in self.attack[size])]

    @property
    def replaced(self) -> bool:
        """Whether another process, or none, was there after one of the attacks."""
        return any(not item.alive for items in self.attack.values() for item in items)

    def points(self, sizes: Iterable[int], read: Reader, twin: bool = False) -> list[Point]:
        """A curve: for each size the least of the repeats. Sizes for which a channel is silent are left out."""
        source = self.twin if twin else self.attack
        found = []
        for size in sizes:
            values = [value for item in source.get(size, ()) if (value := read(item)) is not None]
            if values:
                found.append(Point(size, min(values), min(values), max(values)))
        return found

    def median(self, size: int, read: Reader, twin: bool = False) -> float | None:
        """The median of the repeats at a size."""
        source = self.twin if twin else self.attack
        values = [value for item in source.get(size, ()) if (value := read(item)) is not None]
        return statistics.median(values) if values else None

    def least(self, size: int, read: Reader, twin: bool = False) -> float | None:
        """The least of the repeats at a size."""
        points = self.points([size], read, twin)
        return points[0].value if points else None


# Channels for which a curve is drawn, and how they are called in events.
CHANNELS: dict[str, Reader] = {"latency_s": latency, "cpu_s": tree_cpu, "memory_bytes": growth}
