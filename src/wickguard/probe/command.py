"""`wickguard probe`: its arguments, and the listeners that a run is given. No logic of its own.

Decides the exit code: 1 when something at or above the threshold of --fail-on was found, 0 otherwise; with --compare, 1
when costs or limits got worse or such a finding is not in the earlier run, 0 otherwise, whatever the earlier run had found
already. 2 is what every command answers to a wrong call; 3 when the run could not be finished, or could not be compared.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TextIO

from rich.console import Console

from wickguard.probe.case import Profile
from wickguard.probe.cases import CATALOGUE
from wickguard.probe.compare import Comparison, compare
from wickguard.probe.console import LiveConsole, shown
from wickguard.probe.engine import Options, probe
from wickguard.probe.events import EndReason, Event
from wickguard.probe.finding import Severity
from wickguard.probe.output import Output
from wickguard.probe.policy_out import PolicyFiles
from wickguard.probe.report_html import write_html
from wickguard.probe.report_junit import write_junit
from wickguard.probe.report_sarif import write_sarif
from wickguard.probe.result import Result, Writer, read
from wickguard.probe.target import DIALECTS, Wanted

Listener = Callable[[Event], None]

_NEVER = "never"
FOUND, UNFINISHED = 1, 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `wickguard probe`."""
    parser.add_argument(
        "url", metavar="URL", help="a route (http://127.0.0.1:8080/v1/embeddings), or a base where it follows"
    )
    parser.add_argument("--dialect", choices=DIALECTS, help="what the target speaks; found out when not given")
    parser.add_argument("--model", metavar="NAME", help="the model to ask for; the first one when not given")
    parser.add_argument("--key", metavar="KEY", help="API key, sent as a bearer token")
    parser.add_argument("--profile", choices=[str(name) for name in Profile], default=str(Profile.SHORT))
    parser.add_argument(
        "--pid", type=int, metavar="PID", help="the server's main process, to read CPU time and memory of"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="every random choice follows from it")
    for name, what in (
        ("jsonl", "every event as a line of JSON"),
        ("html", "a report in one file"),
        ("sarif", "findings for code scanning (SARIF 2.1.0)"),
        ("junit", "cases as tests (JUnit XML)"),
        ("policy", "limits that follow from the curves, as a policy"),
    ):
        parser.add_argument(f"--{name}", type=Path, metavar="F", help=f"write {what}")
    parser.add_argument(
        "--compare", type=Path, metavar="OLD.jsonl",
        help="exit with 1 only for what is worse than in an earlier run: costs, limits, findings that it doesn't have",
    )  # fmt: skip
    parser.add_argument("--dry-run", action="store_true", help="list what would be sent, and send nothing")
    parser.add_argument(
        "--fail-on", choices=[*map(str, Severity), _NEVER], default=str(Severity.WARNING),
        help="the lowest severity of a finding that makes the exit code 1; with --compare, of a new one",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Run the command; returns the exit code. Raises ConfigError."""
    console = Console(stderr=True, highlight=False)
    # A file that can't be read or written is an error now, not after a quarter of an hour.
    old = read(options.compare) if options.compare else None
    result = Result()
    wanted = Wanted(options.url, options.dialect, options.model, options.key)
    asked = Options(wanted, Profile(options.profile), options.seed, options.pid, options.dry_run)
    with ExitStack() as stack:
        listeners: list[Listener] = [result.add]
        if options.jsonl:
            listeners.append(Writer(stack.enter_context(Output(options.jsonl))).add)
        policy = stack.enter_context(PolicyFiles(options.policy)) if options.policy else None
        reports = [(write, stack.enter_context(Output(path))) for path, write in _reports(options) if path is not None]
        live = stack.enter_context(LiveConsole(console))
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(_run(asked, [*listeners, live.add]))
        if result.started is not None:
            for write, output in reports:
                write(result, output.begin())
        # Last: what goes wrong with it must not cost the reports.
        notes = policy.write(result, _unfit(result)) if policy is not None else []
    for note in notes:
        console.print(f"[yellow]{shown(note)}[/]", soft_wrap=True)
    comparison = compare(old, result) if old is not None else None
    code = exit_code(result, comparison, options.fail_on)
    if comparison is not None:
        show(comparison, code, console)
    return code


async def _run(options: Options, listeners: list[Listener]) -> None:
    async for event in probe(options, CATALOGUE):
        for listen in listeners:
            listen(event)


def _reports(options: argparse.Namespace) -> list[tuple[Path | None, Callable[[Result, TextIO], None]]]:
    return [
        (options.html, write_html),
        (options.sarif, write_sarif),
        (options.junit, write_junit),
    ]


def exit_code(result: Result, comparison: Comparison | None, threshold: str) -> int:
    """What the command returns: 0, FOUND or UNFINISHED (see above). threshold: a severity, or "never"."""
    if result.ended is None or result.ended.reason.unfinished:
        return UNFINISHED
    least = None if threshold == _NEVER else Severity(threshold)
    if comparison is not None:
        return UNFINISHED if comparison.obstacle else FOUND if comparison.worse(least) else 0
    worst = result.worst
    return FOUND if least is not None and worst is not None and worst.rank >= least.rank else 0


def _unfit(result: Result) -> str:
    """Why no policy is made of this run, "" when one may be: half a policy is no limit where the whole one had one."""
    if result.ended is None or result.ended.reason.unfinished:
        return "the run was not finished"
    return "a dry run measures nothing" if result.ended.reason is EndReason.DRY_RUN else ""


def show(comparison: Comparison, code: int, console: Console) -> None:
    """What changed since the earlier run, and what that comes to by the exit code."""
    for text in comparison.notes:
        console.print(f"[yellow]note[/]    {shown(text)}", soft_wrap=True)
    for text in comparison.regressions:
        console.print(f"[bold red]worse[/]   {shown(text)}", soft_wrap=True)
    for label, findings in (
        ("[bold red]new[/]     ", comparison.appeared),
        ("[yellow]not judged before[/]  ", comparison.unjudged),
        ("[green]gone[/]    ", comparison.gone),
    ):
        for finding in findings:
            text = f"{finding.case}: {finding.title} ({finding.severity})"
            console.print(f"{label}{shown(text)}", soft_wrap=True)
    for text in comparison.improvements:
        console.print(f"[green]better[/]  {shown(text)}", soft_wrap=True)
    for case in comparison.unmeasured:
        console.print(f"[yellow]not measured this time[/]  {shown(case)}")
    verdicts = {0: "not worse than before", FOUND: "worse than before"}
    none = comparison.obstacle or "not compared to the end: the run was not finished"
    console.print(shown(verdicts.get(code, none)), soft_wrap=True)
