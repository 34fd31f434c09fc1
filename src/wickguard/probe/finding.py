"""Findings: what the probe holds against a target, and how sure it is.

Decides the shape of a finding and the order of severities; promises that a finding carries what is needed to check it
(what was measured, against which bound, the smallest request that shows it) and to file it (taxonomy ids). It must not
know how anything was measured or how it is shown.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from wickguard.probe.fit import Fit


class Severity(StrEnum):
    """How bad. `note`: worth knowing; `warning`: costs more than it should; `error`: one caller can hurt all others."""

    NOTE = "note"
    WARNING = "warning"
    ERROR = "error"

    @property
    def rank(self) -> int:
        """0 for a note, 2 for an error: what thresholds compare."""
        return list(Severity).index(self)


class Oracle(StrEnum):
    """What can be wrong with what was observed (research/attacks.md 7.1); the code in brackets is the one used there."""

    SLOPE = "slope"  # cost grows faster than the input allows [SLP]
    CLIFF = "cliff"  # one more unit multiplies the cost [CLF]
    TWIN = "twin"  # dearer than a benign request of the same bytes [SLP, BIL]
    COLLATERAL = "collateral"  # a concurrent benign canary gets slow or fails [CAN]
    STALL = "stall"  # the health endpoint, asked 20 times a second, goes silent [HLT]
    MEMORY = "memory"  # memory grows beyond a constant per byte, or is not given back [RSS]
    LIVENESS = "liveness"  # connections reset or refused, process replaced [LIV]
    STATUS = "status"  # wrong class of answer, or 5xx for the client's own mistake [COD]
    RETRY = "retry"  # a refusal that can never succeed says "try again" [COD]
    EARLY = "early_rejection"  # a refusal that comes only after the body was taken [ERL]
    EQUIVALENCE = "equivalence"  # the same payload gets another verdict on another way in [EQV]
    CONNECTION = "connection"  # a connection that sends or reads nothing is held open [CON]
    AMPLIFICATION = "amplification"  # many response bytes for one request byte [AMP]
    RECOVERY = "recovery"  # the canary is still slow after the storm [CAN]


class Taxonomy(msgspec.Struct, frozen=True, omit_defaults=True):
    """Ids in public schemes: OWASP API Security ("API4:2023"), OWASP LLM ("LLM10:2025"), MITRE ATLAS, CWE numbers."""

    owasp_api: tuple[str, ...] = ("API4:2023",)
    owasp_llm: tuple[str, ...] = ("LLM10:2025",)
    atlas: tuple[str, ...] = ()
    cwe: tuple[int, ...] = ()


class Reproducer(msgspec.Struct, frozen=True, omit_defaults=True):
    """The smallest request found that keeps the effect, as a recipe that makes it again.

    recipe: the case or seed, its size and the probe's seed, in words. size: the feature's value. request_bytes: on the
    wire. excerpt: the first bytes of the body, printable. digest: SHA-256 of the whole body, hexadecimal. effect: ratio of
    its cost to the benign twin's.
    """

    recipe: str
    path: str
    size: int
    request_bytes: int
    digest: str = ""
    excerpt: str = ""
    effect: float | None = None


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that is wrong, confirmed by measuring it again.

    case: id in the catalogue ("T11"), or "sweep"/"fuzz". measured, bound: the number that the oracle compared and what it
    allows, both in `unit`. evidence: sentences with numbers, most important first. feature: what was grown. remedy: which
    check is missing, in one sentence.
    """

    case: str
    oracle: Oracle
    severity: Severity
    title: str
    evidence: tuple[str, ...]
    measured: float
    bound: float
    unit: str = ""
    feature: str | None = None
    fit: Fit | None = None
    taxonomy: Taxonomy = Taxonomy()
    reproducer: Reproducer | None = None
    remedy: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """What makes it the same finding in another run: case and oracle."""
        return self.case, str(self.oracle)
