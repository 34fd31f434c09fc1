"""Lessons: what the cost of calls that have ended says about prices to come.

Decides, by control/drift.py, two things. A tenant whose calls cost more than they look pays more for the next ones. A model
whose calls of one class cost more than they are priced at, whoever makes them, is reported once, and its grants are widened by
a quarter until it is calibrated again, so that honest calls are not killed for a wrong price. And it hands on who saw which
price miss by how much, from which prices learn slowly (cost/learning.py); callers without a key are one witness. Only calls
that went well teach: what a call that was stopped would have cost nobody knows, nor what one would have cost alone that shared
its work with others. Promises microseconds per call and bounded
memory. It must not know how prices are made.
"""

from __future__ import annotations

from collections.abc import Callable

from wickguard.control.drift import Drift, Watched, residual
from wickguard.records import Caller, Grant, Outcome, OutcomeKind, Pool

# What an alarm about a tenant multiplies its prices by; what one about a model multiplies its grants by.
SURCHARGE = 1.35
WIDENING = 1.25


class Lessons:
    """The lessons of one server. surcharge raises a caller's prices by a factor; on_drift is told of (model, class).

    on_miss is told of (model, class, witness, ln(actual / expected)).
    """

    def __init__(
        self,
        surcharge: Callable[[Caller, float], None],
        on_drift: Callable[[str, str], None],
        drift: Drift | None = None,
        on_miss: Callable[[str, str, str, float], None] = lambda *_: None,
    ) -> None:
        self._on_miss = on_miss
        self._surcharge = surcharge
        self._on_drift = on_drift
        self._drift = drift or Drift()

    def learn(self, grant: Grant, outcome: Outcome) -> None:
        """A call has ended."""
        quote, call = grant.quote, grant.call
        if outcome.kind is not OutcomeKind.COMPLETED or quote.expected.cpu_s <= 0:
            return
        if grant.company is not None and quote.shared_s > 0:
            return
        witness = call.caller.tenant if call.caller.pool is Pool.KEYED else Pool.ANONYMOUS
        self._on_miss(
            call.model, quote.feature_class, witness, residual(outcome.usage.cpu_s, quote.expected.cpu_s, spread=1.0)
        )
        z = residual(outcome.usage.cpu_s, quote.expected.cpu_s, quote.spread)
        if self._drift.observe(Watched.MODEL, call.model, quote.feature_class, z):
            self._on_drift(call.model, quote.feature_class)
        subject = f"{call.caller.tenant}/{call.model}"
        if self._drift.observe(Watched.TENANT, subject, quote.feature_class, z):
            self._surcharge(call.caller, SURCHARGE)
            self._drift.reset(Watched.TENANT, subject, quote.feature_class)

    def widening(self, model: str, feature_class: str) -> float:
        """What grants of this class are multiplied by: 1, or more while its prices are known to be wrong."""
        return WIDENING if self._drift.alarmed(Watched.MODEL, model, feature_class) else 1.0
