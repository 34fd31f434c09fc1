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
from wickguard.records import Grant, Outcome, OutcomeKind, Receipt
from wickguard.rejection import Reason, Rejection


class Charge(StrEnum):
    """What a tenant pays: what it used, at least what was expected, or nothing."""

    ACTUAL = "actual"
    AT_LEAST_EXPECTED = "at_least_expected"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Settlement:
    """One row: the charge, and the reason the caller is given (None: it gets its result)."""

    charge: Charge
    reason: Reason | None


SETTLEMENTS: dict[OutcomeKind, Settlement] = {
    OutcomeKind.COMPLETED: Settlement(Charge.ACTUAL, None),
    # The worker says which reason; this one stands in for a refusal that it did not spell well.
    OutcomeKind.REFUSED_BY_WORKER: Settlement(Charge.ACTUAL, Reason.OUT_OF_ENVELOPE),
    OutcomeKind.FAILED: Settlement(Charge.NOTHING, Reason.INTERNAL),
    OutcomeKind.EXPIRED_CPU: Settlement(Charge.AT_LEAST_EXPECTED, Reason.CPU_EXCEEDED),
    OutcomeKind.EXPIRED_WALL: Settlement(Charge.AT_LEAST_EXPECTED, Reason.DEADLINE_EXCEEDED),
    OutcomeKind.OUT_OF_MEMORY: Settlement(Charge.AT_LEAST_EXPECTED, Reason.MEMORY_EXCEEDED),
    OutcomeKind.CRASHED: Settlement(Charge.AT_LEAST_EXPECTED, Reason.WORKER_CRASHED),
    OutcomeKind.ABANDONED: Settlement(Charge.ACTUAL, Reason.CLIENT_GONE),
}


class Holds(Protocol):
    """Whoever gave the grant takes its holds back."""

    def release(self, grant: Grant, actual_s: float) -> tuple[str, ...]:
        """Release every hold of `grant`; returns their names."""
        ...


_REFUSAL = msgspec.json.Decoder(Refusal)


def settle(holds: Holds, grant: Grant, outcome: Outcome) -> tuple[Receipt, Rejection | None]:
    """Release every hold of `grant`, charge its tenant, and say what the caller is told (None: the result)."""
    expected = grant.quote.expected.cpu_s
    charged = charge(outcome, expected)
    released = holds.release(grant, charged)
    receipt = Receipt(grant.call.id, outcome.kind, charged, max(0.0, expected - charged), released)
    return receipt, explain(grant, outcome)


def charge(outcome: Outcome, expected_s: float) -> float:
    """Compute-seconds that the tenant pays for `outcome`."""
    if outcome.retryable:
        # The call was the victim, not the cause (its zygote was lost).
        return 0.0
    match SETTLEMENTS[outcome.kind].charge:
        case Charge.ACTUAL:
            return outcome.usage.cpu_s
        case Charge.AT_LEAST_EXPECTED:
            return max(expected_s, outcome.usage.cpu_s)
        case Charge.NOTHING:
            return 0.0


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
