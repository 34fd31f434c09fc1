"""The console: what a target's names do to a terminal, which is nothing."""

from __future__ import annotations

import io

import msgspec
import pytest
from rich.console import Console
from tests.unit.probe.runs import EVENTS, curve, finding, planned

from wickguard.probe.console import LiveConsole, summarise
from wickguard.probe.events import (
    Arm,
    CaseFinished,
    Ended,
    EndReason,
    Event,
    Found,
    LimitDerived,
    Sampled,
    Started,
    Verdict,
)
from wickguard.probe.result import collect

# A tag, one that closes what was never opened, a code that clears the screen, and one that turns the writing around.
NAME = "value of page[size] a[/b] \x1b[2J\u202e\\"
SHOWN = "value of page[size] a[/b] ?[2J?\\"
CASE = f"sweep:{NAME}"


def hostile(reason: EndReason) -> list[Event]:
    """A run against a target whose own document calls a parameter so."""
    started = EVENTS[0]
    assert isinstance(started, Started)
    found = msgspec.structs.replace(finding(case=CASE), title=NAME, evidence=(NAME,), remedy=NAME)
    return [
        msgspec.structs.replace(started, path=f"/{NAME}", model=NAME),
        planned(CASE),
        Sampled(1.0, CASE, Arm.ATTACK, 8, 200, 0.1),
        curve(CASE, NAME, "latency_s", 1.0, 1e-3),
        LimitDerived(2.0, NAME, 7, NAME),
        Found(3.0, found),
        CaseFinished(3.0, CASE, Verdict.FINDING, NAME, 8, 8, 1.0, (8,)),
        Ended(5.0, reason, 8, 8, 5.0, None, NAME),
    ]


@pytest.mark.parametrize("reason", [EndReason.COMPLETED, EndReason.DRY_RUN])
def test_names_of_a_target_are_shown_as_they_are_when_they_look_like_markup(reason: EndReason) -> None:
    """In the summary and in the plan; letters that are none are question marks."""
    console = Console(file=io.StringIO(), width=400, highlight=False)
    summarise(collect(hostile(reason)), console)
    assert isinstance(console.file, io.StringIO)
    written = console.file.getvalue()
    assert SHOWN in written
    assert "\x1b" not in written
    assert "\u202e" not in written


def test_terminal_gets_no_codes_from_a_target_when_a_run_is_followed() -> None:
    """Lines of cases and findings, and the description beside the progress bar."""
    console = Console(file=io.StringIO(), width=400, highlight=False, force_terminal=True, color_system=None)
    with LiveConsole(console) as live:
        for event in hostile(EndReason.COMPLETED):
            live.add(event)
            live._progress.refresh()
    assert isinstance(console.file, io.StringIO)
    written = console.file.getvalue()
    assert f"{CASE.removesuffix(NAME)}{SHOWN} attack at 8" in written
    assert written.count(SHOWN) > 8
    assert "\x1b[2J" not in written
    assert "\u202e" not in written


def test_plan_lists_what_would_be_sent_and_names_the_rest_by_its_reason() -> None:
    """Ninety cases that are not run would hide the forty that are."""
    console = Console(file=io.StringIO(), width=100, highlight=False)
    left_out = [msgspec.structs.replace(planned(name), skip="no such route") for name in ("A01", "A02")]
    summarise(collect([planned("T01"), *left_out, Ended(0.0, EndReason.DRY_RUN, 0, 0, 0.0, None)]), console)
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert [line.split()[0] for line in lines[1:3]] == ["T01", "no"]
    assert lines[2] == "no such route: A01, A02"
    assert lines[3].startswith("1 case would send")
