"""Lessons: who pays for prices that are wrong."""

from __future__ import annotations

import dataclasses
import math

import pytest
from tests.fakes import call_of, ended, grant_of, quote_of

from wickguard.guard.lessons import SURCHARGE, WIDENING, Lessons
from wickguard.records import Caller, Company, OutcomeKind, Pool


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


def test_misses_are_handed_on_with_their_witness_when_calls_end_well() -> None:
    """ln(actual / expected); a tenant is a witness, all strangers together are one, and calls that were stopped say nothing."""
    misses: list[tuple[str, str, str, float]] = []
    lessons = Lessons(lambda *_: None, lambda *_: None, on_miss=lambda *miss: misses.append(miss))
    call, quote = call_of("hello"), quote_of(0.1)
    for pool, tenant in ((Pool.KEYED, "key:alice"), (Pool.ANONYMOUS, "ip:10.0.0.1"), (Pool.ANONYMOUS, "ip:10.0.0.2")):
        caller = Caller(tenant, pool, "10.0.0.1")
        lessons.learn(grant_of(dataclasses.replace(call, caller=caller), quote), ended(OutcomeKind.COMPLETED, 0.2))
        lessons.learn(grant_of(dataclasses.replace(call, caller=caller), quote), ended(OutcomeKind.EXPIRED_CPU, 0.2))
    assert [witness for _, _, witness, _ in misses] == ["key:alice", "anonymous", "anonymous"]
    assert {(model, name, round(miss, 6)) for model, name, _, miss in misses} == {
        (call.model, quote.feature_class, round(math.log(2), 6))
    }


@pytest.mark.parametrize(("shared_s", "learnt"), [(0.05, False), (0.0, True)])
def test_calls_teach_nothing_when_they_shared_their_work(shared_s: float, learnt: bool) -> None:
    """What they would have cost alone nobody knows; of calls that share a slot and no work everybody does."""
    school, misses = School(), list[float]()
    lessons = Lessons(school._surcharge, lambda *_: None, on_miss=lambda *miss: misses.append(float(miss[3])))
    quote = dataclasses.replace(quote_of(0.1), shared_s=shared_s)
    grant = dataclasses.replace(grant_of(call_of("hello"), quote), company=Company("c1", 8))
    for _ in range(40):
        lessons.learn(grant, ended(OutcomeKind.COMPLETED, 0.2))
    assert (bool(misses), bool(school.surcharged)) == (learnt, learnt)
