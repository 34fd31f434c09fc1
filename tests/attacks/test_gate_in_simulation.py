"""The attacks A1 to A12, as far as they reach the gate, on virtual time against the gate that the server runs: what is left of
those who did nothing wrong. benches/simulator has the workload, the attacks and the tables; here the floor is kept.
"""

from __future__ import annotations

from functools import cache
from random import Random

import pytest
from benches.simulator.attacks import ATTACKS, Attack, Span
from benches.simulator.measure import Measure, measure
from benches.simulator.policies import POLICIES
from benches.simulator.workload import CORES, good_requests
from benches.simulator.world import World

BEGIN_S, END_S = 10.0, 50.0
FULL, BY_NAME = POLICIES[-1], {row.name: row for row in POLICIES}


@cache
def measured(policy: str, name: str) -> Measure:
    """One short run; virtual time makes it the same on every machine."""
    attack = next(attack for attack in ATTACKS if attack.name == name)
    requests = good_requests(Random(3), END_S + 5.0)
    requests += attack.requests(Span(Random(1003), BEGIN_S, END_S))
    return measure(World(BY_NAME[policy].build(attack), requests).run(), BEGIN_S, END_S)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_good_tenants_notice_little_when_attacked(attack: Attack) -> None:
    """97 % are answered in time, 90 % of every class and of every tenant, in fair shares; nobody good is killed."""
    found = measured(FULL.name, attack.name)
    assert found.goodput >= 0.97
    assert min(found.classes.values()) >= 0.9, found.classes
    assert found.worst_tenant >= 0.9
    assert found.jain >= 0.95
    assert found.killed == 0


@pytest.mark.parametrize("attack", ATTACKS[1:], ids=lambda attack: attack.name)
def test_the_attack_is_one_when_nothing_is_done(attack: Attack) -> None:
    """Without admission less than a quarter is answered in time: what the test above proves is not for nothing."""
    assert measured("P0", attack.name).goodput < 0.25


def test_strangers_stay_under_their_cap_when_they_are_hundreds() -> None:
    """A quarter of the machine, and what their buckets held when they came."""
    found = measured(FULL.name, "distributed: 300 identities under their limits")
    depth_s = 2.4 * 5.0
    assert found.attackers <= 0.25 + depth_s / (CORES * (END_S - BEGIN_S))


def test_each_part_is_needed_when_its_attack_comes() -> None:
    """Reserving against expensive calls, killing against wrong prices, fairness against noise, caps against crowds."""
    for without, with_it, name in (
        ("P3", "P4", "expensive, bucket deep enough"),
        ("P4", "P5", "mispriced: predicted 40 ms, runs 10 s"),
        ("P5", "P6", "noisy: two tenants inside large quotas"),
        ("P6", "P7", "distributed: 300 identities under their limits"),
    ):
        assert measured(with_it, name).goodput > measured(without, name).goodput + 0.2, name
