"""The forecast: when slots will have done what goes first."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wickguard.control.forecast import done_in_s


@pytest.mark.parametrize(
    ("free", "work", "done"),
    [
        ([0.0], 0.0, 0.0),
        ([0.0], 2.0, 2.0),
        ([0.0, 0.0], 2.0, 1.0),
        ([3.0, 1.0], 0.0, 1.0),
        ([3.0, 1.0], 2.0, 3.0),
        ([3.0, 1.0], 4.0, 4.0),
        ([10.0, 10.0, 10.0, 0.1], 0.4, 0.5),
    ],
)
def test_work_is_done_when_the_slots_that_are_free_first_have_done_it(
    free: list[float], work: float, done: float
) -> None:
    """A slot that is busy for long delays nobody who does not need it."""
    assert done_in_s(free, work) == pytest.approx(done)


@given(st.lists(st.floats(0, 20), min_size=1, max_size=8), st.floats(0, 100))
def test_all_work_is_done_by_then_and_not_before_when_slots_begin_at_any_time(free: list[float], work: float) -> None:
    """By definition: what all slots can do until the answer is the work."""
    done = done_in_s(free, work)
    assert done >= min(free) - 1e-9
    assert sum(max(0.0, done - begin) for begin in free) == pytest.approx(work, abs=1e-6)
