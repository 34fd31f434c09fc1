"""One breaker: when it opens, for how long, and what closes it."""

from __future__ import annotations

import pytest

from wickguard.control.breaker import (
    VERDICTS,
    Breaker,
    BreakerSettings,
    Pass,
    State,
    Verdict,
    verdict_of,
    wilson_lower,
)
from wickguard.errors import ConfigError
from wickguard.records import OutcomeKind

GOOD, BAD, NEUTRAL = Verdict.GOOD, Verdict.BAD, Verdict.NEUTRAL


def call(breaker: Breaker, now: float, verdict: Verdict, witness: str = "ada") -> Pass:
    """One call that passes and ends at once."""
    passed = breaker.ask(now)
    assert isinstance(passed, Pass)
    breaker.report(now, passed, verdict, witness)
    return passed


def opened(now: float = 0.0) -> Breaker:
    """A breaker that three kills have opened."""
    breaker = Breaker(BreakerSettings())
    for _ in range(3):
        call(breaker, now, BAD)
    assert breaker.state is State.OPEN
    return breaker


def test_breaker_opens_when_three_kills_fall_within_a_minute() -> None:
    """And says for how long."""
    breaker = Breaker(BreakerSettings())
    for at in (0.0, 30.0, 60.0):
        assert breaker.state is State.CLOSED
        call(breaker, at, BAD)
    assert breaker.state is State.OPEN
    assert breaker.ask(60.0) == 30.0


def test_breaker_stays_closed_when_kills_are_rare_among_good_calls() -> None:
    """Three kills in more than a minute, at a ratio far below a fifth."""
    breaker = Breaker(BreakerSettings())
    for minute in range(10):
        for _ in range(30):
            call(breaker, minute * 61.0, GOOD)
        call(breaker, minute * 61.0, BAD)
    assert breaker.state is State.CLOSED


def test_breaker_opens_when_the_ratio_is_certain() -> None:
    """Two failures of four are not enough to know; three of five are (Wilson 0.23)."""
    breaker = Breaker(BreakerSettings(kills=0))
    for verdict in (BAD, GOOD, BAD, GOOD):
        call(breaker, 0.0, verdict)
    assert breaker.state is State.CLOSED
    call(breaker, 0.0, BAD)
    assert breaker.state is State.OPEN


def test_ratio_forgets_when_two_windows_have_passed() -> None:
    """Old failures don't count against new calls."""
    breaker = Breaker(BreakerSettings(kills=0))
    for _ in range(4):
        call(breaker, 0.0, BAD)
    call(breaker, 121.0, BAD)
    assert breaker.state is State.CLOSED


def test_only_one_trial_runs_when_the_breaker_is_half_open() -> None:
    """Others wait until it is reported."""
    breaker = opened()
    trial = breaker.ask(30.0)
    assert isinstance(trial, Pass)
    assert trial.trial
    assert breaker.ask(30.0) == 1.0
    breaker.report(31.0, trial, GOOD, "ada")
    assert isinstance(breaker.ask(31.0), Pass)


def test_breaker_closes_when_three_trials_go_well() -> None:
    """Not after one: one good call proves little."""
    breaker = opened()
    for number in range(3):
        assert breaker.state is (State.HALF_OPEN if number else State.OPEN)
        assert call(breaker, 30.0, GOOD).trial
    assert breaker.state is State.CLOSED
    assert not call(breaker, 30.0, GOOD).trial


def test_wait_doubles_up_to_an_hour_when_trials_fail() -> None:
    """30, 60, 120 ... 3600 s; and never an error, however often."""
    breaker, now, waits = opened(), 0.0, []
    for _ in range(1200):
        wait = breaker.ask(now)
        assert isinstance(wait, float)
        waits.append(wait)
        now += wait
        call(breaker, now, BAD)
    assert waits[:8] == [30.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 3600.0]
    assert waits[-1] == pytest.approx(3600.0)


def test_wait_goes_on_doubling_when_it_opens_again_soon_after_closing() -> None:
    """Three good trials between kills don't reset it; an hour of calm does."""
    breaker = opened()
    for _ in range(3):
        call(breaker, 30.0, GOOD)
    for _ in range(3):
        call(breaker, 40.0, BAD)
    assert breaker.ask(40.0) == 60.0
    for _ in range(3):
        call(breaker, 100.0, GOOD)
    for _ in range(3):
        call(breaker, 3701.0, BAD)
    assert breaker.ask(3701.0) == 30.0


def test_trial_is_given_again_when_it_says_nothing() -> None:
    """Refused by the worker, or its caller left: neither a success nor a failure."""
    breaker = opened()
    for _ in range(10):
        assert call(breaker, 30.0, NEUTRAL).trial
    assert breaker.state is State.HALF_OPEN


def test_trial_is_given_up_when_it_is_never_reported() -> None:
    """A lost trial does not keep the breaker half-open for ever, and what it says later does not count."""
    breaker = opened()
    lost = breaker.ask(30.0)
    assert isinstance(lost, Pass)
    second = breaker.ask(90.0)
    assert isinstance(second, Pass)
    breaker.report(91.0, lost, BAD, "ada")
    assert breaker.state is State.HALF_OPEN
    breaker.report(91.0, second, BAD, "ada")
    assert breaker.state is State.OPEN


def test_breaker_stays_closed_when_most_witnesses_are_content() -> None:
    """Three that fail all day don't outweigh ten that each had one good call, however many their failures."""
    breaker = Breaker(BreakerSettings(kills=0, witnesses=3))
    for number in range(10):
        call(breaker, 0.0, Verdict.GOOD, f"content {number}")
    for number in range(300):
        call(breaker, 1.0, Verdict.BAD, f"failing {number % 3}")
    assert breaker.state is State.CLOSED


def test_breaker_opens_when_most_witnesses_fail() -> None:
    """Each of them with one good call among its bad ones."""
    breaker = Breaker(BreakerSettings(kills=0, witnesses=3))
    for verdict in (Verdict.GOOD, Verdict.BAD, Verdict.BAD):
        for number in range(4):
            if breaker.state is State.CLOSED:
                call(breaker, 0.0, verdict, f"tenant {number}")
    assert breaker.state is State.OPEN


def test_witnesses_are_forgotten_when_they_have_not_called_for_a_window() -> None:
    """What they saw is old, on either side."""
    breaker = Breaker(BreakerSettings(kills=0, witnesses=3))
    for number in range(10):
        call(breaker, 0.0, Verdict.GOOD, f"content {number}")
    for number in range(30):
        if breaker.state is State.CLOSED:
            call(breaker, 61.0, Verdict.BAD, f"failing {number % 3}")
    assert breaker.state is State.OPEN


def test_breaker_stays_closed_when_witnesses_are_missing() -> None:
    """A thousand failures of two tenants don't open what three must have seen; the third's does."""
    breaker = Breaker(BreakerSettings(kills=0, witnesses=3))
    for number in range(1000):
        call(breaker, 0.0, BAD, f"tenant {number % 2}")
    assert breaker.state is State.CLOSED
    call(breaker, 61.0, BAD, "tenant 2")
    assert breaker.state is State.CLOSED
    call(breaker, 61.0, BAD, "tenant 1")
    call(breaker, 61.0, BAD, "tenant 0")
    assert breaker.state is State.OPEN


def test_every_outcome_has_a_verdict_when_outcomes_are_added() -> None:
    """The table is total, and counts only what a request does to a worker."""
    assert set(VERDICTS) == set(OutcomeKind)
    bad = {kind for kind, verdict in VERDICTS.items() if verdict is BAD}
    assert bad == {
        OutcomeKind.CRASHED,
        OutcomeKind.OUT_OF_MEMORY,
        OutcomeKind.EXPIRED_CPU,
        OutcomeKind.EXPIRED_WALL,
    }
    assert {kind for kind, verdict in VERDICTS.items() if verdict is GOOD} == {OutcomeKind.COMPLETED}


def test_verdict_is_neutral_when_the_call_was_not_to_blame() -> None:
    """A lost zygote, or a deadline that the caller itself made short."""
    assert verdict_of(OutcomeKind.CRASHED, victim=True) is NEUTRAL
    assert verdict_of(OutcomeKind.EXPIRED_WALL, hurried=True) is NEUTRAL
    assert verdict_of(OutcomeKind.EXPIRED_CPU, hurried=True) is BAD
    assert verdict_of(OutcomeKind.EXPIRED_WALL) is BAD


@pytest.mark.parametrize(("bad", "total", "lower"), [(0, 10, 0.0), (5, 5, 0.5655), (3, 5, 0.2307), (200, 1000, 0.1764)])
def test_lower_bound_is_wilsons_when_compared_with_known_values(bad: int, total: int, lower: float) -> None:
    """Against values of the published formula at 95 %."""
    assert wilson_lower(bad, total) == pytest.approx(lower, abs=1e-4)


@pytest.mark.parametrize(
    "wrong", [{"open_s": 0.0}, {"most_open_s": 1.0}, {"ratio": 1.0}, {"witnesses": 0}, {"successes": 0}, {"kills": -1}]
)
def test_settings_are_refused_when_they_make_no_sense(wrong: dict[str, float]) -> None:
    """Settings are checked when they are made."""
    with pytest.raises(ConfigError):
        BreakerSettings(**wrong)
