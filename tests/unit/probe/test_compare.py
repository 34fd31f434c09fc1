"""Comparing two runs: what closes a gate and what does not."""

from __future__ import annotations

from wickguard.probe.compare import compare
from wickguard.probe.events import CaseFinished, CurveFitted, Found, LimitDerived, Point, Verdict
from wickguard.probe.finding import Finding, Oracle, Severity
from wickguard.probe.fit import fit
from wickguard.probe.result import Result, collect

FINDING = Finding("T03", Oracle.SLOPE, Severity.WARNING, "steep", ("so",), 2.0, 1.3)


def run_of(factor: float = 1.0, *, found: bool = False, judged: bool = True, limit: int = 64) -> Result:
    """A run with one linear curve, perhaps a finding, and one limit."""
    points = tuple(
        Point(size, value, value, value) for size in (1, 2, 4, 8, 16) for value in (factor * (0.01 + 0.01 * size),)
    )
    curve = CurveFitted(
        1.0, "sweep:inputs", "inputs", "latency_s", fit([p.size for p in points], [p.value for p in points]), points
    )
    events = [curve, LimitDerived(2.0, "inputs", limit, "measured")]
    if found:
        events.append(Found(3.0, FINDING))
    if judged:
        events.append(CaseFinished(4.0, "T03", Verdict.FINDING if found else Verdict.SOUND))
    return collect(events)


def test_nothing_is_worse_when_the_runs_are_alike() -> None:
    """A tenth more is noise."""
    assert not compare(run_of(), run_of(1.1)).worse


def test_a_curve_is_worse_when_it_costs_twice_as_much() -> None:
    """The sentence names case, channel and both costs; the other way round it is better."""
    assert "sweep:inputs (latency_s)" in compare(run_of(), run_of(2.0)).regressions[0]
    assert compare(run_of(2.0), run_of()).improvements


def test_a_finding_is_new_or_gone_when_only_one_run_has_it() -> None:
    """New closes the gate, gone does not."""
    assert compare(run_of(), run_of(found=True)).appeared == (FINDING,)
    assert compare(run_of(found=True), run_of()).gone == (FINDING,)
    assert not compare(run_of(found=True), run_of()).worse


def test_a_finding_is_not_gone_when_its_case_was_not_run_again() -> None:
    """What was not measured is said, not praised."""
    compared = compare(run_of(found=True), run_of(judged=False))
    assert compared.gone == ()
    assert compared.unmeasured == ("T03",)


def test_a_limit_is_worse_when_it_shrank() -> None:
    """Half of what was taken before is a regression."""
    assert "fell from 64 to 32" in compare(run_of(), run_of(limit=32)).regressions[0]
