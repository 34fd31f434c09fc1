"""The bucket: what fits, when it fits, and what a running call's reservation does."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wickguard.control.bucket import Bucket, Limit, grains
from wickguard.errors import ConfigError, WickguardError

TEN = Limit(rate=1.0, depth=10.0)


def test_amount_is_taken_when_it_fits() -> None:
    """A whole bucket can be reserved at once, and nothing more."""
    bucket = Bucket(0.0)
    assert bucket.reserve(0.0, TEN, 10.0) == 0
    assert bucket.reserve(0.0, TEN, grains(0.001)) > 0
    assert bucket.reserved == 10.0


def test_amount_never_fits_when_it_is_above_the_depth() -> None:
    """Waiting is of no use for what is larger than the bucket."""
    assert Bucket(0.0).reserve(0.0, TEN, 10.5) == math.inf


def test_reservation_does_not_leak_when_time_passes() -> None:
    """A call that runs for an hour still holds what it reserved."""
    bucket = Bucket(0.0)
    bucket.reserve(0.0, TEN, 10.0)
    assert bucket.wait_s(3600.0, TEN, 1.0) > 0


def test_level_leaks_when_call_was_settled() -> None:
    """What was settled leaks at the rate, from the moment of settling."""
    bucket = Bucket(0.0)
    bucket.reserve(0.0, TEN, 10.0)
    bucket.settle(100.0, TEN, 10.0, 8.0)
    assert bucket.level_at(103.0, TEN) == 5.0
    assert bucket.level_at(200.0, TEN) == 0.0


def test_refund_is_usable_at_once_when_call_used_less() -> None:
    """Settling below the reservation gives back the difference."""
    bucket = Bucket(0.0)
    bucket.reserve(0.0, TEN, 10.0)
    bucket.settle(0.0, TEN, 10.0, 4.0)
    assert bucket.reserve(0.0, TEN, 6.0) == 0


@given(
    st.floats(0.01, 100), st.floats(0.1, 1000), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1e6)
)  # fmt: skip
def test_amount_fits_when_the_wait_is_over(rate: float, depth: float, used: float, part: float, now: float) -> None:
    """Whoever comes back exactly after the wait that it was told is not refused."""
    limit, bucket = Limit(rate, depth), Bucket(now)
    first = min(grains(depth * used), depth)
    bucket.reserve(now, limit, first)
    bucket.settle(now, limit, first, first)
    amount = min(grains(depth * part), depth)
    wait = bucket.wait_s(now, limit, amount)
    assert bucket.reserve(now + wait, limit, amount) == 0


def test_amount_does_not_fit_when_it_comes_back_too_early() -> None:
    """The wait is not longer than it has to be."""
    bucket = Bucket(0.0)
    bucket.reserve(0.0, TEN, 10.0)
    bucket.settle(0.0, TEN, 10.0, 10.0)
    wait = bucket.wait_s(0.0, TEN, 4.0)
    assert bucket.reserve(wait - 0.001, TEN, 4.0) > 0


def test_wait_is_unknown_when_nothing_leaks() -> None:
    """At a rate of 0 (calls at once) only a settlement helps."""
    calls, bucket = Limit(0.0, 2.0), Bucket(0.0)
    assert bucket.reserve(0.0, calls, 1.0) == bucket.reserve(0.0, calls, 1.0) == 0
    assert bucket.reserve(0.0, calls, 1.0) == math.inf
    bucket.settle(5.0, calls, 1.0, 0.0)
    assert bucket.reserve(5.0, calls, 1.0) == 0


def test_settling_fails_when_nothing_is_reserved() -> None:
    """A second settlement can't drive the reserved sum below zero."""
    bucket = Bucket(0.0)
    bucket.reserve(0.0, TEN, 1.0)
    bucket.settle(0.0, TEN, 1.0, 1.0)
    with pytest.raises(WickguardError):
        bucket.settle(0.0, TEN, 1.0, 1.0)


def test_refusals_fill_the_bucket_and_no_more_when_they_are_charged() -> None:
    """A thousand refusals cost a full bucket; what is reserved counts as filled."""
    bucket = Bucket(0.0)
    bucket.reserve(0.0, TEN, 4.0)
    charged = sum(bucket.charge(0.0, TEN, 0.125) for _ in range(1000))
    assert charged == bucket.level == 6.0


def test_time_stands_still_when_now_goes_back() -> None:
    """An earlier `now` neither leaks nor un-leaks."""
    bucket = Bucket(10.0, 5.0)
    assert bucket.level_at(9.0, TEN) == 5.0
    bucket.settle(9.0, TEN, 0.0, 1.0)
    assert (bucket.level, bucket.at) == (6.0, 10.0)


@given(st.lists(st.floats(0, 1000), max_size=200))
def test_reserved_is_exactly_zero_when_all_is_settled_in_any_order(amounts: list[float]) -> None:
    """Sums of reservations don't drift: they are exact in floats, because amounts are whole grains."""
    bucket, limit = Bucket(0.0), Limit(1.0, 1e6)
    taken = [grains(amount) for amount in amounts]
    for amount in taken:
        assert bucket.reserve(0.0, limit, amount) == 0
    for amount in sorted(taken, key=hash):
        bucket.settle(0.0, limit, amount, 0.0)
    assert bucket.reserved == 0.0


@pytest.mark.parametrize("amount", [-1.0, math.inf, math.nan, 1e12])
def test_amount_is_refused_when_it_is_no_amount(amount: float) -> None:
    """Negative, infinite and absurd amounts are mistakes of ours, not requests."""
    with pytest.raises(WickguardError):
        grains(amount)


@pytest.mark.parametrize(("rate", "depth"), [(-1.0, 1.0), (1.0, 0.0), (math.inf, 1.0), (1.0, math.nan)])
def test_limit_is_refused_when_it_makes_no_sense(rate: float, depth: float) -> None:
    """A limit is checked when it is made."""
    with pytest.raises(ConfigError):
        Limit(rate, depth)
