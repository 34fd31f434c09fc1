"""Non-negative least squares."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wickguard.cost.least_squares import solve
from wickguard.errors import WickguardError


def test_coefficients_come_back_when_measurements_are_exact() -> None:
    """Columns of very different size, as seconds and operations are."""
    order, want = random.Random(1), (3e-4, 0.0, 2e-7, 0.011)
    rows = [[1.0, order.uniform(0, 9), order.uniform(0, 1e6), order.uniform(0, 40)] for _ in range(50)]
    targets = [sum(a * b for a, b in zip(row, want, strict=True)) for row in rows]
    assert solve(rows, targets, [1.0] * 50) == pytest.approx(want, rel=1e-4, abs=1e-8)


def test_a_coefficient_is_zero_when_a_negative_one_would_fit_better() -> None:
    """What looks cheaper the more there is of it costs nothing, never less."""
    rows = [[1.0, float(x)] for x in range(1, 20)]
    found = solve(rows, [30.0 - x for x in range(1, 20)], [1.0] * 19)
    assert found[1] == 0
    assert 11 < found[0] < 29


def test_a_measurement_does_not_count_when_its_weight_is_zero() -> None:
    """It is as if it were not there."""
    assert solve([[1.0], [1.0]], [2.0, 50.0], [1.0, 0.0]) == pytest.approx((2.0,))


def test_a_column_gets_nothing_when_it_is_always_zero() -> None:
    """A feature that no call had says nothing."""
    assert solve([[1.0, 0.0], [2.0, 0.0]], [3.0, 6.0], [1.0, 1.0]) == pytest.approx((3.0, 0.0))


@pytest.mark.parametrize("weights", [[], [0.0]])
def test_a_fit_is_refused_when_nothing_counts(weights: list[float]) -> None:
    """There is no price without a measurement."""
    with pytest.raises(WickguardError, match="at least one"):
        solve([[1.0]] * len(weights), [1.0] * len(weights), weights)


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1e6), st.floats(1e-6, 1e3)), min_size=1, max_size=30))
def test_no_coefficient_is_negative_when_anything_was_measured(seen: list[tuple[float, float, float]]) -> None:
    """That is what makes a price monotone."""
    rows = [[1.0, a, b] for a, b, _ in seen]
    found = solve(rows, [target for *_, target in seen], [1.0] * len(seen))
    assert len(found) == 3
    assert min(found) >= 0
