"""What a run comes to: exit codes, and what people read of a run that had to end."""

from __future__ import annotations

import argparse
import io
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from rich.console import Console
from tests.unit.probe.runs import EVENTS, clean, cut_off, finding, planned, whole

from wickguard.errors import ConfigError
from wickguard.probe.command import FOUND, UNFINISHED, add_arguments, exit_code, run, show
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
    unfinished = {EndReason.CANARY_SUFFERED, EndReason.TARGET_DOWN, EndReason.INTERRUPTED, EndReason.FAILED}
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


class _Embedder(BaseHTTPRequestHandler):
    """Answers every text with the same vector."""

    def do_GET(self) -> None:
        self._answer(200, {"data": [{"id": "m"}]})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(200, {"data": [{"embedding": [0.0], "index": 0}]})

    def _answer(self, status: int, document: object) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the tests read what the command says."""


@contextmanager
def embedder() -> Iterator[str]:
    """The URL of a route that embeds."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Embedder)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1/embeddings"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def arguments(*words: str) -> argparse.Namespace:
    """As the command line would be read."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(words)


def test_dry_run_leaves_the_policy_in_use_and_passes_no_gate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The cost file stays as well, reports are written, and the earlier run was of another model: all told at the end."""
    policy, cost, page = tmp_path / "limits.toml", tmp_path / "limits.cost.json", tmp_path / "run.html"
    policy.write_text("[text]\nmax_inputs = 7\n")
    cost.write_text("{}")
    with Output(tmp_path / "old.jsonl") as output:
        writer = Writer(output)
        for event in EVENTS:
            writer.add(event)
    files = ("--policy", str(policy), "--html", str(page), "--compare", str(tmp_path / "old.jsonl"))
    with embedder() as url:
        assert run(arguments(url, "--dry-run", "--model", "another", *files)) == UNFINISHED
    assert (policy.read_text(), cost.read_text()) == ("[text]\nmax_inputs = 7\n", "{}")
    assert page.read_text().startswith("<!doctype html>")
    said = " ".join(capsys.readouterr().err.split())
    assert "no policy was written: a dry run measures nothing" in said
    assert "limits.toml is left as it was" in said
    assert "this one of openai /v1/embeddings, model another: they can't be compared" in said
