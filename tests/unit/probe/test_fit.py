"""Fits: families and exponents from noisy points, within what the issue asks for."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest

from wickguard.probe.fit import Family, fit, theil_sen

SIZES = [128 * 2**step for step in range(8)]


def noisy(curve: Callable[[float], float], seed: int, noise: float = 0.04) -> list[float]:
    """Costs of `curve` at SIZES, each off by a log-normal factor."""
    chance = random.Random(seed)
    return [curve(size) * math.exp(chance.gauss(0, noise)) for size in SIZES]


@pytest.mark.parametrize("exponent", [1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0])
def test_exponent_is_within_0_15_when_the_curve_dominates_its_noise(exponent: float) -> None:
    """Whatever it stands on, a power that reaches a second is recognised as that power; noise fools it once in forty."""
    off = 0
    for seed in range(40):
        fixed = random.Random(f"{exponent}:{seed}").uniform(0.0005, 0.002)
        found = fit(SIZES, noisy(lambda size, fixed=fixed: fixed + (size / SIZES[-1]) ** exponent, seed))  # type: ignore[misc]
        assert found.low - 1e-9 <= found.exponent <= found.high + 1e-9
        off += abs(found.exponent - exponent) > 0.15
    assert off <= 1


@pytest.mark.parametrize(
    ("curve", "family"),
    [
        (lambda size: 0.01, Family.CONSTANT),
        (lambda size: 0.002 + 1e-5 * size, Family.LINEAR),
        (lambda size: 0.002 + 1e-9 * size**2, Family.POWER),
        (lambda size: (0.002 + 1e-6 * size) * (6 if size > 1500 else 1), Family.CLIFF),
    ],
)
def test_family_is_named_when_points_are_clean(curve: Callable[[float], float], family: Family) -> None:
    """Each shape without noise is called by its name."""
    assert fit(SIZES, [curve(size) for size in SIZES]).family is family


@pytest.mark.parametrize("sizes", [[16, 48, 146, 439, 1326, 4000], [4, 7, 12, 21, 37, 64]])
def test_steep_growth_is_not_called_constant_when_points_are_few(sizes: list[int]) -> None:
    """Six points over three decades of cost are not flat."""
    found = fit(sizes, [0.002 + 0.3 * (size / sizes[-1]) ** 2 for size in sizes])
    assert found.family is Family.POWER
    assert abs(found.exponent - 2) <= 0.15


def test_doubling_is_called_exponential_when_each_unit_doubles() -> None:
    """2^n over linear sizes is no power."""
    sizes = list(range(4, 27, 2))
    found = fit(sizes, [0.004 + 1e-7 * 2**size for size in sizes])
    assert found.family is Family.EXPONENTIAL
    assert math.exp(found.rate) == pytest.approx(2, rel=0.1)


def test_one_outlier_does_not_decide_when_the_rest_is_linear() -> None:
    """A point that a busy machine made three times as large leaves the exponent where it was."""
    costs = [0.002 + 1e-5 * size for size in SIZES]
    costs[3] *= 3
    assert abs(fit(SIZES, costs).exponent - 1) <= 0.25


def test_largest_below_is_on_the_curve_when_the_bound_is_inside() -> None:
    """The limit that follows from a curve costs what was allowed."""
    found = fit(SIZES, [0.002 + 1e-5 * size for size in SIZES])
    limit = found.largest_below(0.05, SIZES[-1])
    assert found.predict(limit) == pytest.approx(0.05, rel=0.01)
    assert found.largest_below(10, SIZES[-1]) == SIZES[-1]


@pytest.mark.parametrize("bad", [([1, 2], [1, 2]), ([1, 2, 3], [1, 2, 0]), ([1, 2, 3], [1, 2, math.inf])])
def test_fit_refuses_when_points_are_too_few_or_not_positive(bad: tuple[list[float], list[float]]) -> None:
    """Nothing is made up from nothing."""
    with pytest.raises(ValueError, match=r"fit needs|must be positive"):
        fit(*bad)


def test_theil_sen_ignores_a_wild_point_when_most_agree() -> None:
    """The median slope is the slope of the majority."""
    assert theil_sen([1, 2, 3, 4, 5], [2, 4, 6, 80, 10]) == pytest.approx(2)
