"""Liveness: when a target counts as having died, with and without a process to look at."""

from __future__ import annotations

import pytest

from wickguard.probe.cases import CATALOGUE
from wickguard.probe.finding import Oracle
from wickguard.probe.observe import Observation
from wickguard.probe.oracles.verdict import liveness
from wickguard.probe.series import Series
from wickguard.probe.trace import Reading, Request, Step, Trace
from wickguard.probe.wire import Answer

CASE = next(case for case in CATALOGUE if case.id == "J01.deep")
WHOLE = Step(Request("POST", "/v1/embeddings", body=b"[" * 1000))


def series(step: Step, *answers: Answer, alive: bool = True) -> Series:
    """One repeat for each answer, all of one size."""
    seen = [Observation(Trace((step,)), (answer,), answer.latency_s, alive=alive) for answer in answers]
    return Series(attack={1000: seen})


def test_death_is_suspected_when_ordinary_requests_break_without_an_answer() -> None:
    """Behind a supervisor a broken connection is all that shows."""
    found = liveness(CASE, series(WHOLE, Answer(error="closed"), Answer(error="reset")))
    assert found is not None
    assert found.oracle is Oracle.LIVENESS
    assert found.size == 1000


@pytest.mark.parametrize(
    ("step", "answers"),
    [
        (WHOLE, [Answer(error="closed"), Answer(status=400)]),
        (WHOLE, [Answer(status=400), Answer(status=400)]),
        (WHOLE, [Answer(error="timeout"), Answer(error="timeout")]),
        (Step(Request("POST", "/", body=b"a" * 300_000)), [Answer(error="reset")]),
        (Step(Request("POST", "/", raw=b"garbage\r\n\r\n")), [Answer(error="closed")]),
        (Step(Request("POST", "/", (("X-Long", "a"),), b"{}")), [Answer(error="closed")]),
        (Step(WHOLE.request, complete=False), [Answer(error="closed")]),
        (Step(WHOLE.request, reading=Reading.HANG_UP), [Answer(error="closed")]),
    ],
    ids=["once of two", "refused", "slow", "long body", "garbage", "odd head", "unfinished", "we hung up"],
)
def test_nobody_died_when_a_sound_server_may_do_the_same(step: Step, answers: list[Answer]) -> None:
    """A server may close on what is no request, and a refusal of a long body may be lost when it is cut off."""
    assert liveness(CASE, series(step, *answers)) is None


def test_death_is_suspected_when_the_process_is_another() -> None:
    """Whatever it answered."""
    assert liveness(CASE, series(WHOLE, Answer(status=400), alive=False)) is not None
