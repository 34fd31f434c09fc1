"""Oracles: what is wrong with what was observed of a case.

Decides by bounds on ratios, medians and exponents, never on one reading; an effect must also be large enough to matter.
What an oracle returns is a suspicion: whoever called measures again before it becomes a finding. Pure: observations in,
suspicions out. It must not know sockets, time or reports.
"""

from __future__ import annotations

from wickguard.probe.case import Case
from wickguard.probe.finding import Oracle
from wickguard.probe.oracles import cost, memory, neighbour, verdict
from wickguard.probe.oracles.suspicion import Judge, Suspicion
from wickguard.probe.series import Series

JUDGES: dict[Oracle, Judge] = {
    Oracle.LIVENESS: verdict.liveness,
    Oracle.SLOPE: cost.slope,
    Oracle.CLIFF: cost.cliff,
    Oracle.TWIN: cost.twin,
    Oracle.STALL: neighbour.stall,
    Oracle.MEMORY: memory.memory,
    Oracle.COLLATERAL: neighbour.collateral,
    Oracle.RECOVERY: neighbour.recovery,
    Oracle.EARLY: verdict.early,
    Oracle.EQUIVALENCE: verdict.equivalence,
    Oracle.STATUS: verdict.status,
    Oracle.RETRY: verdict.retry,
    Oracle.CONNECTION: verdict.connection,
    Oracle.AMPLIFICATION: cost.amplification,
}


def judge(case: Case, series: Series) -> list[Suspicion]:
    """Every suspicion of the case's oracles, in the order of the table; of a death, whatever the case was made for."""
    wanted = case.oracles | ({Oracle.LIVENESS} if series.replaced else set())
    return [
        suspicion for oracle, ask in JUDGES.items() if oracle in wanted and (suspicion := ask(case, series)) is not None
    ]
