"""Fits: how a cost grows with a size, from a handful of noisy points.

Decides between constant, linear, n log n, power, exponential and cliff, by AICc on relative residuals. Every family may
stand on a constant (a request costs something at size zero), coefficients are never negative, and one outlier among the
points does not decide (Huber weights). Promises an exponent with a 90 % interval whatever the family. Pure: numbers in,
numbers out. It must not know what the numbers are.

Sources: Hurvich and Tsai 1989 (AICc); Huber 1964; profile likelihood for the interval of the exponent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

# Differences of fit below this relative error are noise of the measurement and don't choose a family.
NOISE = 0.03
# Exponents that are tried, and the F quantile (one parameter, few degrees of freedom, 90 %) that bounds the interval.
_EXPONENTS = tuple(index / 40 for index in range(4, 201))
_F90 = 4.0
_HUBER = 1.5
_ROUNDS = 6


class Family(StrEnum):
    """Shapes of growth."""

    CONSTANT = "constant"
    LINEAR = "linear"
    N_LOG_N = "n log n"
    POWER = "power"
    EXPONENTIAL = "exponential"
    CLIFF = "cliff"


@dataclass(frozen=True, slots=True)
class Fit:
    """A fitted curve: cost = fixed + scale * shape(size).

    exponent, low, high: of the best power of the size, with its 90 % interval (0 for constant). rate: of the exponential,
    per unit of size. cliff_at: the last size before the jump; jump: cost after it over what the curve before it says.
    error: root mean square of the relative residuals. points: how many sizes.
    """

    family: Family
    fixed: float
    scale: float
    exponent: float
    low: float
    high: float
    error: float
    points: int
    rate: float = 0.0
    cliff_at: float | None = None
    jump: float = 1.0

    def predict(self, size: float) -> float:
        """The cost at `size`."""
        match self.family:
            case Family.CONSTANT:
                return self.fixed
            case Family.LINEAR:
                return self.fixed + self.scale * size
            case Family.N_LOG_N:
                return self.fixed + self.scale * _n_log_n(size)
            case Family.POWER:
                return self.fixed + self.scale * _power(size, self.exponent)
            case Family.EXPONENTIAL:
                return self.fixed + self.scale * math.exp(min(self.rate * size, 700.0))
            case Family.CLIFF:
                base = self.fixed + self.scale * size
                return base * self.jump if self.cliff_at is not None and size > self.cliff_at else base

    def largest_below(self, cost: float, most: float) -> float:
        """The largest size up to `most` at which the curve stays at or below `cost`; 0 when none does.

        The curve is monotone, so bisection finds it.
        """
        if self.predict(most) <= cost:
            return most
        low, high = 0.0, most
        for _ in range(80):
            middle = (low + high) / 2
            low, high = (middle, high) if self.predict(middle) <= cost else (low, middle)
        return low

    def describe(self) -> str:
        """One phrase for people."""
        match self.family:
            case Family.POWER:
                return f"n^{self.exponent:.2f} ({self.low:.2f} to {self.high:.2f})"
            case Family.EXPONENTIAL:
                return f"exponential, x{math.exp(self.rate):.2f} per unit"
            case Family.CLIFF:
                return f"cliff after {self.cliff_at:g}, x{self.jump:.1f}"
            case _:
                return str(self.family)


@dataclass(frozen=True, slots=True)
class _Candidate:
    fixed: float
    scale: float
    loss: float
    parameters: int


def fit(sizes: Sequence[float], costs: Sequence[float], noise: float = NOISE) -> Fit:
    """The best curve through `costs` at `sizes` (both positive, at least 3 points with distinct sizes).

    noise: relative error of one point, as far as it is known. Raises ValueError on fewer points or other numbers.
    """
    if len(sizes) != len(costs) or len(set(sizes)) < 3:
        raise ValueError("a fit needs at least 3 different sizes, and a cost for each")
    if any(not math.isfinite(value) or value <= 0 for value in (*sizes, *costs)):
        raise ValueError("sizes and costs must be positive and finite")
    pairs = sorted(zip(map(float, sizes), map(float, costs), strict=True))
    xs, ys = [x for x, _ in pairs], [y for _, y in pairs]
    exponent, low, high, power = _fit_power(xs, ys)
    flat = _solve(xs, ys, lambda _: 0.0)
    rate, exponential = _fit_exponential(xs, ys)
    cliff_at, jump, cliff = _fit_cliff(xs, ys)
    candidates: dict[Family, _Candidate] = {
        Family.CONSTANT: _Candidate(flat.fixed, 0.0, flat.loss, 1),
        Family.LINEAR: _solve(xs, ys, lambda x: x),
        Family.N_LOG_N: _solve(xs, ys, _n_log_n),
        Family.POWER: power,
        Family.EXPONENTIAL: exponential,
        Family.CLIFF: cliff,
    }
    family = min(candidates, key=lambda name: _aicc(candidates[name], len(xs), noise))
    best = candidates[family]
    if family is Family.CONSTANT:
        exponent, low, high = 0.0, 0.0, max(0.0, low)
    return Fit(
        family=family,
        fixed=best.fixed,
        scale=best.scale,
        exponent=exponent,
        low=low,
        high=high,
        error=math.sqrt(best.loss / len(xs)),
        points=len(xs),
        rate=rate if family is Family.EXPONENTIAL else 0.0,
        cliff_at=cliff_at if family is Family.CLIFF else None,
        jump=jump if family is Family.CLIFF else 1.0,
    )


def theil_sen(xs: Sequence[float], ys: Sequence[float]) -> float:
    """The median of the slopes of all pairs of points (Theil 1950, Sen 1968); 0 with fewer than two sizes."""
    slopes = sorted(
        (ys[j] - ys[i]) / (xs[j] - xs[i]) for i in range(len(xs)) for j in range(i + 1, len(xs)) if xs[i] != xs[j]
    )
    if not slopes:
        return 0.0
    middle = len(slopes) // 2
    return slopes[middle] if len(slopes) % 2 else (slopes[middle - 1] + slopes[middle]) / 2


def _n_log_n(size: float) -> float:
    return size * math.log(max(size, 1.0) + 1.0)


def _power(size: float, exponent: float) -> float:
    return math.exp(min(exponent * math.log(size), 700.0)) if size > 0 else 0.0


def _fit_power(xs: list[float], ys: list[float]) -> tuple[float, float, float, _Candidate]:
    # Profile likelihood: the interval is every exponent whose best curve is not significantly worse than the best.
    tried = [(exponent, _solve(xs, ys, _Shape(exponent), parameters=3)) for exponent in _EXPONENTS]
    at, best = min(tried, key=lambda item: item[1].loss)
    freedom = max(1, len(xs) - 3)
    allowed = max(best.loss, len(xs) * (NOISE / 3) ** 2) * (1 + _F90 / freedom)
    inside = [exponent for exponent, candidate in tried if candidate.loss <= allowed]
    # Where the points say little, the best of the tried is as good as its neighbours: their mean, by likelihood, errs less.
    spread = max(best.loss / freedom, (NOISE / 3) ** 2)
    likely = [math.exp((best.loss - candidate.loss) / (2 * spread)) for _, candidate in tried]
    mean = sum(exponent * weight for (exponent, _), weight in zip(tried, likely, strict=True)) / sum(likely)
    at = min(max(mean, min(inside, default=at)), max(inside, default=at))
    return at, min(inside, default=at), max(inside, default=at), _solve(xs, ys, _Shape(at), parameters=3)


@dataclass(frozen=True, slots=True)
class _Shape:
    exponent: float

    def __call__(self, size: float) -> float:
        return _power(size, self.exponent)


def _fit_exponential(xs: list[float], ys: list[float]) -> tuple[float, _Candidate]:
    span = xs[-1] - xs[0]
    shifted_xs = [x - xs[-1] for x in xs]
    rates = [0.5 * step / span for step in range(1, 81)]
    tried = [(rate, _solve(shifted_xs, ys, _Growth(rate), parameters=3)) for rate in rates]
    rate, shifted = min(tried, key=lambda item: item[1].loss)
    # The shape was taken relative to the last size, so that it can't overflow; the scale moves back.
    scale = shifted.scale * math.exp(max(-rate * xs[-1], -700.0))
    return rate, _Candidate(shifted.fixed, scale, shifted.loss, 3)


@dataclass(frozen=True, slots=True)
class _Growth:
    rate: float

    def __call__(self, size: float) -> float:
        return math.exp(max(min(self.rate * size, 700.0), -700.0))


def _fit_cliff(xs: list[float], ys: list[float]) -> tuple[float, float, _Candidate]:
    # A line whose cost is multiplied by `jump` after one of the sizes; two points at least on either side.
    best: tuple[float, float, _Candidate] | None = None
    for cut in range(2, len(xs) - 1):
        left, right = _solve(xs[:cut], ys[:cut], lambda x: x), _solve(xs[cut:], ys[cut:], lambda x: x)
        predicted = left.fixed + left.scale * xs[cut]
        jump = (right.fixed + right.scale * xs[cut]) / predicted if predicted > 0 else 1.0
        scaled = [y / jump if index >= cut else y for index, y in enumerate(ys)] if jump > 0 else ys
        whole = _solve(xs, scaled, lambda x: x, parameters=4)
        if jump > 1.5 and (best is None or whole.loss < best[2].loss):
            best = xs[cut - 1], jump, whole
    return best if best is not None else (xs[0], 1.0, _Candidate(ys[0], 0.0, math.inf, 4))


def _solve(
    xs: Sequence[float], ys: Sequence[float], shape: Callable[[float], float], parameters: int = 2
) -> _Candidate:
    """fixed and scale, neither negative, that minimise the Huber loss of the relative residuals."""
    values = [shape(x) for x in xs]
    top = max(values) or 1.0
    values = [value / top for value in values]
    weights = [1.0] * len(xs)
    fixed = scale = 0.0
    residuals = [1.0] * len(xs)
    for _ in range(_ROUNDS):
        fixed, scale = _least_squares(values, ys, weights)
        residuals = [(y - fixed - scale * value) / y for value, y in zip(values, ys, strict=True)]
        spread = max(sorted(abs(residual) for residual in residuals)[len(residuals) // 2] * 1.48, NOISE / 3)
        weights = [min(1.0, _HUBER * spread / abs(residual)) if residual else 1.0 for residual in residuals]
    loss = sum(weight * residual * residual for weight, residual in zip(weights, residuals, strict=True))
    return _Candidate(fixed, scale / top, loss, parameters)


def _least_squares(values: Sequence[float], ys: Sequence[float], weights: Sequence[float]) -> tuple[float, float]:
    # Relative residuals: every row is divided by its cost, so all targets are 1.
    rows = [(weight, 1 / y, value / y) for weight, value, y in zip(weights, values, ys, strict=True)]
    aa = sum(w * a * a for w, a, _ in rows)
    ab = sum(w * a * b for w, a, b in rows)
    bb = sum(w * b * b for w, _, b in rows)
    a1 = sum(w * a for w, a, _ in rows)
    b1 = sum(w * b for w, _, b in rows)
    determinant = aa * bb - ab * ab
    if determinant > 1e-12 * aa * bb:
        fixed, scale = (a1 * bb - b1 * ab) / determinant, (aa * b1 - ab * a1) / determinant
        if fixed >= 0 and scale >= 0:
            return fixed, scale
    # On the border one of the two is zero: whichever alone explains more.
    alone_fixed, alone_scale = a1 / aa, b1 / bb if bb > 0 else 0.0
    explained_fixed, explained_scale = a1 * a1 / aa, b1 * b1 / bb if bb > 0 else 0.0
    return (alone_fixed, 0.0) if explained_fixed >= explained_scale else (0.0, alone_scale)


def _aicc(candidate: _Candidate, points: int, noise: float) -> float:
    # The noise is given, not fitted: it is no parameter. (Counted as one, six points would never be a power.)
    parameters = candidate.parameters
    if points - parameters - 1 <= 0 or not math.isfinite(candidate.loss):
        return math.inf if candidate.parameters > 2 else points * math.log(candidate.loss / points + noise**2)
    correction = 2 * parameters * (parameters + 1) / (points - parameters - 1)
    return points * math.log(candidate.loss / points + noise**2) + 2 * parameters + correction
