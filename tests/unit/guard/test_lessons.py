"""Lessons: who pays for prices that are wrong."""

from __future__ import annotations

from tests.fakes import call_of, ended, grant_of, quote_of

from wickguard.guard.lessons import SURCHARGE, WIDENING, Lessons
from wickguard.records import Caller, OutcomeKind


class School:
    """Lessons that are listened to."""

    def __init__(self) -> None:
        self.surcharged: list[tuple[str, float]] = []
        self.drifted: list[tuple[str, str]] = []
        self.lessons = Lessons(self._surcharge, lambda model, name: self.drifted.append((model, name)))

    def _surcharge(self, caller: Caller, factor: float) -> None:
        self.surcharged.append((caller.tenant, factor))

    def teach(
        self, cpu_s: float, times: int, tenant: str = "key:alice", kind: OutcomeKind = OutcomeKind.COMPLETED
    ) -> None:
        """So many calls that were expected to cost 0.1 s have cost this."""
        grant = grant_of(call_of("hello", tenant=tenant), quote_of(0.1))
        for _ in range(times):
            self.lessons.learn(grant, ended(kind, cpu_s))


def test_nothing_is_learnt_when_calls_cost_what_they_should() -> None:
    """However many."""
    school = School()
    school.teach(0.1, 500)
    assert (school.surcharged, school.drifted) == ([], [])


def test_the_tenant_pays_more_when_its_calls_cost_more_than_they_look() -> None:
    """Again and again while it goes on."""
    school = School()
    school.teach(0.2, 40)
    assert set(school.surcharged) == {("key:alice", SURCHARGE)}
    assert len(school.surcharged) >= 2


def test_grants_are_widened_when_a_class_costs_more_than_its_price() -> None:
    """Reported once; other classes and models are as they were."""
    school = School()
    for number in range(30):
        school.teach(0.2, 1, tenant=f"key:{number}")
    model, name = school.drifted[0]
    assert len(school.drifted) == 1
    assert school.surcharged == []
    assert school.lessons.widening(model, name) == WIDENING
    assert school.lessons.widening(model, "another") == school.lessons.widening("another", name) == 1.0


def test_nothing_is_learnt_when_calls_were_stopped() -> None:
    """What they would have cost nobody knows."""
    school = School()
    school.teach(9.0, 100, kind=OutcomeKind.EXPIRED_CPU)
    assert (school.surcharged, school.drifted) == ([], [])
