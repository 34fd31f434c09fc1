"""Oracles of the neighbour: what another client feels while and after a case runs.

Always beside the same with the benign twin, so that a busy machine accuses nobody. Pure.
"""

from __future__ import annotations

import math

from wickguard.probe.case import Case
from wickguard.probe.finding import Oracle
from wickguard.probe.oracles.suspicion import Suspicion
from wickguard.probe.series import Series
from wickguard.units import format_seconds

_STALL_S = 0.25
_COLLATERAL_RATIO = 3.0
_COLLATERAL_S = 0.1
# So many canaries have to fail, and so many times as many as before.
_FAILURES = 3
_RECOVERY_RATIO = 2.0


def collateral(case: Case, series: Series) -> Suspicion | None:
    """A benign neighbour gets slow or fails beside the attack, and not beside its twin."""
    storm = series.storm
    if storm is None or storm.limited:
        return None
    attacked, calm = storm.attack, max((storm.quiet, storm.twin), key=lambda window: window.canary_quantile(0.75))
    before = max(storm.quiet.canary_failures, storm.twin.canary_failures)
    if attacked.canary_failures >= _FAILURES and attacked.canary_failures >= _FAILURES * before:
        evidence = (
            f"{attacked.canary_failures} ordinary requests of another client failed beside the attack, {before or 'none'} "
            "before",
        )
        return Suspicion(Oracle.COLLATERAL, attacked.canary_failures, before, "failures", evidence, storm.size)
    mine, theirs = attacked.canary_quantile(0.75), calm.canary_quantile(0.75)
    if theirs <= 0 or math.isinf(mine) or mine / theirs <= _COLLATERAL_RATIO or mine - theirs <= _COLLATERAL_S:
        return None
    evidence = (
        f"three quarters of another client's ordinary requests took up to {format_seconds(mine)} beside the attack, "
        f"{format_seconds(theirs)} beside its benign twin",
    )
    return Suspicion(Oracle.COLLATERAL, mine / theirs, _COLLATERAL_RATIO, "times", evidence, storm.size)


def recovery(case: Case, series: Series) -> Suspicion | None:
    """After the storm the neighbour is still slow, or still fails."""
    storm = series.storm
    if storm is None or storm.limited:
        return None
    if storm.after.canary_failures >= 2 and not storm.quiet.canary_failures:
        evidence = (f"{storm.after.canary_failures} ordinary requests failed after the attack had ended",)
        return Suspicion(Oracle.RECOVERY, storm.after.canary_failures, 0, "failures", evidence, storm.size)
    after, quiet = storm.after.canary_quantile(0.5), storm.quiet.canary_quantile(0.5)
    if quiet <= 0 or math.isinf(after) or after / quiet <= _RECOVERY_RATIO or after - quiet <= _COLLATERAL_S:
        return None
    evidence = (
        f"half of the ordinary requests after the attack took {format_seconds(after)} and more, {format_seconds(quiet)} before",
    )
    return Suspicion(Oracle.RECOVERY, after / quiet, _RECOVERY_RATIO, "times", evidence, storm.size)


def stall(case: Case, series: Series) -> Suspicion | None:
    """The health endpoint goes silent while the attack runs, and not while its twin does."""
    for size in reversed(series.sizes):
        gaps = sorted(item.window.gap_s for item in series.attack[size])
        twins = sorted(item.window.gap_s for item in series.twin.get(size, ()))
        # The least of the repeats: a neighbour on the machine does not stall it every time.
        mine, theirs = gaps[0], twins[len(twins) // 2] if twins else 0.0
        if mine > _STALL_S and mine > 3 * theirs:
            evidence = (
                f"health was silent for {format_seconds(mine)} while one request ran, {format_seconds(theirs)} beside its "
                f"twin, at {size} of {case.feature}",
            )
            return Suspicion(Oracle.STALL, mine, _STALL_S, "s", evidence, size)
    return None
