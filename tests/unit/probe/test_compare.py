"""Comparing two runs: what closes a gate and what does not."""

from __future__ import annotations

import msgspec
import pytest

from wickguard.probe.compare import Comparison, compare
from wickguard.probe.events import CaseFinished, CurveFitted, Event, Found, LimitDerived, Point, Started, Verdict
from wickguard.probe.finding import Finding, Oracle, Severity
from wickguard.probe.fit import fit
from wickguard.probe.result import Result, collect

STARTED = Started(0.0, "http://127.0.0.1:1/v1/embeddings", "openai", "/v1/embeddings", "m", "short", 0, "0", "now")
FINDING = Finding("T03", Oracle.SLOPE, Severity.WARNING, "steep", ("so",), 2.0, 1.3)


def run_of(
    factor: float = 1.0, *, found: bool = False, judged: bool = True, limit: int = 64, started: Started = STARTED
) -> Result:
    """A run with one linear curve, perhaps a finding, and one limit."""
    points = tuple(
        Point(size, value, value, value) for size in (1, 2, 4, 8, 16) for value in (factor * (0.01 + 0.01 * size),)
    )
    curve = CurveFitted(
        1.0, "sweep:inputs", "inputs", "latency_s", fit([p.size for p in points], [p.value for p in points]), points
    )
    events: list[Event] = [started, curve, LimitDerived(2.0, "inputs", limit, "measured")]
    if found:
        events.append(Found(3.0, FINDING))
    if judged:
        events.append(CaseFinished(4.0, "T03", Verdict.FINDING if found else Verdict.SOUND))
    return collect(events)


def test_nothing_is_worse_when_the_runs_are_alike() -> None:
    """A tenth more is noise."""
    assert not compare(run_of(), run_of(1.1)).worse(Severity.NOTE)


def test_a_curve_is_worse_when_it_costs_twice_as_much() -> None:
    """The sentence names case, channel and both costs; the other way round it is better."""
    assert "sweep:inputs (latency_s)" in compare(run_of(), run_of(2.0)).regressions[0]
    assert compare(run_of(2.0), run_of()).improvements


def test_a_finding_is_new_or_gone_when_only_one_run_has_it() -> None:
    """New closes the gate, gone does not."""
    assert compare(run_of(), run_of(found=True)).appeared == (FINDING,)
    assert compare(run_of(), run_of(found=True)).worse(Severity.WARNING)
    assert compare(run_of(found=True), run_of()).gone == (FINDING,)
    assert not compare(run_of(found=True), run_of()).worse(Severity.WARNING)


def test_a_finding_is_not_gone_when_its_case_was_not_run_again() -> None:
    """What was not measured is said, not praised."""
    compared = compare(run_of(found=True), run_of(judged=False))
    assert compared.gone == ()
    assert compared.unmeasured == ("T03",)


def test_a_limit_is_worse_when_it_shrank() -> None:
    """Half of what was taken before is a regression."""
    assert "fell from 64 to 32" in compare(run_of(), run_of(limit=32)).regressions[0]


def test_a_finding_is_told_apart_when_its_case_was_not_judged_before() -> None:
    """A run that was out of time before T03 says nothing of it: no regression, and still new to whoever reads it."""
    compared = compare(run_of(judged=False), run_of(found=True))
    assert (compared.appeared, compared.unjudged, compared.regressions) == ((), (FINDING,), ())
    assert compared.worse(Severity.WARNING)


@pytest.mark.parametrize(
    ("comparison", "closes"),
    [
        (Comparison(), ()),
        (Comparison(gone=(FINDING,), improvements=("less",), unmeasured=("T03",)), ()),
        (Comparison(appeared=(FINDING,)), (Severity.NOTE, Severity.WARNING)),
        (Comparison(unjudged=(FINDING,)), (Severity.NOTE, Severity.WARNING)),
        (Comparison(regressions=("more",)), (*Severity, None)),
        (Comparison(regressions=("more",), appeared=(FINDING,)), (*Severity, None)),
    ],
    ids=["nothing", "better", "new warning", "warning not judged before", "dearer", "dearer and new"],
)  # fmt: skip
def test_gate_closes_by_what_is_dearer_and_by_new_findings_from_the_threshold_on(
    comparison: Comparison, closes: tuple[Severity | None, ...]
) -> None:
    """Every threshold, and none: a curve is no finding, so no threshold keeps it from closing."""
    assert [least for least in (*Severity, None) if comparison.worse(least)] == [
        least for least in (*Severity, None) if least in closes
    ]


@pytest.mark.parametrize("field", ["dialect", "path", "model"])
def test_nothing_is_compared_when_the_runs_were_of_different_things(field: str) -> None:
    """Both are named; twice the cost of another model is no regression."""
    other = msgspec.structs.replace(STARTED, **{field: "/another"})
    compared = compare(run_of(), run_of(2.0, found=True, started=other))
    assert compared == Comparison(obstacle=compared.obstacle)
    assert "they can't be compared" in compared.obstacle
    assert "openai /v1/embeddings, model m" in compared.obstacle
    assert "/another" in compared.obstacle


def test_runs_are_compared_when_only_the_port_is_another() -> None:
    """As in CI, where it is another one every time."""
    other = msgspec.structs.replace(STARTED, target="http://127.0.0.1:2/v1/embeddings")
    compared = compare(run_of(), run_of(2.0, started=other))
    assert compared.regressions
    assert (compared.notes, compared.obstacle) == ((), "")


@pytest.mark.parametrize("change", [{"profile": "deep"}, {"channels": ("process tree",)}], ids=str)
def test_limits_are_not_compared_when_profile_or_channels_differ(change: dict[str, object]) -> None:
    """They follow from how far was measured and by what; curves are compared where both have one, and a note says so."""
    compared = compare(run_of(), run_of(2.0, limit=32, started=msgspec.structs.replace(STARTED, **change)))
    assert ["before" in text for text in compared.regressions] == [True]
    assert "limits are not" in compared.notes[0]


def test_there_is_no_verdict_when_the_new_run_judged_nothing() -> None:
    """Rate-limited everywhere, or over before it began: nothing is worse because nothing is known."""
    assert "nothing was compared" in compare(run_of(), run_of(judged=False)).obstacle
    assert "nothing was compared" in compare(run_of(), Result()).obstacle
    assert compare(run_of(), run_of()).obstacle == ""
