"""Suspicion: what an oracle holds against a case, before it has been measured again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from wickguard.probe.case import Case
from wickguard.probe.finding import Oracle
from wickguard.probe.fit import Fit
from wickguard.probe.series import Series
from wickguard.units import MIB

# Cost below these is nobody's trouble, whatever its shape.
MATTERS_S = 0.025
MATTERS_BYTES = 8 * MIB


@dataclass(frozen=True, slots=True)
class Suspicion:
    """What an oracle holds against a case; see Finding. size: where it showed. step: the label of the step, if one."""

    oracle: Oracle
    measured: float
    bound: float
    unit: str
    evidence: tuple[str, ...]
    size: int
    fit: Fit | None = None
    step: str = ""


Judge = Callable[[Case, Series], Suspicion | None]
