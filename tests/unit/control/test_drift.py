"""Drift: found soon, not imagined, and not blinded by outliers."""

from __future__ import annotations

import math
import random
from statistics import median

import pytest

from wickguard.control.drift import Cusum, Drift, DriftSettings, Watched, residual
from wickguard.errors import ConfigError, WickguardError

SIGMA = 0.12


def outliers(order: random.Random) -> float:
    """A residual of a calm system: normal, and in 2 % of calls Student's t with 3 degrees of freedom, tenfold."""
    if order.random() >= 0.02:
        return order.gauss(0, 1)
    return 10 * order.gauss(0, 1) / math.sqrt(order.gammavariate(1.5, 2) / 3)


def calls_until_alarm(order: random.Random, factor: float) -> int:
    """Calls after the change until the model's sum alarms; a hundred calm calls come first."""
    cusum, shift = Cusum(16.0), math.log(factor) / SIGMA
    for _ in range(100):
        cusum.add(outliers(order))
    calls = 0
    while not cusum.alarmed:
        cusum.add(outliers(order) + shift)
        calls += 1
    return calls


def test_change_is_found_within_ten_calls_when_calls_cost_a_third_more() -> None:
    """+35 % at a spread of 0.12: the median of 400 runs; and nineteen of twenty within twelve."""
    delays = sorted(calls_until_alarm(random.Random(seed), 1.35) for seed in range(400))
    assert median(delays) <= 10
    assert delays[int(0.95 * len(delays))] <= 12


def test_no_alarm_is_raised_when_only_outliers_are_wild() -> None:
    """100,000 calm calls, 2 % of them wild: silence. (Unclipped, the same calls alarm within a thousand.)"""
    order = random.Random(1)
    calm = [outliers(order) for _ in range(100_000)]
    clipped, raw = Cusum(16.0), Cusum(16.0, clip=1e9)
    assert not any(clipped.add(z) for z in calm)
    assert any(raw.add(z) for z in calm[:1000])


def test_residual_is_zero_when_the_price_was_right() -> None:
    """And one spread when the call cost e^spread more."""
    assert residual(2.0, 2.0, SIGMA) == 0
    assert residual(2.0 * math.exp(SIGMA), 2.0, SIGMA) == pytest.approx(1)
    assert residual(0.0, 2.0, SIGMA) < -100
    with pytest.raises(WickguardError):
        residual(1.0, 0.0, SIGMA)


def test_alarm_is_raised_once_when_the_drift_stays() -> None:
    """And again after it was reset."""
    drift = Drift()
    for _ in range(2):
        raised = [drift.observe(Watched.MODEL, "minilm", "tokens:9", 3.0) for _ in range(50)]
        assert sum(raised) == 1
        assert drift.alarmed(Watched.MODEL, "minilm", "tokens:9")
        assert not drift.alarmed(Watched.MODEL, "minilm", "tokens:8")
        drift.reset(Watched.MODEL, "minilm", "tokens:9")
        assert not drift.alarmed(Watched.MODEL, "minilm", "tokens:9")


def test_tenant_is_accused_later_when_it_has_called_fewer_than_ten_times() -> None:
    """A tenant's sum alarms at 12, but not before its tenth call."""
    drift = Drift()
    raised = [drift.observe(Watched.TENANT, "ada", "tokens:9", 3.0) for _ in range(12)]
    assert raised.index(True) == 9


@pytest.mark.parametrize(("wild", "total"), [(1e300, 2.5), (math.inf, 2.5), (math.nan, 2.5), (-math.inf, 0.0)])
def test_one_call_counts_at_most_the_clip_when_it_is_wild(wild: float, total: float) -> None:
    """Infinite and undefined residuals too."""
    cusum = Cusum(16.0)
    cusum.add(wild)
    assert cusum.total == total


def test_one_cheap_call_does_not_excuse_many_dear_ones_when_it_is_wild() -> None:
    """The clip holds in both directions."""
    cusum = Cusum(16.0)
    for z in (3.0, 3.0, 3.0, 3.0, -math.inf):
        cusum.add(z)
    assert cusum.total == 6.5


def test_least_recently_seen_is_forgotten_when_there_are_too_many() -> None:
    """Tenants can be many; memory can't."""
    drift = Drift(DriftSettings(capacity=100))
    for number in range(1000):
        drift.observe(Watched.TENANT, f"ip:{number}", "tokens:9", 1.0)
    assert len(drift) == 100


@pytest.mark.parametrize("wrong", [{"slack": 0.0}, {"clip": 0.5}, {"model_sum": 0.0}, {"capacity": 0}])
def test_settings_are_refused_when_they_make_no_sense(wrong: dict[str, float]) -> None:
    """Settings are checked when they are made."""
    with pytest.raises(ConfigError):
        DriftSettings(**wrong)
