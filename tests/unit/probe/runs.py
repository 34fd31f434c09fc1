"""Runs for the tests of reports: every kind of event, and a target that answers with markup."""

from __future__ import annotations

from wickguard.probe.events import (
    Arm,
    CaseFinished,
    CurveFitted,
    Ended,
    EndReason,
    Event,
    Found,
    LimitDerived,
    Planned,
    Point,
    Sampled,
    Started,
    Verdict,
)
from wickguard.probe.finding import Finding, Oracle, Reproducer, Severity, Taxonomy
from wickguard.probe.fit import fit
from wickguard.probe.result import Result, collect

HOSTILE = "<script>alert('x')</script>&\"\x00\ud7ff\ufffe\x1b[31m"
SIZES = (256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0)


def points(exponent: float, unit: float) -> tuple[Point, ...]:
    """A noiseless curve with a spread above it."""
    return tuple(
        Point(size, value, value, value * 1.3) for size in SIZES for value in [unit * (1 + (size / 256) ** exponent)]
    )


def curve(case: str, feature: str, channel: str, exponent: float, unit: float) -> CurveFitted:
    """A fitted curve and its linear twin."""
    found = points(exponent, unit)
    fitted = fit([point.size for point in found], [point.value for point in found])
    return CurveFitted(2.0, case, feature, channel, fitted, found, points(1.0, unit))


def finding(severity: Severity = Severity.ERROR, oracle: Oracle = Oracle.SLOPE, case: str = "T03") -> Finding:
    """A finding whose target answered with markup."""
    return Finding(
        case=case,
        oracle=oracle,
        severity=severity,
        title="A run of one letter costs the square of its length",
        evidence=(f"answered 500 ({HOSTILE})", "3 ms at 256, 2.7 s at 8192"),
        measured=2.02,
        bound=1.3,
        unit="exponent",
        feature="bytes of the text",
        taxonomy=Taxonomy(cwe=(407, 1333)),
        reproducer=Reproducer("case T03 at size 8192, seed 7", "/v1/embeddings", 8192, 8229, "ab" * 32, HOSTILE, 55.0),
        remedy="bound the length of a word",
    )


def planned(case: str, *oracles: Oracle, skip: str = "") -> Planned:
    """A row of the plan."""
    return Planned(
        0.1, case, f"What {case} is about", "light", 40, 4096, "bytes", (1, 2, 4), oracles, Taxonomy(cwe=(770,)), skip
    )


EVENTS: tuple[Event, ...] = (
    Started(
        0.0, "http://127.0.0.1:8080/v1/embeddings", "openai", "/v1/embeddings", f"m{HOSTILE}", "short", 7, "0.1.0",
        "2026-11-25T12:00:00+00:00", "Linux x86_64", ("/embed",), {"max_inputs": 64}, ("/metrics",),
    ),
    planned("sweep:text_bytes", Oracle.SLOPE, Oracle.MEMORY),
    planned("T03", Oracle.SLOPE, Oracle.TWIN, Oracle.STALL),
    planned("J07", Oracle.STATUS),
    planned("P19", Oracle.MEMORY),
    planned("E03", Oracle.EQUIVALENCE, skip="runs with --profile standard"),
    Sampled(1.0, "T03", Arm.ATTACK, 8192, 200, 2.7, 8229, 900, 2.6, 4096, 2048),
    curve("sweep:text_bytes", "bytes of one text", "latency_s", 1.0, 1e-3),
    curve("sweep:text_bytes", "bytes of one text", "memory_bytes", 1.0, 1e5),
    LimitDerived(2.5, "text_bytes", 4096, "the deadline, at 0.8 of it"),
    CaseFinished(3.0, "sweep:text_bytes", Verdict.SOUND, "", 80, 100_000, 2.0, (256, 8192)),
    curve("T03", "bytes of the text", "cpu_s", 2.0, 1e-3),
    Found(4.0, finding()),
    Found(4.0, finding(Severity.WARNING, Oracle.TWIN)),
    Found(4.0, finding(Severity.NOTE, Oracle.STATUS, "fuzz")),
    CaseFinished(4.1, "T03", Verdict.FINDING, "", 80, 100_000, 2.0, (256, 8192)),
    CaseFinished(4.5, "J07", Verdict.SOUND, "", 10, 1000, 0.1, (1,)),
    CaseFinished(4.6, "P19", Verdict.UNCLEAR, "seen once and not again", 10, 1000, 0.1, (1,)),
    CaseFinished(4.6, "E03", Verdict.SKIPPED, "runs with --profile standard"),
    Ended(5.0, EndReason.COMPLETED, 180, 202_000, 5.0, Severity.ERROR),
)  # fmt: skip


def whole() -> Result:
    """A run from beginning to end."""
    return collect(EVENTS)


def cut_off() -> Result:
    """The same run, killed in the middle."""
    return collect(EVENTS[:12])


def clean() -> Result:
    """A run that found nothing."""
    return collect(event for event in EVENTS if not isinstance(event, Found))
