"""The curve: from the work in a call to its price, three times: expected, reserved, and granted at most.

Decides the expectation as a sum of non-negative coefficients times a monotone basis, so that more work never costs less; and
around it, per kind of call and band of size, the quantiles of ln(actual / expected) as they were measured: the 95th percentile
is reserved (split conformal prediction, Vovk et al. 2005: of n residuals the ceil(0.95 (n + 1))-th), the tail is granted.
Quantiles differ between bands, small calls being noisier; where a band begins, the price continues at no less than where the
band before it ended. Pure; it must not know which features there are, nor clocks, files or tenants.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from wickguard.cost.least_squares import solve
from wickguard.errors import WickguardError
from wickguard.records import Cost

# Where the bands begin, in expected CPU-seconds: about a decade each, so that a class is calls of about the same size.
BANDS: tuple[tuple[str, float], ...] = (
    ("under 10 ms", 0.0),
    ("under 100 ms", 0.01),
    ("under 1 s", 0.1),
    ("1 s and more", 1.0),
)
RESERVED = 0.95
# Normal quantile of 1 - 1e-5, and what is added to the largest residual ever seen: whichever is more is the tail.
TAIL_SPREADS = 4.265
TAIL_MARGIN = 0.25
# Fewer odd calls than this, or fewer calls of a kind than LEAST_RESIDUALS, show no tail: the grant is then the analytic bound.
LEAST_ODD = 20
NO_TAIL = 10.0
# Quantiles of fewer residuals than this say little: then those of the whole kind stand in, or of everything.
LEAST_RESIDUALS = 100
# A calibration sees a machine for a minute; from day to day it differs by more than calls do within that minute. A smaller
# spread would make every slow afternoon a drift.
LEAST_SPREAD = 0.1
# Prose varies in tokens per byte, and machines in speed: this spread is assumed where nothing was measured.
ASSUMED_SPREAD = 0.25
_ASSUMED_QUANTILE = 1.645


@dataclass(frozen=True, slots=True)
class Observation:
    """A call that was measured: its kind, its work, and what it cost. weight 0: it says something about the tail only."""

    kind: str
    basis: tuple[float, ...]
    memory_basis: tuple[float, ...]
    actual: Cost
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Band:
    """How calls expected to take `from_s` CPU-seconds or more differ from the expectation, as ln(actual / expected).

    spread: its standard deviation. reserve: its 95th percentile. tail: what no honest call exceeds.
    """

    name: str
    from_s: float
    spread: float
    reserve: float
    tail: float


@dataclass(frozen=True, slots=True)
class Predicted:
    """A price by the curve alone. reserve_s, ceiling_s: CPU-seconds. feature_class: kind and band."""

    expected: Cost
    reserve_s: float
    reserve_wall_s: float
    ceiling_s: float
    feature_class: str
    spread: float


def unlearned(feature_class: str) -> float:
    """The factor of a curve that learns nothing."""
    return 1.0


@dataclass(frozen=True, slots=True)
class Curve:
    """Coefficients per term of the basis, and bands per kind. wall_reserve: ln of the 95th percentile of wall / expected."""

    cpu: tuple[float, ...]
    wall: tuple[float, ...]
    memory: tuple[float, ...]
    wall_reserve: float
    bands: Mapping[str, tuple[Band, ...]]

    def seconds(self, basis: Sequence[float]) -> float:
        """CPU-seconds of this much work, by the coefficients alone; of part of a basis as well."""
        return _dot(self.cpu, basis)

    def predict(
        self,
        kind: str,
        basis: Sequence[float],
        memory_basis: Sequence[float],
        factor: Callable[[str], float] = unlearned,
    ) -> Predicted:
        """The price of this much work; `factor` is what has been learned about each class since the calibration.

        Monotone in every number of both bases, whatever the factors are. Raises WickguardError for a kind without bands.
        """
        base_s = _dot(self.cpu, basis)
        bands = self.bands.get(kind)
        if bands is None:
            raise WickguardError(f"the curve knows no {kind} calls")
        expected_s = reserve_s = ceiling_s = 0.0
        feature_class, spread = "", LEAST_SPREAD
        for index, band in enumerate(bands):
            if base_s < band.from_s:
                break
            # Of the bands below this call, the price at their upper end.
            end_s = bands[index + 1].from_s if index + 1 < len(bands) else math.inf
            feature_class, spread = f"{kind}, {band.name}", band.spread
            here_s = min(base_s, end_s) * factor(feature_class)
            expected_s = max(expected_s, here_s)
            reserve_s = max(reserve_s, here_s * math.exp(band.reserve))
            ceiling_s = max(ceiling_s, here_s * math.exp(band.tail))
        wall_s = max(expected_s, _dot(self.wall, basis))
        return Predicted(
            Cost(expected_s, wall_s, round(_dot(self.memory, memory_basis))),
            reserve_s,
            max(reserve_s, wall_s * math.exp(self.wall_reserve)),
            ceiling_s,
            feature_class,
            spread,
        )


def fit(observations: Sequence[Observation], kinds: Sequence[str]) -> Curve:
    """The curve through these calls. `kinds` from the most certain to the least: none reserves less than those before it.

    Raises WickguardError when no call counts.
    """
    counted = [seen for seen in observations if seen.weight > 0]
    weights = [seen.weight for seen in counted]
    basis = [seen.basis for seen in counted]
    cpu = _centred(basis, [_time(seen.actual.cpu_s) for seen in counted], weights)
    wall = _centred(basis, [_time(seen.actual.wall_s) for seen in counted], weights)
    memory = _centred(
        [seen.memory_basis for seen in counted], [float(max(1, seen.actual.peak_bytes)) for seen in counted], weights
    )
    late = sorted(math.log(_time(seen.actual.wall_s) / max(1e-12, _dot(wall, seen.basis))) for seen in counted)
    everything = [(seen, residual(seen, cpu)) for seen in observations]
    pooled = [value for seen, value in everything if seen.weight > 0]
    bands: dict[str, tuple[Band, ...]] = {}
    for kind in reversed(kinds):
        own = [(seen, value) for seen, value in everything if seen.kind == kind]
        vaguer = next(reversed(bands.values()), None)
        few = sum(seen.weight > 0 for seen, _ in own) < LEAST_RESIDUALS
        bands[kind] = vaguer if few and vaguer is not None else _bands(own, cpu, pooled)
    for surer, vaguer_kind in itertools.pairwise(kinds):
        bands[vaguer_kind] = _no_less(bands[vaguer_kind], bands[surer])
    return Curve(cpu, wall, memory, max(0.0, conformal(late, RESERVED)), bands)


def uncalibrated(cpu: tuple[float, ...], memory: tuple[float, ...], kinds: Sequence[str]) -> Curve:
    """A curve of assumed coefficients, with a spread to match, whose ceiling is the analytic bound."""
    reserve = _ASSUMED_QUANTILE * ASSUMED_SPREAD
    bands = tuple(Band(name, from_s, ASSUMED_SPREAD, reserve, math.inf) for name, from_s in BANDS)
    return Curve(cpu, cpu, memory, reserve, dict.fromkeys(kinds, bands))


def residual(seen: Observation, cpu: Sequence[float]) -> float:
    """ln(actual / expected) of the CPU time of a call under these coefficients."""
    return math.log(_time(seen.actual.cpu_s) / max(1e-12, _dot(cpu, seen.basis)))


def conformal(ordered: Sequence[float], level: float) -> float:
    """The least of these sorted numbers that a new one stays below with probability `level` (exchangeable with them)."""
    return ordered[min(len(ordered), math.ceil((len(ordered) + 1) * level)) - 1]


def _bands(own: Sequence[tuple[Observation, float]], cpu: Sequence[float], pooled: Sequence[float]) -> tuple[Band, ...]:
    counted = [value for seen, value in own if seen.weight > 0]
    kind = counted if len(counted) >= LEAST_RESIDUALS else list(pooled)
    # What no call of the kind exceeded holds for all sizes of it: the rare are too few to be sorted by size.
    highest = max((value for _, value in own), default=0.0)
    odd = len(own) - len(counted)
    shown = len(counted) >= LEAST_RESIDUALS and not 0 < odd < LEAST_ODD
    ends = [from_s for _, from_s in BANDS[1:]] + [math.inf]
    found = []
    for (name, from_s), end_s in zip(BANDS, ends, strict=True):
        here = [value for seen, value in own if seen.weight > 0 and from_s <= _dot(cpu, seen.basis) < end_s]
        values = sorted(here if len(here) >= LEAST_RESIDUALS else kind)
        spread = max(LEAST_SPREAD, _deviation(values))
        tail = max(TAIL_SPREADS * spread, highest + TAIL_MARGIN) if shown else NO_TAIL
        found.append(Band(name, from_s, spread, max(0.0, conformal(values, RESERVED)), tail))
    return tuple(found)


def _no_less(bands: tuple[Band, ...], before: tuple[Band, ...]) -> tuple[Band, ...]:
    return tuple(
        replace(band, reserve=max(band.reserve, least.reserve), tail=max(band.tail, least.tail))
        for band, least in zip(bands, before, strict=True)
    )


def _centred(basis: Sequence[Sequence[float]], actual: Sequence[float], weights: Sequence[float]) -> tuple[float, ...]:
    """Coefficients whose median error is none: least squares gives the mean, and a price is the median."""
    found = solve(basis, actual, weights)
    ratios = sorted(value / max(1e-12, _dot(found, row)) for value, row in zip(actual, basis, strict=True))
    middle = ratios[len(ratios) // 2]
    return tuple(value * middle for value in found)


def _deviation(ordered: Sequence[float]) -> float:
    """The standard deviation without the outermost hundredth of each side, which are other events than the usual."""
    cut = len(ordered) // 100
    inner = ordered[cut : len(ordered) - cut]
    mean = sum(inner) / len(inner)
    return math.sqrt(sum((value - mean) ** 2 for value in inner) / len(inner))


def _time(seconds: float) -> float:
    # The kernel's account has a grain; no call takes nothing.
    return max(1e-6, seconds)


def _dot(left: Iterable[float], right: Iterable[float]) -> float:
    return math.fsum(map(operator.mul, left, right))
