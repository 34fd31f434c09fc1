"""Oracles of cost: what they see in noiseless curves, and what they don't see in a busy machine's noise."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wickguard.probe.cases import CATALOGUE
from wickguard.probe.fit import Family, fit
from wickguard.probe.observe import Observation
from wickguard.probe.oracles import cost
from wickguard.probe.series import Series
from wickguard.probe.trace import Request, Step, Trace
from wickguard.probe.wire import Answer

CASE = next(case for case in CATALOGUE if case.id == "T03")
SIZES = (256, 512, 1024, 2048, 4096, 8192)
TRACE = Trace((Step(Request("POST", "/", body=b"a" * 100)),))


def seen(latency_s: float, cpu_s: float | None, status: int = 200) -> Observation:
    """One observation of a single request."""
    return Observation(TRACE, (Answer(status=status, latency_s=latency_s),), latency_s, cpu_s=cpu_s)


def series(
    latency: Callable[[int], float],
    cpu: Callable[[int], float] | None = None,
    *,
    status: int = 200,
    delay_s: float = 0.0,
) -> Series:
    """Three repeats of each size; `delay_s` is what the machine adds to some of them, twins included."""
    chance = random.Random(7)
    found = Series()
    for size in SIZES:
        for _ in range(3):
            late = delay_s * chance.random()
            mine = cpu(size) if cpu is not None else None
            found.attack.setdefault(size, []).append(seen(latency(size) + late, mine, status))
            found.twin.setdefault(size, []).append(seen(0.002 + delay_s * chance.random(), 0.001))
    return found


def quadratic(size: int) -> float:
    """Seconds: 2 ms, and 640 ms for the square of the largest."""
    return 0.002 + 0.64 * (size / 8192) ** 2


def linear(size: int) -> float:
    """Seconds: 2 ms, and 80 ms for the largest."""
    return 0.002 + 0.08 * size / 8192


def test_slope_is_suspected_when_cpu_time_is_steep_and_latency_is_noise() -> None:
    """A busy machine hides the curve in latency; CPU time keeps it, and the exponent is its."""
    found = cost.slope(CASE, series(lambda size: 5 * quadratic(size), quadratic, delay_s=0.4))
    assert found is not None
    assert found.measured == pytest.approx(2.0, abs=0.1)


def test_slope_is_suspected_of_refusals_when_all_are_refused() -> None:
    """A refusal has a cost, too."""
    found = cost.slope(CASE, series(quadratic, quadratic, status=422))
    assert found is not None
    assert found.measured == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize("delay_s", [0.0, 0.05, 0.4])
def test_nothing_is_suspected_when_cost_is_linear(delay_s: float) -> None:
    """Neither on a quiet machine nor on a busy one, with CPU time and without."""
    for cpu in (linear, None):
        found = series(linear, cpu, delay_s=delay_s)
        assert cost.slope(CASE, found) is None
        assert cost.cliff(CASE, found) is None


def test_a_jump_is_no_cliff_when_ordinary_requests_are_as_late() -> None:
    """The same jump in latency, on a quiet machine and on one that delays everybody by as much."""

    def jumping(size: int) -> float:
        return 0.002 + (0.06 if size >= 2048 else 0.0)

    assert cost.cliff(CASE, series(jumping)) is not None
    assert cost.cliff(CASE, series(jumping, delay_s=0.1)) is None


@given(
    exponent=st.sampled_from([1.5, 2.0, 2.5, 3.0]),
    fixed=st.floats(0.0005, 0.005),
    seed=st.integers(0, 10_000),
    count=st.integers(6, 10),
)
def test_exponent_is_within_a_tenth_when_six_points_span_the_growth(
    exponent: float, fixed: float, seed: int, count: int
) -> None:
    """Powers on a floor, with two percent of noise: recognised as powers, from six points on."""
    chance = random.Random(seed)
    sizes = [2.0 ** (8 + 6 * index / (count - 1)) for index in range(count)]
    costs = [(fixed + (size / 2**14) ** exponent) * chance.uniform(0.98, 1.02) for size in sizes]
    found = fit(sizes, costs)
    assert found.family in (Family.POWER, Family.N_LOG_N, Family.EXPONENTIAL)
    assert found.exponent == pytest.approx(exponent, abs=0.15)
