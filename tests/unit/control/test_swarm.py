"""The swarm: who raises the alarm, and when it ends."""

from __future__ import annotations

import pytest

from wickguard.control.swarm import Swarm, SwarmSettings
from wickguard.errors import ConfigError

SETTINGS = SwarmSettings(identities=3, window_s=10.0, calm_s=100.0)


def test_the_alarm_is_raised_once_when_enough_different_ones_meet_the_cap() -> None:
    """Told when it begins, not with every one of them."""
    swarm = Swarm(SETTINGS)
    assert [swarm.met_cap(float(at), f"id{at}") for at in range(5)] == [False, False, True, False, False]
    assert swarm.alarmed(4.0)


def test_one_busy_identity_is_no_swarm_when_it_meets_the_cap_again_and_again() -> None:
    """However often."""
    swarm = Swarm(SETTINGS)
    assert not any(swarm.met_cap(at / 100, f"id{at % 2}") for at in range(500))
    assert not swarm.alarmed(5.0)


def test_slow_ones_are_no_swarm_when_they_are_not_together() -> None:
    """Two in ten seconds are not three."""
    swarm = Swarm(SETTINGS)
    assert not any(swarm.met_cap(6.0 * number, f"id{number}") for number in range(50))


def test_the_alarm_ends_when_there_was_no_sign_for_long_enough() -> None:
    """And can be raised again."""
    swarm = Swarm(SETTINGS)
    for at in range(3):
        swarm.met_cap(float(at), f"id{at}")
    assert swarm.alarmed(101.0)
    assert not swarm.alarmed(102.0)
    assert [swarm.met_cap(200.0, f"new{number}") for number in range(3)] == [False, False, True]


def test_memory_is_bounded_when_identities_are_sprayed() -> None:
    """As many names as make a swarm."""
    swarm = Swarm(SETTINGS)
    for number in range(10_000):
        swarm.met_cap(0.0, f"id{number}")
    assert len(swarm._seen) == 3


@pytest.mark.parametrize("wrong", [{"identities": 1}, {"window_s": 0.0}, {"calm_s": 0.0}])
def test_settings_are_refused_when_out_of_range(wrong: dict[str, float]) -> None:
    """At load."""
    with pytest.raises(ConfigError):
        SwarmSettings(**wrong)  # type: ignore[arg-type]
