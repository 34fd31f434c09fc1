"""The sketches: never too little, bounded error, bounded memory."""

from __future__ import annotations

import random
from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from wickguard.control.sketch import WIDTH, CountMin, HeavyHitters

SEED = b"a seed of the test"
SPENDING = st.lists(st.tuples(st.integers(0, 40).map(str), st.floats(0.001, 10)), max_size=200)


@given(SPENDING)
def test_estimate_is_never_too_little_when_keys_collide(spending: list[tuple[str, float]]) -> None:
    """Whatever is added in one generation, no key's estimate is below what it spent."""
    sketch, truth = CountMin(SEED), defaultdict[str, float](float)
    sketch.rotate(1000.0)
    for key, amount in spending:
        sketch.add(key, amount)
        truth[key] += amount
    assert all(sketch.estimate(1000.0, key) >= spent - 1e-9 for key, spent in truth.items())


def test_estimates_are_close_when_very_many_keys_share_the_cells() -> None:
    """At 40,000 keys, 98 % of estimates are within e/width of the total (the bound of the paper)."""
    sketch, order = CountMin(SEED), random.Random(3)
    sketch.rotate(0.0)
    truth = {f"key {number}": order.expovariate(50) for number in range(40_000)}
    for key, amount in truth.items():
        sketch.add(key, amount)
    bound = 2.72 / WIDTH * sum(truth.values())
    asked = order.sample(sorted(truth), 2000)
    within = sum(sketch.estimate(0.0, key) - truth[key] <= bound for key in asked)
    assert within >= 0.98 * len(asked)


def test_spending_fades_when_its_generation_is_over() -> None:
    """Full weight in its own half-life, then fading to nothing over the next."""
    sketch = CountMin(SEED, half_life_s=60.0)
    sketch.rotate(600.0)
    sketch.add("a", 8.0)
    assert sketch.estimate(659.0, "a") == 8.0
    assert sketch.rotate(660.0)
    assert sketch.estimate(660.0, "a") == 8.0
    assert sketch.estimate(690.0, "a") == 4.0
    assert sketch.rotate(720.0)
    assert sketch.estimate(720.0, "a") == 0.0


def test_spending_is_forgotten_when_nobody_called_for_two_half_lives() -> None:
    """A generation that ended long ago does not come back as the last one."""
    sketch = CountMin(SEED, half_life_s=60.0)
    sketch.rotate(600.0)
    sketch.add("a", 8.0)
    assert sketch.rotate(720.0)
    assert sketch.estimate(720.0, "a") == 0.0


def test_collisions_differ_when_the_seed_differs() -> None:
    """Who shares cells with whom depends on the secret seed."""
    first, second = CountMin(b"one"), CountMin(b"two")
    for sketch in (first, second):
        sketch.rotate(0.0)
        for number in range(60_000):
            sketch.add(f"key {number}", 1.0)
    asked = [f"key {number}" for number in range(200)]
    assert [first.estimate(0.0, key) for key in asked] != [second.estimate(0.0, key) for key in asked]


@given(SPENDING, st.integers(1, 16))
def test_weight_brackets_the_truth_when_keys_are_evicted(spending: list[tuple[str, float]], capacity: int) -> None:
    """weight - error <= truth <= weight for every key kept, and every key above total/capacity is kept."""
    hitters, truth = HeavyHitters(capacity), defaultdict[str, float](float)
    for key, amount in spending:
        known = hitters.add(key, amount)
        truth[key] += amount
        assert known <= truth[key] + 1e-9
    for key, (weight, error) in hitters.weights().items():
        assert weight - error - 1e-9 <= truth[key] <= weight + 1e-9
    heavy = {key for key, spent in truth.items() if spent > sum(truth.values()) / capacity + 1e-9}
    assert heavy <= set(hitters.weights())
    assert len(hitters) <= capacity


def test_heap_stays_small_when_keys_are_removed_and_added_again() -> None:
    """What removed keys leave behind is cleared away."""
    hitters = HeavyHitters(capacity=8)
    for number in range(10_000):
        hitters.add(f"key {number % 5}", 1.0)
        hitters.remove(f"key {number % 5}")
    assert len(hitters._heap) <= 2 * 8 + 1


def test_weights_are_halved_when_a_half_life_passes() -> None:
    """Old spending counts half, its total too, and eviction still takes the lightest."""
    hitters = HeavyHitters(capacity=2)
    hitters.add("heavy", 8.0)
    hitters.add("light", 2.0)
    hitters.halve()
    assert hitters.total == 5.0
    hitters.add("new", 1.0)
    assert hitters.weights() == {"heavy": (4.0, 0.0), "new": (2.0, 1.0)}
