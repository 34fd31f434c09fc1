"""The simulator's world: every request has one fate, time is honest, and the same seed tells the same story."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from benches.simulator.attacks import ATTACKS, Attack, Span
from benches.simulator.policies import POLICIES, Row
from benches.simulator.workload import CORES, Request, good_requests, mean_s, quantile
from benches.simulator.workload import OUTPUT_TOKENS as TOKENS
from benches.simulator.world import RESPAWN_S, Fate, Story, World

END_S = 6.0
MIXED = [attack for attack in ATTACKS if attack.name.split(":")[0] in ("kill storm", "connect and drop", "memory hold")]


def requests(attack: Attack) -> list[Request]:
    """A short attack on short good load."""
    return [*good_requests(Random(1), END_S), *attack.requests(Span(Random(2), 1.0, END_S - 1.0))]


def told(row: Row, attack: Attack) -> list[Story]:
    """What became of them under a policy."""
    return World(row.build(attack), requests(attack)).run()


@pytest.mark.parametrize("row", POLICIES, ids=lambda row: row.name)
@pytest.mark.parametrize("attack", MIXED, ids=lambda attack: attack.name)
def test_every_request_has_one_fate_when_the_world_ends(row: Row, attack: Attack) -> None:
    """None is lost, none ends before it could have, and no more is computed than there are cores."""
    stories = told(row, attack)
    assert Counter(story.request.id for story in stories) == Counter(request.id for request in requests(attack))
    for story in stories:
        request = story.request
        assert story.ended_at >= request.at
        if story.fate is Fate.ANSWERED:
            assert story.ended_at >= request.at + request.needs.wall_s - 1e-9
            assert story.cpu_s == request.needs.cpu_s
        if story.fate is Fate.KILLED:
            assert story.cpu_s <= request.ceiling.cpu_s + RESPAWN_S + 1e-9
    last = max(story.ended_at for story in stories)
    assert sum(story.cpu_s for story in stories) <= CORES * last + 1e-6


def test_the_same_seed_tells_the_same_story_when_run_again() -> None:
    """A table can be made again by anybody."""
    assert told(POLICIES[-1], MIXED[0]) == told(POLICIES[-1], MIXED[0])


def test_nothing_is_held_when_the_world_ends() -> None:
    """The gate that ran it is empty: no leak under kills, drops and time-outs."""
    for attack in ATTACKS:
        policy = POLICIES[-1].build(attack)
        World(policy, requests(attack)).run()
        gate = policy.gate  # type: ignore[attr-defined]
        assert (gate.waiting, gate.running, len(gate.parts.quota), gate.parts.memory.held_bytes) == (0, 0, 0, 0)


def test_lengths_follow_the_trace_when_they_are_drawn() -> None:
    """Median, 90th percentile and the longest, as published; generation is most of the compute."""
    assert [round(quantile(TOKENS, at)) for at in (0.5, 0.9, 0.99, 1.0)] == [129, 424, 601, 1000]
    drawn = list[Request]()
    for seed in range(20):
        drawn += [one for one in good_requests(Random(seed), 100.0) if one.tenant.rate]
    assert sum(one.needs.cpu_s for one in drawn) / len(drawn) == pytest.approx(mean_s(), rel=0.05)
    generated = sum(one.needs.cpu_s for one in drawn if one.kind == "generation")
    assert 0.6 < generated / sum(one.needs.cpu_s for one in drawn) < 0.75
