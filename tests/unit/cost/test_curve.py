"""The curve: fitted to calls whose cost is known, and asked for prices."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest

from wickguard.cost.calibration import check
from wickguard.cost.curve import BANDS, Band, Curve, Observation, conformal, fit, uncalibrated
from wickguard.errors import WickguardError
from wickguard.records import Cost

KINDS = ("exact", "vague")


def calls(
    count: int, seed: int, noise: Callable[[random.Random, float], float], weight: float = 1.0, kind: str = "vague"
) -> list[Observation]:
    """Calls that take 1 ms and 10 ms per unit, times exp(noise); sizes over four decades."""
    order, found = random.Random(seed), []
    for _ in range(count):
        units = 10 ** order.uniform(-2, 2)
        expected_s = 0.001 + 0.01 * units
        actual_s = expected_s * math.exp(noise(order, expected_s))
        cost = Cost(actual_s, 1.1 * actual_s, round(1e6 + 2e6 * units))
        found.append(Observation(kind, (1.0, units), (1.0, units), cost, weight))
    return found


def usual(order: random.Random, expected_s: float) -> float:
    """A tenth, more or less; small calls vary twice as much."""
    return order.gauss(0.0, 0.2 if expected_s < 0.01 else 0.1)


def test_coefficients_are_found_when_calls_are_noisy() -> None:
    """Within a few percent of what made them, for time and memory."""
    curve = fit(calls(2000, 1, usual), KINDS)
    assert curve.cpu == pytest.approx((0.001, 0.01), rel=0.05)
    assert curve.memory == pytest.approx((1e6, 2e6), rel=0.01)
    assert curve.wall == pytest.approx((0.0011, 0.011), rel=0.05)


def test_the_reserve_covers_19_of_20_when_calls_are_fresh() -> None:
    """In every band of size, also where small calls are noisier: 95 %, within what 1,000 calls can say."""
    curve = fit(calls(4000, 1, usual), KINDS)
    fresh = calls(4000, 2, usual)
    error, covered = check(curve, fresh)
    assert covered == pytest.approx(0.95, abs=0.015)
    assert error < 0.12
    for name, _ in BANDS[:3]:
        here = [seen for seen in fresh if predicted_class(curve, seen).endswith(name)]
        assert len(here) > 500
        assert check(curve, here)[1] == pytest.approx(0.95, abs=0.03)


def predicted_class(curve: Curve, seen: Observation) -> str:
    """In which class the curve puts a call."""
    return curve.predict(seen.kind, seen.basis, seen.memory_basis).feature_class


def test_spread_is_that_of_the_band_when_sizes_differ() -> None:
    """The class of small calls is twice as wide."""
    bands = {band.name: band for band in fit(calls(4000, 1, usual), KINDS).bands["vague"]}
    assert bands["under 10 ms"].spread == pytest.approx(0.2, rel=0.1)
    assert bands["under 1 s"].spread == pytest.approx(0.1, rel=0.1)
    assert bands["under 10 ms"].reserve == pytest.approx(1.645 * 0.2, rel=0.15)


def test_spread_ignores_the_wild_when_one_call_in_a_hundred_is() -> None:
    """A page fault storm is no reason to widen every class."""
    wild = calls(2000, 1, lambda order, expected_s: 3.0 if order.random() < 0.005 else order.gauss(0, 0.1))
    assert fit(wild, KINDS).bands["vague"][1].spread == pytest.approx(0.1, rel=0.25)


def test_the_grant_covers_odd_calls_when_they_count_for_nothing_else() -> None:
    """Calls of weight 0 move no expectation and no reservation, but what they cost is granted."""
    plain = calls(1000, 1, usual)
    odd = calls(20, 3, lambda order, expected_s: 1.2, weight=0.0)
    without, with_odd = fit(plain, KINDS), fit([*plain, *odd], KINDS)
    assert without.cpu == with_odd.cpu
    for before, after in zip(without.bands["vague"], with_odd.bands["vague"], strict=True):
        assert (before.reserve, before.spread) == (after.reserve, after.spread)
        assert after.tail > 1.2 > before.tail


def test_a_kind_borrows_from_everything_when_few_of_it_were_seen() -> None:
    """Ten calls have no 95th percentile: they reserve what the vaguer ones do, and all calls do when there are no others."""
    few = calls(10, 2, lambda order, expected_s: 0.0, kind="exact")
    curve = fit([*calls(1000, 1, usual), *few], KINDS)
    assert curve.bands["exact"] == curve.bands["vague"]
    alone = fit([*calls(1000, 1, usual, kind="exact"), *calls(10, 2, lambda order, expected_s: 0.0)], KINDS)
    assert alone.bands["vague"][0].reserve > 0.1


def test_a_vaguer_kind_reserves_no_less_when_it_was_measured_luckily() -> None:
    """Kinds are ordered, so that what is known less is never cheaper."""
    lucky = calls(500, 1, lambda order, expected_s: order.gauss(0, 0.01))
    curve = fit([*lucky, *calls(500, 2, usual, kind="exact")], KINDS)
    for exact, vague in zip(curve.bands["exact"], curve.bands["vague"], strict=True):
        assert vague.reserve >= exact.reserve
        assert vague.tail >= exact.tail


def test_price_continues_where_the_band_before_ended_when_a_band_is_tighter() -> None:
    """A call just past a border does not reserve less than one just before it."""
    wide, tight = Band("a", 0.0, 0.1, 1.0, 2.0), Band("b", 1.0, 0.1, 0.1, 0.2)
    curve = Curve((1.0,), (1.0,), (1.0,), 0.0, {"k": (wide, tight)})
    before, after = (curve.predict("k", (units,), (1.0,)) for units in (0.999, 1.001))
    assert (before.feature_class, after.feature_class) == ("k, a", "k, b")
    assert before.reserve_s <= after.reserve_s
    assert before.ceiling_s <= after.ceiling_s
    far = curve.predict("k", (100.0,), (1.0,))
    assert far.reserve_s == pytest.approx(100 * math.exp(0.1))


def test_a_kind_is_refused_when_the_curve_does_not_know_it() -> None:
    """A cost file of another model."""
    with pytest.raises(WickguardError, match="no pictures calls"):
        uncalibrated((1.0,), (1.0,), ("k",)).predict("pictures", (1.0,), (1.0,))


@pytest.mark.parametrize(("count", "rank"), [(1, 1), (19, 19), (20, 20), (99, 95), (199, 190)])
def test_conformal_rank_is_a_little_above_the_share_when_residuals_are_few(count: int, rank: int) -> None:
    """ceil(0.95 (n + 1)), and the largest when even that one is too few."""
    assert conformal([float(value) for value in range(1, count + 1)], 0.95) == rank
