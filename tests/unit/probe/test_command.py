"""What a run comes to: exit codes, and what people read of a run that had to end."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from rich.console import Console
from tests.unit.probe.runs import EVENTS, clean, cut_off, finding, planned, whole

from wickguard.errors import ConfigError
from wickguard.probe.command import FOUND, UNFINISHED, exit_code, show
from wickguard.probe.compare import Comparison, compare
from wickguard.probe.console import summarise
from wickguard.probe.events import CaseFinished, Ended, EndReason, Verdict
from wickguard.probe.finding import Oracle, Severity
from wickguard.probe.output import Output
from wickguard.probe.report_html import write_html
from wickguard.probe.report_sarif import sarif
from wickguard.probe.result import Result, Writer, collect, read

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


NEW = finding(Severity.WARNING)


@pytest.mark.parametrize(
    ("comparison", "codes"),
    [
        (Comparison(), {"note": 0, "warning": 0, "error": 0, "never": 0}),
        (Comparison(appeared=(NEW,)), {"note": FOUND, "warning": FOUND, "error": 0, "never": 0}),
        (Comparison(unjudged=(NEW,)), {"note": FOUND, "warning": FOUND, "error": 0, "never": 0}),
        (Comparison(regressions=("dearer",)), {"note": FOUND, "warning": FOUND, "error": FOUND, "never": FOUND}),
        (Comparison(obstacle="another model"), dict.fromkeys(("note", "warning", "error", "never"), UNFINISHED)),
    ],
    ids=["alike", "new", "not judged before", "dearer", "not to be compared"],
)
def test_code_follows_from_what_is_new_when_there_is_an_earlier_run(
    comparison: Comparison, codes: dict[str, int]
) -> None:
    """What this run found and the earlier one had as well does not count; what can't be compared is no success."""
    assert {threshold: exit_code(whole(), comparison, threshold) for threshold in codes} == codes
    assert exit_code(ended(EndReason.INTERRUPTED), comparison, "never") == UNFINISHED


def test_code_is_no_success_when_there_was_nothing_to_compare() -> None:
    """A dry run, a run that was over before its first case: "not worse than before" would open a gate on nothing."""
    for result in (collect((EVENTS[0], Ended(5.0, EndReason.DRY_RUN, 0, 0, 0.0))), Result()):
        compared = compare(whole(), result)
        code = exit_code(result, compared, "never")
        console = Console(file=io.StringIO(), width=400)
        show(compared, code, console)
        assert isinstance(console.file, io.StringIO)
        assert code == UNFINISHED
        assert "nothing was compared" in console.file.getvalue()
        assert "worse than before" not in console.file.getvalue()


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


def test_cases_that_the_end_prevented_are_told_apart_from_those_that_were_never_to_run() -> None:
    """Out of time with one case left is another thing than a profile that leaves forty out."""
    late = CaseFinished(4.9, "P30", Verdict.SKIPPED, "the run ended: out_of_time")
    over = Ended(5.0, EndReason.OUT_OF_TIME, 180, 202_000, 5.0, Severity.ERROR)
    console, page = Console(file=io.StringIO(), width=400), io.StringIO()
    result = collect((*EVENTS[:-1], planned("P30", Oracle.MEMORY), late, over))
    assert result.unreached == ["P30"]
    assert whole().unreached == []
    summarise(result, console)
    write_html(result, page)
    assert isinstance(console.file, io.StringIO)
    assert "2 cases sound, 1 unclear, 1 not reached, 1 not for this profile or dialect" in console.file.getvalue()
    assert "<b>1</b>not reached" in page.getvalue()


def test_output_is_emptied_by_its_first_word_and_not_before(tmp_path: Path) -> None:
    """An earlier run's file stays while there is nothing to write; then nothing of it is left, however long it was."""
    path = tmp_path / "run.jsonl"
    path.write_text("earlier\n" * 100_000)
    with Output(path):
        pass
    assert path.read_text() == "earlier\n" * 100_000
    with Output(path) as output:
        writer = Writer(output)
        for event in EVENTS:
            writer.add(event)
    assert read(path) == collect(EVENTS)


def test_output_that_comes_to_nothing_leaves_no_empty_file(tmp_path: Path) -> None:
    """A policy of no words would be read as one that sets nothing."""
    path = tmp_path / "out.toml"
    with Output(path):
        assert path.exists()
    assert not path.exists()


def test_output_takes_what_is_no_file_and_refuses_what_cannot_be_written(tmp_path: Path) -> None:
    """/dev/null and a pipe can't be cut short; a folder can't be written, which is told before the run."""
    with Output(Path(os.devnull)) as output:
        output.begin().write("gone")
    reader, end = os.pipe()
    with Output(Path(f"/dev/fd/{end}")) as output:
        output.begin().write("here")
    os.close(end)
    with os.fdopen(reader) as pipe:
        assert pipe.read() == "here"
    with pytest.raises(ConfigError, match="can't be written"):
        Output(tmp_path)
