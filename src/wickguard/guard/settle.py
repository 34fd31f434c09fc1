"""Settle: Outcome -> Receipt. What an outcome costs its tenant and what it tells the caller; one table.

Decides by table only (total: tests/laws). Promises that every hold of the grant is released exactly once, and only now,
when the work has stopped. It must not know how work is run or how answers are spelled.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import msgspec

from wickguard.backend import Refusal
from wickguard.control.applicant import Ending
from wickguard.control.breaker import verdict_of
from wickguard.control.lease import Settlement
from wickguard.records import Cost, Grant, Outcome, OutcomeKind, Receipt
from wickguard.rejection import Reason, Rejection


class Charge(StrEnum):
    """What a tenant pays: what it used, at least what was expected, or nothing."""

    ACTUAL = "actual"
    AT_LEAST_EXPECTED = "at_least_expected"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Row:
    """One row: the charge, and the reason the caller is given (None: it gets its result)."""

    charge: Charge
    reason: Reason | None


SETTLEMENTS: dict[OutcomeKind, Row] = {
    OutcomeKind.COMPLETED: Row(Charge.ACTUAL, None),
    # The worker says which reason; this one stands in for a refusal that it did not spell well.
    OutcomeKind.REFUSED_BY_WORKER: Row(Charge.ACTUAL, Reason.OUT_OF_ENVELOPE),
    OutcomeKind.FAILED: Row(Charge.NOTHING, Reason.INTERNAL),
    OutcomeKind.EXPIRED_CPU: Row(Charge.AT_LEAST_EXPECTED, Reason.CPU_EXCEEDED),
    OutcomeKind.EXPIRED_WALL: Row(Charge.AT_LEAST_EXPECTED, Reason.DEADLINE_EXCEEDED),
    OutcomeKind.OUT_OF_MEMORY: Row(Charge.AT_LEAST_EXPECTED, Reason.MEMORY_EXCEEDED),
    OutcomeKind.CRASHED: Row(Charge.AT_LEAST_EXPECTED, Reason.WORKER_CRASHED),
    OutcomeKind.ABANDONED: Row(Charge.ACTUAL, Reason.CLIENT_GONE),
}


class Holds(Protocol):
    """Whoever gave the grant takes its holds back."""

    def release(self, grant: Grant, ending: Ending) -> Settlement:
        """Release every hold of `grant` and charge what was used."""
        ...

    def scalar_s(self, cost: Cost) -> float:
        """What `cost` is in the currency of prices."""
        ...


class _Counts(msgspec.Struct):
    # The one field of every result that is counted; the rest is skipped unread.
    tokens: list[int] = []


_COUNTS = msgspec.msgpack.Decoder(_Counts)
_REFUSAL = msgspec.json.Decoder(Refusal)


def settle(holds: Holds, grant: Grant, outcome: Outcome) -> tuple[Receipt, Rejection | None]:
    """Release every hold of `grant`, charge its tenant, and say what the caller is told (None: the result)."""
    # The deadline may be nearer than what the call was granted: running out of it proves nothing about the call.
    hurried = grant.limits.wall_s < grant.quote.ceiling.wall_s
    charged_s = charge(outcome, holds.scalar_s(grant.quote.expected), holds.scalar_s(outcome.usage))
    killed_s = _killed_s(outcome)
    if killed_s is not None and hurried and outcome.kind is OutcomeKind.EXPIRED_WALL:
        # Like one who leaves, it pays for the worker's end, but prices of honest calls don't double when a server is late.
        charged_s, killed_s = charged_s + killed_s, None
    ending = Ending(
        cpu_s=charged_s,
        tokens=sum(_COUNTS.decode(outcome.result).tokens) if outcome.result else 0,
        verdict=verdict_of(outcome.kind, victim=outcome.retryable, hurried=hurried),
        killed_s=killed_s,
    )
    settlement = holds.release(grant, ending)
    receipt = Receipt(grant.call.id, outcome.kind, settlement.charged_s, settlement.refunded_s, ending.tokens)
    return receipt, explain(grant, outcome)


def charge(outcome: Outcome, expected_s: float, used_s: float) -> float:
    """Compute-seconds that the tenant pays for `outcome`, the end of its worker aside."""
    if outcome.retryable:
        # The call was the victim, not the cause (its zygote was lost).
        return 0.0
    match SETTLEMENTS[outcome.kind].charge:
        case Charge.ACTUAL:
            # Who leaves pays for the worker that had to be ended, but is not accused of anything.
            return used_s + (outcome.respawn_s if outcome.kind is OutcomeKind.ABANDONED else 0.0)
        case Charge.AT_LEAST_EXPECTED:
            return max(expected_s, used_s)
        case Charge.NOTHING:
            return 0.0


def _killed_s(outcome: Outcome) -> float | None:
    if outcome.retryable or SETTLEMENTS[outcome.kind].charge is not Charge.AT_LEAST_EXPECTED:
        return None
    return outcome.respawn_s


def explain(grant: Grant, outcome: Outcome) -> Rejection | None:
    """What the caller is told about an outcome; None when it gets its result."""
    reason = SETTLEMENTS[outcome.kind].reason
    if reason is None:
        return None
    if outcome.retryable:
        return Rejection(Reason.NOT_READY, "the call could not be run now; nothing was charged", retry_after_s=1.0)
    match outcome.kind:
        case OutcomeKind.REFUSED_BY_WORKER:
            return _worker_refusal(outcome, reason)
        case OutcomeKind.EXPIRED_CPU:
            return Rejection(reason, "", limit=grant.limits.cpu_s, seen=outcome.usage.cpu_s, unit="CPU-seconds")
        case OutcomeKind.EXPIRED_WALL:
            return Rejection(reason, "", limit=grant.limits.wall_s, seen=outcome.usage.wall_s, unit="seconds")
        case OutcomeKind.OUT_OF_MEMORY:
            return Rejection(reason, "", limit=grant.limits.peak_bytes, seen=outcome.usage.peak_bytes, unit="bytes")
        case _:
            return Rejection(reason, "")


def _worker_refusal(outcome: Outcome, fallback: Reason) -> Rejection:
    try:
        refusal = _REFUSAL.decode(outcome.detail)
        return Rejection(Reason(refusal.reason), refusal.detail, refusal.field, limit=refusal.limit, seen=refusal.seen)
    except (msgspec.DecodeError, ValueError):
        return Rejection(fallback, outcome.detail[:200])
