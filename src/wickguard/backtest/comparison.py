"""The comparison: what happened against what would have happened, per tenant and class of call.

Decides how requests are counted: admitted, refused and why, waited (the 95th percentile of those that were admitted) and spent
(compute-seconds that tenants were charged for calls). Promises that every request is counted once on either side. It must not
know terminals.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from wickguard.backtest.replay import Fate

# Requests without a price have no class.
UNPRICED = "-"


@dataclass(slots=True)
class Side:
    """One side of a row. refused: reason to count. waits: seconds, of the admitted."""

    admitted: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    waits: list[float] = field(default_factory=list)
    spent_s: float = 0.0

    def count(self, reason: str | None, queued_s: float, spent_s: float) -> None:
        """One request."""
        if reason is not None:
            self.refused[str(reason)] += 1
            return
        self.admitted += 1
        self.waits.append(queued_s)
        self.spent_s += spent_s

    @property
    def waited_s(self) -> float:
        """The 95th percentile (nearest rank); 0 when nothing was admitted."""
        ordered = sorted(self.waits)
        return ordered[(95 * len(ordered) + 99) // 100 - 1] if ordered else 0.0

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        refused = dict(sorted(self.refused.items()))
        return {"admitted": self.admitted, "refused": refused, "waited_p95_s": self.waited_s, "spent_s": self.spent_s}


@dataclass(slots=True)
class Row:
    """One tenant and class. gained: refused then, admitted now; lost: the other way; guessed: by a guessed price."""

    tenant: str
    kind: str
    was: Side = field(default_factory=Side)
    would: Side = field(default_factory=Side)
    gained: int = 0
    lost: int = 0
    guessed: int = 0

    def count(self, fate: Fate) -> None:
        """One request."""
        happened = fate.request.happened
        self.was.count(happened.reason, happened.queued_s, happened.spent_s)
        self.would.count(fate.reason, fate.queued_s, fate.spent_s)
        self.gained += happened.reason is not None and fate.reason is None
        self.lost += happened.reason is None and fate.reason is not None
        self.guessed += fate.request.guessed

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        counts = {"gained": self.gained, "lost": self.lost, "guessed": self.guessed}
        return {
            "tenant": self.tenant,
            "class": self.kind,
            "was": self.was.as_json(),
            "would": self.would.as_json(),
            **counts,
        }


def by_lane(fate: Fate) -> str:
    """The coarse class: short or long."""
    quote = fate.request.quote
    return UNPRICED if quote is None else str(quote.lane)


def by_size(fate: Fate) -> str:
    """The class in which the server itself judges a call: the model, and the power of two of each feature."""
    quote = fate.request.quote
    return UNPRICED if quote is None else f"{fate.request.model} {quote.feature_class}"


def compare(fates: Sequence[Fate], kind_of: Callable[[Fate], str] = by_lane) -> tuple[list[Row], Row]:
    """A row per tenant and class, by name, and the row of all together."""
    rows: dict[tuple[str, str], Row] = {}
    everything = Row("all", "")
    for fate in fates:
        key = (fate.request.caller.tenant, kind_of(fate))
        row = rows.get(key)
        if row is None:
            row = rows[key] = Row(*key)
        row.count(fate)
        everything.count(fate)
    return [rows[key] for key in sorted(rows)], everything
