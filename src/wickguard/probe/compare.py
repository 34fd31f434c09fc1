"""Comparing two runs: what is worse now, what is better, for a gate in CI.

Decides what is a regression: a finding that was not there, a curve that costs more at a size both runs measured, an
exponent whose interval lies above the old one, a limit that shrank. Promises that noise alone is none: a factor of
`_WORSE` and an absolute difference are needed. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

from wickguard.probe.events import CurveFitted, Verdict
from wickguard.probe.finding import Finding
from wickguard.probe.fit import Family
from wickguard.probe.result import Result
from wickguard.units import MIB, format_bytes, format_seconds

_WORSE = 1.5
_MATTERS = {"latency_s": 0.02, "cpu_s": 0.02, "memory_bytes": 16.0 * MIB}
_SHRUNK = 0.8


@dataclass(frozen=True, slots=True)
class Comparison:
    """regressions, improvements: sentences. appeared, gone: findings. unmeasured: cases that only the old run judged."""

    regressions: tuple[str, ...]
    improvements: tuple[str, ...]
    appeared: tuple[Finding, ...]
    gone: tuple[Finding, ...]
    unmeasured: tuple[str, ...]

    @property
    def worse(self) -> bool:
        """Whether a gate should close."""
        return bool(self.regressions or self.appeared)


def compare(old: Result, new: Result) -> Comparison:
    """What changed from `old` to `new`."""
    before = {finding.key: finding for finding in old.findings}
    after = {finding.key: finding for finding in new.findings}
    judged = {case.case for case in new.cases if case.verdict in (Verdict.SOUND, Verdict.FINDING)}
    once = {case.case for case in old.cases if case.verdict in (Verdict.SOUND, Verdict.FINDING)}
    worse: list[str] = []
    better: list[str] = []
    curves = {(curve.case, curve.channel): curve for curve in old.curves}
    for curve in new.curves:
        if (was := curves.get((curve.case, curve.channel))) is not None:
            _compare_curves(was, curve, worse, better)
    limits = {limit.feature: limit.limit for limit in old.limits}
    for limit in new.limits:
        if limit.feature in limits and limit.limit < _SHRUNK * limits[limit.feature]:
            worse.append(f"the limit of {limit.feature} fell from {limits[limit.feature]} to {limit.limit}")
    return Comparison(
        regressions=tuple(worse),
        improvements=tuple(better),
        appeared=tuple(finding for key, finding in after.items() if key not in before),
        # What was not judged again is not gone.
        gone=tuple(finding for key, finding in before.items() if key not in after and finding.case in judged),
        unmeasured=tuple(sorted(once - judged)),
    )


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
