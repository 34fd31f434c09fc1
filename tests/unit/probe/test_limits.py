"""Limits: what follows from a sweep, and when nothing does because the target is slow."""

from __future__ import annotations

import asyncio

import pytest

from wickguard.clock import now
from wickguard.probe.case import Case, Profile
from wickguard.probe.events import Arm, CurveFitted, LimitDerived, Point, Sampled
from wickguard.probe.fit import fit
from wickguard.probe.limits import LimitFinder, why_none
from wickguard.probe.observe import Observer
from wickguard.probe.rails import LIMITS, Allowance
from wickguard.probe.spelling import TargetSpelling, known
from wickguard.probe.sweep import sweeps
from wickguard.probe.target import Target
from wickguard.probe.wire import Address

PATH = "/v1/embeddings"


def target() -> Target:
    """A target that nothing is sent to."""
    found = known(PATH)
    assert found is not None
    spelling = TargetSpelling(found[0], PATH, "m", {PATH: found[1]})
    return Target(Address("127.0.0.1", 1), spelling, None, "/", False, "http://127.0.0.1:1")


TARGET = target()


def sweep() -> Case:
    """The sweep over inputs: 12 sizes from 1 to 2048."""
    return next(case for case in sweeps(TARGET.spelling) if case.feature == "inputs")


def samples(costs: dict[int, float], refused: tuple[int, ...] = ()) -> list[Sampled]:
    """One accepted request for each cost, and refusals."""
    taken = [Sampled(1.0, "sweep:inputs", Arm.ATTACK, size, 200, cost) for size, cost in costs.items()]
    return taken + [Sampled(1.0, "sweep:inputs", Arm.ATTACK, size, 413, 0.001) for size in refused]


def curve(costs: dict[int, float], channel: str = "latency_s") -> CurveFitted:
    """The curve through these costs."""
    points = tuple(Point(size, cost, cost, cost) for size, cost in costs.items())
    return CurveFitted(1.0, "sweep:inputs", "inputs", channel, fit(list(costs), list(costs.values())), points)


def found(costs: dict[int, float], refused: tuple[int, ...] = ()) -> list[LimitDerived]:
    """What the finder yields after such a sweep."""
    finder = LimitFinder(Observer(TARGET, Allowance(LIMITS[Profile.SHORT], now()), None))
    for event in samples(costs, refused):
        finder.note(event)
    if len(costs) >= 4:
        finder.note(curve(costs))

    async def find() -> list[LimitDerived]:
        return [limit async for limit in finder.find(sweep())]

    return asyncio.run(find())


@pytest.mark.parametrize(
    ("costs", "why"),
    [
        ({1: 1.3, 2: 1.31, 4: 1.33, 8: 1.4, 16: 1.55}, "the smallest size already takes 1.3 s"),
        ({1: 1.3}, "the smallest size already takes 1.3 s"),
        ({1: 2.5}, "the smallest size already takes 2.5 s"),
        ({1: 0.3, 2: 0.8, 4: 1.9}, "stop after 3 of 12 sizes"),
        ({}, "no size of it was accepted"),
    ],
)
def test_no_limit_follows_when_the_target_is_slow_from_the_smallest_size_on(costs: dict[int, float], why: str) -> None:
    """A limit of one input would refuse everybody; the reason is told instead."""
    curves = {"latency_s": curve(costs)} if len(costs) >= 4 else {}
    assert why in why_none(samples(costs), curves, sweep().sizes)
    assert found(costs) == []


def test_no_limit_follows_from_memory_when_the_smallest_size_takes_too_much() -> None:
    """As from time."""
    memory = curve(dict.fromkeys((1, 2, 4, 8), 3e8), "memory_bytes")
    costs = dict.fromkeys((1, 2, 4, 8), 0.01)
    assert "the smallest size already takes 286.1 MiB" in why_none(samples(costs), {"memory_bytes": memory}, (1, 8))


def test_limit_follows_when_few_sizes_are_accepted_because_more_is_refused() -> None:
    """The target's own limit is one, however soon it comes: the curve of its refusals says nothing about what it takes."""
    assert [(limit.limit, limit.reason) for limit in found({1: 0.1}, (2, 4, 8, 16))] == [(1, "the target refuses more")]
    refusals = {"latency_s": curve(dict.fromkeys((2, 4, 8, 16), 1.3))}
    assert why_none(samples({1: 0.1}, (2, 4, 8, 16)), refusals, sweep().sizes) == ""


def test_limit_follows_when_a_sweep_of_few_sizes_reached_its_last() -> None:
    """A document that allows three has no fourth."""
    assert why_none(samples({1: 0.1, 2: 0.1, 3: 0.1}), {}, (1, 2, 3)) == ""


def test_limit_is_the_largest_size_tried_when_all_are_quick() -> None:
    """Nothing is sent once more."""
    assert [limit.limit for limit in found(dict.fromkeys(sweep().sizes, 0.01))] == [2048]
