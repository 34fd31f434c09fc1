"""Settling: the table, what is charged, what the caller is told."""

from __future__ import annotations

import dataclasses
import json

import pytest
from tests.fakes import ended, grant_of, quote_of

from wickguard.control.applicant import Ending
from wickguard.control.lease import Settlement, SettlementStatus
from wickguard.guard.settle import SETTLEMENTS, Charge, explain, settle
from wickguard.records import Cost, Grant, OutcomeKind
from wickguard.rejection import Reason


class Ledger:
    """Holds that are counted as they come back."""

    def __init__(self) -> None:
        self.released: list[tuple[str, float]] = []
        self.endings: list[Ending] = []

    def release(self, grant: Grant, ending: Ending) -> Settlement:
        """See Holds."""
        self.released.append((grant.call.id, ending.cpu_s))
        self.endings.append(ending)
        return Settlement(SettlementStatus.SETTLED, ending.cpu_s, max(0.0, 0.1 - ending.cpu_s))

    def scalar_s(self, cost: Cost) -> float:
        """See Holds."""
        return cost.cpu_s


@pytest.mark.parametrize("kind", list(OutcomeKind))
@pytest.mark.parametrize("used_s", [0.01, 0.9])
def test_holds_are_released_once_with_the_tables_charge_when_a_call_ends(kind: OutcomeKind, used_s: float) -> None:
    """For every outcome, whether it used less or more than expected (0.1 s)."""
    ledger, grant = Ledger(), grant_of(quote=quote_of(0.1))
    receipt, rejection = settle(ledger, grant, ended(kind, used_s))
    row = SETTLEMENTS[kind]
    charged = {Charge.ACTUAL: used_s, Charge.NOTHING: 0.0, Charge.AT_LEAST_EXPECTED: max(0.1, used_s)}[row.charge]
    assert ledger.released == [("c1", charged)]
    assert (receipt.charged_s, receipt.refunded_s) == (charged, max(0.0, 0.1 - charged))
    assert (rejection.reason if rejection else None) is row.reason


@pytest.mark.parametrize("kind", [OutcomeKind.EXPIRED_CPU, OutcomeKind.OUT_OF_MEMORY, OutcomeKind.CRASHED])
def test_a_kill_is_charged_when_the_call_caused_it(kind: OutcomeKind) -> None:
    """An uncharged kill is an attack of its own."""
    receipt, _ = settle(Ledger(), grant_of(quote=quote_of(0.1)), ended(kind, 0.0))
    assert receipt.charged_s == 0.1


@pytest.mark.parametrize("kind", [kind for kind in OutcomeKind if SETTLEMENTS[kind].reason])
def test_nothing_is_charged_when_the_call_was_the_victim(kind: OutcomeKind) -> None:
    """Its zygote was lost; the caller may come again."""
    receipt, rejection = settle(Ledger(), grant_of(), ended(kind, 5.0, retryable=True))
    assert receipt.charged_s == 0.0
    assert rejection is not None
    assert (rejection.reason, rejection.retry_after_s) == (Reason.NOT_READY, 1.0)


@pytest.mark.parametrize(
    ("kind", "unit", "limit"),
    [
        (OutcomeKind.EXPIRED_CPU, "CPU-seconds", 0.1),
        (OutcomeKind.EXPIRED_WALL, "seconds", 0.2),
        (OutcomeKind.OUT_OF_MEMORY, "bytes", 1 << 20),
    ],
)
def test_the_caller_learns_the_limit_when_it_was_stopped_at_one(kind: OutcomeKind, unit: str, limit: float) -> None:
    """Which limit, and what was used."""
    found = explain(grant_of(), ended(kind, 0.5))
    assert found is not None
    assert (found.unit, found.limit) == (unit, limit)
    assert found.seen


def test_the_workers_own_words_are_passed_on_when_it_refuses() -> None:
    """Reason, field, limit and what was seen."""
    detail = json.dumps({"reason": "too_many_tokens", "detail": "too long", "field": "input[1]", "limit": 5, "seen": 9})
    found = explain(grant_of(), ended(OutcomeKind.REFUSED_BY_WORKER, detail=detail))
    assert found is not None
    assert (found.reason, found.field, found.limit, found.seen) == (Reason.TOO_MANY_TOKENS, "input[1]", 5, 9)


@pytest.mark.parametrize("detail", ["", "not json", '{"reason":"no such reason","detail":"x"}', "[]", "x" * 10_000])
def test_a_refusal_stands_in_when_the_worker_did_not_spell_it_well(detail: str) -> None:
    """Never a 500 for what was a refusal."""
    found = explain(grant_of(), ended(OutcomeKind.REFUSED_BY_WORKER, detail=detail))
    assert found is not None
    assert found.reason is Reason.OUT_OF_ENVELOPE
    assert len(found.detail) <= 200


def test_prices_do_not_double_when_only_the_callers_deadline_ran_out() -> None:
    """A late server would else make its honest callers dearer and dearer; they pay for the worker's end, as who leaves does."""
    ledger, grant = Ledger(), grant_of(quote=quote_of(0.1))
    hurried = dataclasses.replace(grant, limits=dataclasses.replace(grant.limits, wall_s=0.02))
    outcome = dataclasses.replace(ended(OutcomeKind.EXPIRED_WALL, 0.01), respawn_s=0.03)
    settle(ledger, hurried, outcome)
    settle(ledger, grant, outcome)
    assert [(round(ending.cpu_s, 6), ending.killed_s) for ending in ledger.endings] == [(0.13, None), (0.1, 0.03)]
