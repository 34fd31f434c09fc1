"""The contest: counters, lift, and what is remembered of whoever is idle."""

from __future__ import annotations

from wickguard.control.contest import Contest
from wickguard.records import Lane


def test_counters_grow_by_seconds_over_weight_when_contenders_are_served() -> None:
    """Long calls count among everything, short ones also by themselves."""
    contender = Contest().enter("a")
    contender.weight = 2.0
    contender.charge(Lane.LONG, 4.0)
    contender.charge(Lane.SHORT, 1.0)
    assert (contender.spent, contender.short) == (2.5, 0.5)
    contender.charge(Lane.SHORT, -9.0)
    assert (contender.spent, contender.short) == (0.0, 0.0)


def test_a_contender_is_lifted_when_it_comes_from_idle() -> None:
    """To the least of those that are active, in each lane by itself."""
    contest = Contest()
    first, second = contest.enter("a"), contest.enter("b")
    first.charge(Lane.SHORT, 5.0)
    second.charge(Lane.LONG, 7.0)
    third = contest.enter("c")
    assert (third.spent, third.short) == (5.0, 0.0)


def test_debts_are_remembered_when_a_contender_leaves_before_the_others() -> None:
    """And end when nobody is left."""
    contest = Contest()
    other, debtor = contest.enter("other"), contest.enter("debtor")
    debtor.charge(Lane.SHORT, 3.0)
    assert contest.leave(debtor)
    assert contest.enter("debtor").short == 3.0
    contest.leave(contest.enter("debtor"))
    assert not contest.leave(contest.enter("other"))
    assert contest.leave(other)
    assert len(contest) == 1


def test_a_contender_stays_when_it_has_more_than_one_call() -> None:
    """It leaves with the last."""
    contest = Contest()
    contender = contest.enter("a")
    assert contest.enter("a") is contender
    assert not contest.leave(contender)
    assert contest.leave(contender)
    assert len(contest) == 0
