"""The surge: when a queue is standing, when a front is overrun, and that both end."""

from __future__ import annotations

import pytest

from wickguard.control.surge import Surge, SurgeSettings
from wickguard.errors import ConfigError


def test_a_queue_is_standing_when_every_call_waited_long_for_an_interval() -> None:
    """Shorter than the interval it is a burst."""
    surge = Surge(SurgeSettings(interval_s=1.0))
    for at in (0.0, 0.4, 0.8):
        surge.started(at, 0.6, 1.0)
        assert not surge.standing(at)
    surge.started(1.0, 0.6, 1.0)
    assert surge.standing(1.0)


def test_a_queue_is_not_standing_when_one_call_waited_little() -> None:
    """The least counts, as in CoDel: a queue that empties now and then works."""
    surge = Surge()
    for tenth in range(30):
        surge.started(tenth / 10, 0.6 if tenth % 9 else 0.1, 1.0)
        assert not surge.standing(tenth / 10)


def test_waiting_is_judged_by_slack_when_costs_differ() -> None:
    """Ten seconds are little for a call that has a minute, and a tenth is much for one that has none."""
    surge = Surge()
    for at in (0.0, 1.0):
        surge.started(at, 10.0, 60.0)
    assert not surge.standing(1.0)
    for at in (2.0, 3.0):
        surge.started(at, 0.1, 0.1)
    assert surge.standing(3.0)


def test_a_standing_queue_is_forgotten_when_nothing_starts_for_an_interval() -> None:
    """What the last calls told is old."""
    surge = Surge()
    for at in (0.0, 1.0):
        surge.started(at, 0.9, 1.0)
    assert surge.standing(1.5)
    assert not surge.standing(2.1)


def test_the_front_is_overrun_when_heartbeats_are_late_in_a_row() -> None:
    """As many punctual ones end it."""
    surge = Surge(SurgeSettings(late_s=0.05, beats=3))
    for late_s in (0.1, 0.1, 0.0, 0.1):
        surge.beat(late_s)
    assert not surge.overrun
    surge.beat(0.1)
    assert surge.overrun
    for _ in range(2):
        surge.beat(0.0)
        assert surge.overrun
    surge.beat(0.0)
    assert not surge.overrun


@pytest.mark.parametrize("wrong", [{"share": 0.0}, {"share": 1.0}, {"interval_s": 0.0}, {"late_s": 0.0}, {"beats": 0}])
def test_settings_are_refused_when_out_of_range(wrong: dict[str, float]) -> None:
    """At load."""
    with pytest.raises(ConfigError):
        SurgeSettings(**wrong)  # type: ignore[arg-type]
