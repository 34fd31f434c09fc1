"""Results: a run as its events, on disk as JSON lines, and what reports read of it.

Promises that `read(path)` of what `Writer` wrote gives the same events back, and that a run that was cut off (no `Ended`)
can still be read. It must not know how reports look.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from wickguard.errors import ConfigError
from wickguard.probe.events import (
    CaseFinished,
    CurveFitted,
    Ended,
    Event,
    Found,
    LimitDerived,
    Planned,
    Sampled,
    Started,
    Verdict,
)
from wickguard.probe.finding import Finding, Severity
from wickguard.probe.output import Output

_DECODER: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)
_ENCODER = msgspec.json.Encoder()


@dataclass(slots=True)
class Result:
    """Everything that happened, sorted by kind; each list is in the order in which it happened."""

    started: Started | None = None
    planned: list[Planned] = field(default_factory=list)
    samples: list[Sampled] = field(default_factory=list)
    curves: list[CurveFitted] = field(default_factory=list)
    limits: list[LimitDerived] = field(default_factory=list)
    cases: list[CaseFinished] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    ended: Ended | None = None

    def add(self, event: Event) -> None:
        """Take one event in. A listener: the engine's events may be fed here as they come."""
        match event:
            case Started():
                self.started = event
            case Planned():
                self.planned.append(event)
            case Sampled():
                self.samples.append(event)
            case CurveFitted():
                self.curves.append(event)
            case LimitDerived():
                self.limits.append(event)
            case CaseFinished():
                self.cases.append(event)
            case Found():
                self.findings.append(event.finding)
            case Ended():
                self.ended = event

    @property
    def worst(self) -> Severity | None:
        """The highest severity found."""
        return max((finding.severity for finding in self.findings), key=lambda severity: severity.rank, default=None)

    @property
    def unreached(self) -> list[str]:
        """Cases that were to run and did not, because the run ended before."""
        left_out = {planned.case for planned in self.planned if planned.skip}
        return [case.case for case in self.cases if case.verdict is Verdict.SKIPPED and case.case not in left_out]


class Writer:
    """A listener that writes each event as one line, at once: a run that is killed leaves what it had."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def add(self, event: Event) -> None:
        """Write one event."""
        file = self._output.begin()
        file.write(_ENCODER.encode(event).decode() + "\n")
        file.flush()


def collect(events: Iterable[Event]) -> Result:
    """The result of `events`."""
    result = Result()
    for event in events:
        result.add(event)
    return result


def read(path: Path) -> Result:
    """The run that was written to `path`. Raises ConfigError with file and line."""
    result = Result()
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    try:
                        result.add(_DECODER.decode(line))
                    except msgspec.MsgspecError as error:
                        raise ConfigError(
                            f"{path}:{number}: not an event of `wickguard probe --jsonl`: {error}"
                        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the run {path} can't be read: {error}") from error
    if result.started is None:
        raise ConfigError(f"{path} holds no run: its first line should be the event `started`")
    return result
