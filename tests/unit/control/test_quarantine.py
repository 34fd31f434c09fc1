"""The quarantine: strikes, trials, and copies that ran at once."""

from __future__ import annotations

import pytest

from wickguard.control.breaker import Verdict
from wickguard.control.quarantine import Permit, Quarantine, QuarantineSettings
from wickguard.errors import ConfigError

POISON = b"digest of the poison"
GOOD, BAD, NEUTRAL = Verdict.GOOD, Verdict.BAD, Verdict.NEUTRAL


def run(quarantine: Quarantine, now: float, verdict: Verdict, digest: bytes = POISON) -> Permit:
    """One request that is let in and ends at once."""
    permit = quarantine.ask(now, digest)
    assert isinstance(permit, Permit)
    quarantine.report(now, digest, permit, verdict)
    return permit


def test_request_is_tried_alone_when_it_has_one_strike() -> None:
    """And no second copy beside it."""
    quarantine = Quarantine()
    assert not run(quarantine, 0.0, BAD).trial
    permit = quarantine.ask(1.0, POISON)
    assert permit == Permit(trial=True, strikes=1)
    assert quarantine.ask(1.0, POISON) == 1.0


def test_request_is_refused_for_ever_longer_when_it_has_two_strikes_or_more() -> None:
    """Ten minutes, doubling to a day, a trial after each; never an error, however often."""
    quarantine, now, waits = Quarantine(), 0.0, []
    run(quarantine, now, BAD)
    for _ in range(1200):
        assert run(quarantine, now, BAD).trial
        wait = quarantine.ask(now, POISON)
        assert isinstance(wait, float)
        waits.append(wait)
        now += wait
    assert waits[:9] == [600, 1200, 2400, 4800, 9600, 19_200, 38_400, 76_800, 86_400]
    assert waits[-1] == 86_400


def test_name_is_cleared_when_the_trial_ends_well() -> None:
    """An accident is forgotten."""
    quarantine = Quarantine()
    run(quarantine, 0.0, BAD)
    assert run(quarantine, 0.0, GOOD).trial
    assert not run(quarantine, 0.0, GOOD).trial
    assert len(quarantine) == 0


def test_copies_count_as_one_strike_when_they_ran_at_once() -> None:
    """A hundred copies that were let in before the first strike prove what one proves."""
    quarantine = Quarantine()
    permits = [quarantine.ask(0.0, POISON) for _ in range(100)]
    for permit in permits:
        assert isinstance(permit, Permit)
        quarantine.report(1.0, POISON, permit, BAD)
    assert quarantine.ask(1.0, POISON) == Permit(trial=True, strikes=1)


def test_strikes_stay_when_a_late_copy_is_killed() -> None:
    """A copy that ran since before the first strike does not set the count back."""
    quarantine = Quarantine()
    late = quarantine.ask(0.0, POISON)
    assert isinstance(late, Permit)
    run(quarantine, 0.0, BAD)
    run(quarantine, 0.0, BAD)
    quarantine.report(1.0, POISON, late, BAD)
    assert quarantine.ask(1.0, POISON) == 599.0


def test_late_copy_does_not_clear_the_name_when_it_ended_well() -> None:
    """Only a trial clears."""
    quarantine = Quarantine()
    late = quarantine.ask(0.0, POISON)
    assert isinstance(late, Permit)
    run(quarantine, 0.0, BAD)
    quarantine.report(1.0, POISON, late, GOOD)
    assert len(quarantine) == 1


@pytest.mark.parametrize("reported", [True, False])
def test_trial_is_given_again_when_it_said_nothing(reported: bool) -> None:
    """Its caller left, or it was lost; a lost one only after a while."""
    quarantine = Quarantine()
    run(quarantine, 0.0, BAD)
    permit = quarantine.ask(0.0, POISON)
    assert isinstance(permit, Permit)
    if reported:
        quarantine.report(0.0, POISON, permit, NEUTRAL)
    assert isinstance(quarantine.ask(0.0, POISON), Permit) is reported
    again = quarantine.ask(120.0, POISON)
    assert again == Permit(trial=True, strikes=1)


def test_other_requests_pass_when_one_is_held() -> None:
    """By the exact digest only."""
    quarantine = Quarantine()
    run(quarantine, 0.0, BAD)
    run(quarantine, 0.0, BAD)
    assert not run(quarantine, 0.0, GOOD, b"another").trial


def test_least_recently_seen_is_forgotten_when_there_are_too_many() -> None:
    """Ten thousand at most; who keeps coming is kept."""
    quarantine = Quarantine(QuarantineSettings(capacity=100))
    run(quarantine, 0.0, BAD)
    run(quarantine, 0.0, BAD)
    for number in range(1000):
        run(quarantine, 0.0, BAD, b"%d" % number)
        assert quarantine.ask(0.0, POISON) == 600.0
    assert len(quarantine) == 100
    assert quarantine.ask(0.0, b"0") == Permit(trial=False, strikes=0)


def test_trial_grant_is_a_quarter_when_that_covers_the_price() -> None:
    """Else the price: an honest dear call must be able to clear its name; never more than the grant."""
    quarantine = Quarantine()
    assert quarantine.trial_grant_s(grant_s=0.25, price_s=0.02) == 0.0625
    assert quarantine.trial_grant_s(grant_s=4.0, price_s=2.5) == 2.5
    assert quarantine.trial_grant_s(grant_s=4.0, price_s=9.0) == 4.0


@pytest.mark.parametrize("wrong", [{"first_s": 0.0}, {"most_s": 1.0}, {"capacity": 0}, {"grant_share": 0.0}])
def test_settings_are_refused_when_they_make_no_sense(wrong: dict[str, float]) -> None:
    """Settings are checked when they are made."""
    with pytest.raises(ConfigError):
        QuarantineSettings(**wrong)
