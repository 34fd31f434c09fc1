"""Backoff: immediate once, then exponential, jittered, bounded."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wickguard.workers.backoff import delay_s


def test_first_retry_is_immediate_when_something_has_failed_once() -> None:
    """One death is no pattern."""
    assert delay_s(1, 0.1, 10.0, 0.99) == 0.0


@given(failures=st.integers(2, 10_000), chance=st.floats(0, 1, exclude_max=True))
def test_delay_stays_in_its_band_when_failures_go_on(failures: int, chance: float) -> None:
    """Never under half of the nominal delay, never over the maximum, whatever the count."""
    delay = delay_s(failures, 0.1, 10.0, chance)
    nominal = min(10.0, 0.1 * 2.0 ** min(failures - 2, 60))
    assert nominal / 2 <= delay <= nominal


def test_delay_doubles_when_failures_go_on() -> None:
    """Without jitter: base, 2 base, 4 base, and the maximum."""
    delays = [2 * delay_s(failures, 0.1, 1.0, 0.0) for failures in range(2, 8)]
    assert delays == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
