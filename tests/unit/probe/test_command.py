"""What a run comes to: exit codes, and what people read of a run that had to end."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from tests.unit.probe.runs import EVENTS, clean, cut_off, whole

from wickguard.probe.command import FOUND, UNFINISHED, exit_code
from wickguard.probe.console import summarise
from wickguard.probe.events import Ended, EndReason
from wickguard.probe.finding import Severity
from wickguard.probe.report_html import write_html
from wickguard.probe.report_sarif import sarif
from wickguard.probe.result import Result, collect

DETAIL = "ordinary requests failed for 15.0 s after case T03, while the target still answers: it was left alone"


def ended(reason: EndReason, detail: str = "") -> Result:
    """A run that ended so."""
    return collect((*EVENTS[:-1], Ended(5.0, reason, 180, 202_000, 5.0, Severity.ERROR, detail)))


@pytest.mark.parametrize("reason", list(EndReason))
def test_run_that_had_to_end_has_a_code_of_its_own_whatever_it_found(reason: EndReason) -> None:
    """A target that suffered or went down, and Ctrl-C; a budget that is used up is an ordinary end."""
    unfinished = {EndReason.CANARY_SUFFERED, EndReason.TARGET_DOWN, EndReason.INTERRUPTED}
    assert exit_code(ended(reason), None, "warning") == (UNFINISHED if reason in unfinished else FOUND)


def test_code_follows_the_worst_finding_when_the_run_was_finished() -> None:
    """At the threshold and above; never for `never`."""
    assert exit_code(whole(), None, str(Severity.ERROR)) == FOUND
    assert exit_code(whole(), None, "never") == 0
    assert exit_code(clean(), None, str(Severity.NOTE)) == 0
    assert exit_code(cut_off(), None, str(Severity.ERROR)) == UNFINISHED


def test_reports_say_so_when_the_canary_suffered() -> None:
    """On the console, on the page, and to code scanning, which is told that the run failed."""
    result = ended(EndReason.CANARY_SUFFERED, DETAIL)
    console, page = Console(file=io.StringIO(), width=400), io.StringIO()
    summarise(result, console)
    write_html(result, page)
    invocation = sarif(result)["runs"][0]["invocations"][0]
    file = console.file
    assert isinstance(file, io.StringIO)
    for text in (file.getvalue(), page.getvalue(), invocation["exitCodeDescription"]):
        assert f"canary_suffered: {DETAIL}" in text
    assert invocation["executionSuccessful"] is False
