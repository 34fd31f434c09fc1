"""The console: a run as it happens, and its summary. A listener.

Decides what a person sees: one line per case with its verdict, findings with their evidence and remedy, curves and limits
at the end. Promises that what a target wrote is shown as it is and does nothing to the terminal. It must not know how
anything was measured.
"""

from __future__ import annotations

from collections import Counter
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from wickguard.probe.events import CaseFinished, Ended, Event, Found, Planned, Sampled, Started, Verdict
from wickguard.probe.finding import Finding, Severity
from wickguard.probe.printable import printable
from wickguard.probe.result import Result
from wickguard.probe.sweep import PREFIX
from wickguard.units import format_bytes, format_seconds

_COLOURS = {Severity.NOTE: "cyan", Severity.WARNING: "yellow", Severity.ERROR: "bold red"}
_MARKS = {
    Verdict.SOUND: "[green]sound[/]",
    Verdict.FINDING: "[bold red]finding[/]",
    Verdict.UNCLEAR: "[yellow]unclear[/]",
}
_CHANNELS = {"latency_s": format_seconds, "cpu_s": format_seconds, "memory_bytes": format_bytes}


class LiveConsole:
    """A context manager and a listener: shows progress on a terminal, plain lines elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._result = Result()
        self._progress = Progress(
            SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(),
            TextColumn("{task.completed}/{task.total}"), TimeElapsedColumn(),
            console=console, transient=True, disable=not console.is_terminal,
        )  # fmt: skip
        self._task: TaskID | None = None
        self._done = 0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._progress.stop()

    def add(self, event: Event) -> None:
        """Show one event."""
        self._result.add(event)
        match event:
            case Started():
                self._console.print(
                    f"probing [bold]{shown(event.target.removesuffix(event.path.partition('?')[0]))}[/]{shown(event.path)}: "
                    f"{event.dialect}, "
                    f"model {shown(event.model) or '-'}, profile {event.profile}, seed {event.seed}; "
                    f"cost from {', '.join(('latency', *event.channels))}"
                )
                self._task = self._progress.add_task("planning", total=None)
            case Planned() if not event.skip:
                self._grow()
            case Sampled() if self._task is not None:
                self._progress.update(self._task, description=printable(f"{event.case} {event.arm} at {event.size}"))
            case CaseFinished():
                self._finished(event)
            case Found():
                self._show(event.finding)
            case Ended():
                self._progress.stop()
                summarise(self._result, self._console)
            case _:
                pass

    def _grow(self) -> None:
        if self._task is not None:
            total = sum(not planned.skip for planned in self._result.planned)
            self._progress.update(self._task, total=total)

    def _finished(self, event: CaseFinished) -> None:
        if event.verdict is Verdict.SKIPPED:
            return
        title = next((planned.title for planned in self._result.planned if planned.case == event.case), "")
        reason = f"  [dim]{shown(event.reason)}[/]" if event.reason else ""
        self._console.print(
            f"{_MARKS[event.verdict]}  {shown(event.case)}  {shown(title)}  "
            f"[dim]{event.requests} requests, {event.seconds:.1f} s[/]{reason}",
            soft_wrap=True,
        )
        if self._task is not None:
            self._progress.advance(self._task)

    def _show(self, finding: Finding) -> None:
        colour = _COLOURS[finding.severity]
        self._console.print(
            f"  [{colour}]{finding.severity}[/] {finding.oracle}: {shown(finding.title)}", soft_wrap=True
        )
        for line in finding.evidence:
            self._console.print(f"    {shown(line)}", soft_wrap=True)
        if finding.remedy:
            self._console.print(f"    [dim]to do: {shown(finding.remedy)}[/]", soft_wrap=True)


def summarise(result: Result, console: Console) -> None:
    """Curves, limits, and what the run comes to."""
    if result.ended is not None and str(result.ended.reason) == "dry_run":
        _list_plan(result, console)
        return
    sweeps = [curve for curve in result.curves if curve.case.startswith(PREFIX)]
    if sweeps:
        table = Table("feature", "cost", "grows as", "smallest", "largest", box=None, header_style="bold")
        for curve in sweeps:
            say = _CHANNELS[curve.channel]
            first, last = curve.points[0], curve.points[-1]
            table.add_row(
                shown(curve.feature), curve.channel, curve.fit.describe(),
                f"{say(first.value)} at {first.size:g}", f"{say(last.value)} at {last.size:g}",
            )  # fmt: skip
        console.print(table)
    for limit in result.limits:
        console.print(f"limit  {shown(limit.feature)}: [bold]{limit.limit}[/]  [dim]{shown(limit.reason)}[/]")
    ended = result.ended
    if ended is not None:
        by = {severity: sum(item.severity is severity for item in result.findings) for severity in Severity}
        counts = (
            ", ".join(f"{count} {severity}{'s' * (count > 1)}" for severity, count in by.items() if count)
            or "no finding"
        )
        why = f"{ended.reason}: {ended.detail}" if ended.detail else str(ended.reason)
        console.print(
            f"[bold]{counts}[/]; {_cases(result)}; {ended.requests} requests, "
            f"{format_bytes(ended.bytes)} in {ended.seconds:.0f} s ({shown(why)})"
        )


def shown(text: str) -> str:
    """A text that a target may have had a hand in, as rich is to print it: letters only, no markup and no control codes."""
    return escape(printable(text))


def _cases(result: Result) -> str:
    """How many cases came to what; those that the end of the run prevented apart from those that were never to run."""
    count = Counter(case.verdict for case in result.cases)
    unreached = len(result.unreached)
    late = f"[bold]{unreached} not reached[/], " if unreached else ""
    return (
        f"{count[Verdict.SOUND]} cases sound, {count[Verdict.UNCLEAR]} unclear, {late}"
        f"{count[Verdict.SKIPPED] - unreached} not for this profile or dialect"
    )


def _list_plan(result: Result, console: Console) -> None:
    table = Table("case", "risk", "requests", "bytes", "what", box=None, header_style="bold")
    running, reasons = [], dict[str, list[str]]()
    for planned in result.planned:
        if planned.skip:
            reasons.setdefault(planned.skip, []).append(planned.case)
            continue
        running.append(planned)
        table.add_row(
            shown(planned.case),
            shown(planned.risk),
            str(planned.requests),
            format_bytes(planned.bytes),
            shown(planned.title),
        )
    console.print(table)
    for reason, cases in reasons.items():
        console.print(f"[dim]{shown(reason)}: {shown(', '.join(cases))}[/]")
    count = f"{len(running)} case{'s' * (len(running) != 1)}"
    console.print(
        f"{count} would send at most {sum(planned.requests for planned in running)} requests and "
        f"{format_bytes(sum(planned.bytes for planned in running))}, and no more than the profile's limits; nothing was sent "
        "but a few ordinary requests to find out what the target is"
    )
