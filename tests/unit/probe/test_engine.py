"""The engine: a run has an end that is told, whatever goes wrong in it."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

import pytest
from tests.unit.probe.tiny import Tiny, running

from wickguard.probe.case import Case, Spelling
from wickguard.probe.cases import CATALOGUE
from wickguard.probe.engine import Options, probe
from wickguard.probe.events import CaseFinished, Ended, EndReason, Event, Verdict
from wickguard.probe.rails import Limits
from wickguard.probe.report_sarif import sarif
from wickguard.probe.result import collect
from wickguard.probe.target import Wanted
from wickguard.probe.trace import Trace, single

LIMITS = Limits(500, 1 << 20, 20.0, 2.0, 1.0, 1, 0.1)


def run(*cases: Case) -> list[Event]:
    """The events of a run of these cases alone."""

    async def follow() -> list[Event]:
        options = Options(Wanted(f"{tiny.url}/embed"), only=tuple(case.id for case in cases), limits=LIMITS)
        return [event async for event in probe(options, cases)]

    with running(Tiny(routes={"/embed": [[0.5]]})) as tiny:
        return asyncio.run(follow())


@pytest.mark.parametrize("calls", [0, 1], ids=["in the plan", "in the run"])
def test_run_ends_with_the_place_of_the_error_when_the_probe_has_a_defect(calls: int) -> None:
    """Reports are written of what was seen until then, and code scanning is told that the run failed."""
    left = [calls]

    def attack(target: Spelling, size: int, chance: random.Random) -> Trace:
        if not left[0]:
            raise KeyError("name\x1b")
        left[0] -= 1
        return single(target.request(["a"]))

    events = run(replace(CATALOGUE[0], id="X1", attack=attack, twin=None, sizes=(1,)))
    ended = events[-1]
    assert isinstance(ended, Ended)
    assert ended.reason is EndReason.FAILED
    assert ended.detail.startswith("KeyError: 'name")
    assert "at test_engine.py:" in ended.detail
    assert " attack, from " in ended.detail
    assert ended.detail.isprintable()
    skipped = [event for event in events if isinstance(event, CaseFinished) and event.verdict is Verdict.SKIPPED]
    assert [event.reason for event in skipped] == ["the run ended: failed"] * calls
    assert sarif(collect(events))["runs"][0]["invocations"][0]["executionSuccessful"] is False
