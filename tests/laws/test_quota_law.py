"""Law 2: in any window, settled cost <= burst + rate x window, plus the overshoots of calls in flight together."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from wickguard.control.bucket import Bucket, Limit, grains

LIMIT = Limit(rate=0.5, depth=8.0)


@dataclass
class Gcra:
    """The usual limiter with refunds (a theoretical arrival time, moved back on settling), as a foil."""

    arrival: float = 0.0

    def reserve(self, now: float, amount: float) -> bool:
        """Take `amount` when it fits."""
        start = max(self.arrival, now)
        if start + amount / LIMIT.rate - now > LIMIT.depth / LIMIT.rate:
            return False
        self.arrival = start + amount / LIMIT.rate
        return True

    def settle(self, amount: float, charged: float) -> None:
        """Give back or take what differs."""
        self.arrival += (charged - amount) / LIMIT.rate


@dataclass
class History:
    """What was settled when, and the largest sum of overshoots of calls that were in flight together."""

    flying: dict[int, tuple[float, float]] = field(default_factory=dict)
    settled: list[tuple[float, float]] = field(default_factory=list)
    overshoot: float = 0.0

    def took(self, call: int, amount: float, charged: float) -> None:
        """A call began."""
        self.flying[call] = (amount, charged)
        self.overshoot = max(self.overshoot, sum(max(0.0, paid - held) for held, paid in self.flying.values()))

    def worst_excess(self) -> float:
        """The most that any window holds above burst + rate x window + overshoot; the law says: not above 0."""
        worst = -LIMIT.depth
        for first, (begin, _) in enumerate(self.settled):
            total = 0.0
            for at, charged in self.settled[first:]:
                total += charged
                worst = max(worst, total - LIMIT.depth - LIMIT.rate * (at - begin) - self.overshoot)
        return worst


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["reserve", "reserve", "settle", "wait", "refuse"]),
        st.floats(0.05, 8.0),
        st.floats(0.0, 1.5),
        st.integers(0, 7),
    ),
    max_size=60,
)


@given(STEPS)
@settings(max_examples=200)
def test_settled_cost_stays_under_the_line_when_calls_overlap_at_will(
    steps: list[tuple[str, float, float, int]],
) -> None:
    """Any interleaving of reserving, waiting, refusing and settling (below, at or above the reservation)."""
    bucket, history, now = Bucket(0.0), History(), 0.0
    for number, (what, size, ratio, pick) in enumerate(steps):
        amount = grains(size)
        if what == "wait":
            now += size
        elif what == "refuse":
            history.settled.append((now, bucket.charge(now, LIMIT, grains(0.001))))
        elif what == "reserve":
            if bucket.reserve(now, LIMIT, amount) == 0:
                history.took(number, amount, grains(size * ratio))
        elif history.flying:
            held, paid = history.flying.pop(list(history.flying)[pick % len(history.flying)])
            bucket.settle(now, LIMIT, held, paid)
            history.settled.append((now, paid))
        assert bucket.reserved == sum(held for held, _ in history.flying.values())
    assert history.worst_excess() <= 1e-9


def test_late_refund_is_no_credit_when_reservations_outlive_their_leak() -> None:
    """The same calls break the law under a GCRA with refunds, and don't under the bucket: the law can fail."""
    gcra, bucket = Gcra(), Bucket(0.0)
    history = {"gcra": History(), "bucket": History()}
    # A call that runs as long as its reservation leaks, then another; the first is refunded, a third is let in; both end.
    assert gcra.reserve(0.0, 8.0)
    assert bucket.reserve(0.0, LIMIT, 8.0) == 0
    assert gcra.reserve(16.0, 8.0)
    assert bucket.reserve(16.0, LIMIT, 8.0) > 0
    gcra.settle(8.0, 0.0)
    bucket.settle(16.0, LIMIT, 8.0, 0.0)
    assert gcra.reserve(16.0, 8.0)
    assert bucket.reserve(16.0, LIMIT, 8.0) == 0
    history["gcra"].settled = [(16.0, 8.0), (16.0, 8.0)]
    history["bucket"].settled = [(16.0, 8.0)]
    assert history["gcra"].worst_excess() == 8.0
    assert history["bucket"].worst_excess() <= 0.0


def test_line_is_reached_when_a_caller_takes_all_it_may() -> None:
    """The bound is tight: a greedy caller gets the burst and the whole rate, so the law does not hold by refusing all."""
    bucket, now, spent = Bucket(0.0), 0.0, 0.0
    amount = grains(0.5)
    times = [step * 0.25 for step in range(401)]
    for begin, now in pairwise([0.0, *times]):
        assert begin <= now
        while bucket.reserve(now, LIMIT, amount) == 0:
            bucket.settle(now, LIMIT, amount, amount)
            spent += amount
    assert LIMIT.depth + LIMIT.rate * now - amount <= spent <= LIMIT.depth + LIMIT.rate * now
