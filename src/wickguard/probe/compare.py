"""Comparing two runs: what is worse now, what is better, for a gate in CI.

Decides what is a regression: a finding that was not there, a curve that costs more at a size both runs measured, an
exponent whose interval lies above the old one, a limit that shrank. Promises that noise alone is none: a factor of
`_WORSE` and an absolute difference are needed; that what the earlier run did not judge is told apart from what it judged
sound; and that nothing is said of runs that can't be compared. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

from wickguard.probe.events import CurveFitted, Started, Verdict
from wickguard.probe.finding import Finding, Severity
from wickguard.probe.fit import Family
from wickguard.probe.result import Result
from wickguard.units import MIB, format_bytes, format_seconds

_WORSE = 1.5
_MATTERS = {"latency_s": 0.02, "cpu_s": 0.02, "memory_bytes": 16.0 * MIB}
_SHRUNK = 0.8


@dataclass(frozen=True, slots=True)
class Comparison:
    """regressions, improvements: sentences. appeared: findings of cases that the old run judged; unjudged: of others.

    gone: findings that are no more. unmeasured: cases that only the old run judged. notes: what was not compared, and why.
    obstacle: why there is no verdict, "" when there is one.
    """

    regressions: tuple[str, ...] = ()
    improvements: tuple[str, ...] = ()
    appeared: tuple[Finding, ...] = ()
    unjudged: tuple[Finding, ...] = ()
    gone: tuple[Finding, ...] = ()
    unmeasured: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    obstacle: str = ""

    def worse(self, threshold: Severity | None) -> bool:
        """Whether a gate should close: a regression, or a finding from `threshold` on that the old run does not have.

        None: no finding closes it. What was not judged before closes it as what appeared does: to the operator it is new.
        """
        new = (*self.appeared, *self.unjudged)
        return bool(self.regressions) or (
            threshold is not None and any(finding.severity.rank >= threshold.rank for finding in new)
        )


def compare(old: Result, new: Result) -> Comparison:
    """What changed from `old` to `new`."""
    if obstacle := _different(old.started, new.started):
        return Comparison(obstacle=obstacle)
    before = {finding.key: finding for finding in old.findings}
    after = {finding.key: finding for finding in new.findings}
    once, judged = _judged(old), _judged(new)
    worse: list[str] = []
    better: list[str] = []
    curves = {(curve.case, curve.channel): curve for curve in old.curves}
    for curve in new.curves:
        if (was := curves.get((curve.case, curve.channel))) is not None:
            _compare_curves(was, curve, worse, better)
    notes = _notes(old.started, new.started)
    if not notes:
        worse += _shrunk(old, new)
    fresh = [finding for key, finding in after.items() if key not in before]
    return Comparison(
        regressions=tuple(worse),
        improvements=tuple(better),
        appeared=tuple(finding for finding in fresh if finding.case in once),
        unjudged=tuple(finding for finding in fresh if finding.case not in once),
        # What was not judged again is not gone.
        gone=tuple(finding for key, finding in before.items() if key not in after and finding.case in judged),
        unmeasured=tuple(sorted(once - judged)),
        notes=notes,
        obstacle="" if once & judged else "no case was judged by both runs: nothing was compared",
    )


def _judged(result: Result) -> set[str]:
    """Cases with a verdict; one that has a finding has one, even where the run was cut off before it said so."""
    said = {case.case for case in result.cases if case.verdict in (Verdict.SOUND, Verdict.FINDING)}
    return said | {finding.case for finding in result.findings}


def _different(old: Started | None, new: Started | None) -> str:
    """That the runs were of different things, "" when they were not. Hosts and ports change from one CI job to the next."""
    if old is None or new is None or (old.dialect, old.path, old.model) == (new.dialect, new.path, new.model):
        return ""
    then, this = (f"{run.dialect} {run.path}, model {run.model or '-'}" for run in (old, new))
    return (
        f"the earlier run was of {then}, this one of {this}: they can't be compared; give --compare a run of the same"
    )


def _notes(old: Started | None, new: Started | None) -> tuple[str, ...]:
    """What makes limits incomparable: they follow from how far a profile went and from which costs could be read."""
    if old is None or new is None:
        return ()
    told = []
    if old.profile != new.profile:
        told.append(f"profile {old.profile} before, {new.profile} now")
    if set(old.channels) != set(new.channels):
        then, this = (", ".join(("latency", *run.channels)) for run in (old, new))
        told.append(f"cost from {then} before, from {this} now")
    return tuple(f"{text}: what both runs measured is compared, limits are not" for text in told)


def _shrunk(old: Result, new: Result) -> list[str]:
    before = {limit.feature: limit.limit for limit in old.limits}
    return [
        f"the limit of {limit.feature} fell from {before[limit.feature]} to {limit.limit}"
        for limit in new.limits
        if limit.feature in before and limit.limit < _SHRUNK * before[limit.feature]
    ]


def _compare_curves(old: CurveFitted, new: CurveFitted, worse: list[str], better: list[str]) -> None:
    say = format_bytes if new.channel == "memory_bytes" else format_seconds
    then, now = {p.size: p.value for p in old.points}, {p.size: p.value for p in new.points}
    common = sorted(then.keys() & now.keys())
    name = f"{new.case} ({new.channel})"
    if common:
        size = common[-1]
        text = f"{name}: {say(then[size])} before, {say(now[size])} now, at {size:g} of {new.feature}"
        if now[size] > _WORSE * then[size] and now[size] - then[size] > _MATTERS[new.channel]:
            worse.append(text)
        elif then[size] > _WORSE * now[size] and then[size] - now[size] > _MATTERS[new.channel]:
            better.append(text)
    families = {old.fit.family, new.fit.family}
    spread = max(now.values(), default=0.0) - min(now.values(), default=0.0)
    if (
        not families & {Family.CLIFF, Family.EXPONENTIAL}
        and new.fit.low > old.fit.high + 0.1
        and spread > _MATTERS[new.channel]
    ):
        worse.append(f"{name}: grew as {old.fit.describe()}, grows as {new.fit.describe()}")
