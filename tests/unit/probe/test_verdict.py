"""Verdicts: which answers a case is accused for, and which are the fate of ordinary requests as well."""

from __future__ import annotations

import pytest

from wickguard.probe.cases import CATALOGUE
from wickguard.probe.finding import Oracle
from wickguard.probe.observe import Memory, Observation
from wickguard.probe.oracles.memory import memory
from wickguard.probe.oracles.verdict import retry, status
from wickguard.probe.series import Series
from wickguard.probe.trace import Request, Step, Trace
from wickguard.probe.wire import Answer
from wickguard.units import MIB

STEPS = tuple(Step(Request("POST", "/v1/embeddings", body=b"{}"), label=f"document {index}") for index in range(3))
N03, E17 = (next(case for case in CATALOGUE if case.id == name) for name in ("N03", "E17"))


def answered(*codes: int) -> Observation:
    """One repeat of three documents."""
    return Observation(Trace(STEPS), tuple(Answer(status=code, latency_s=0.01) for code in codes), 0.01)


@pytest.mark.parametrize("judge", [status, retry])
@pytest.mark.parametrize(
    ("twin", "accused"),
    [((200, 200, 200), True), ((200, 503, 200), False), ((200, 500, 200), True), ((200, 429, 200), True)],
)
def test_a_full_queue_is_nobodys_fault_when_ordinary_requests_meet_it_too(
    judge: object, twin: tuple[int, ...], accused: bool
) -> None:
    """503 without a word of when to come back, in the middle of a row; another error beside it excuses nothing."""
    assert callable(judge)
    series = Series(attack={1: [answered(400, 503, 400)] * 3}, twin={1: [answered(*twin)] * 3})
    # A twin that was not served whole says nothing of what clients would repeat.
    expected = accused and (judge is status or set(twin) == {200})
    assert (judge(N03, series) is not None) is expected


def kept(*grown: int) -> list[Observation]:
    """Repeats of twenty requests each, after which so many bytes are left."""
    trace = Trace(STEPS[:1] * 20)
    answers = (Answer(status=200, latency_s=0.01),) * 20
    return [Observation(trace, answers, 0.01, memory=Memory(0, size, size)) for size in grown]


@pytest.mark.parametrize(("theirs", "accused"), [(0, True), (MIB // 2, True), (3 * MIB, False)])
def test_leak_is_not_the_attacks_when_its_twin_leaves_as_much(theirs: int, accused: bool) -> None:
    """A server that keeps something of every request is another case's."""
    series = Series(attack={240: kept(*[3 * MIB] * 3)}, twin={240: kept(*[theirs] * 3)})
    found = memory(E17, series)
    assert (found is not None) is accused
    assert found is None or found.oracle is Oracle.MEMORY
