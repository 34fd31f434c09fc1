"""Cost channels: what the target itself, or its machine, says a request cost.

Decides which source is believed, dearest knowledge first: what the answer carries (Server-Timing `cpu;dur=` and
`mem;desc=`, `usage`), then counters on /metrics, then the process tree of --pid. Promises that a channel that is missing,
or says what is no number, is None, never zero. It must not know cases or fits.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wickguard.probe.wire import Answer

_TOKENS = re.compile(rb'"(?:total|prompt|input)_tokens"\s*:\s*(\d{1,12})')
_CPU_METRICS = ("wickguard_cpu_seconds_total", "process_cpu_seconds_total")
_MEMORY_METRICS = ("process_resident_memory_bytes",)
_START_METRIC = "process_start_time_seconds"
_METRICS = (*_CPU_METRICS, *_MEMORY_METRICS, _START_METRIC)
_SERIES = re.compile(r"([\w:]+)(?:\{.*\})?\s+(\S+)")
# More than a machine has; up to here a float holds every whole number.
_MOST = 2.0**53


@dataclass(frozen=True, slots=True)
class Told:
    """What an answer says of itself: CPU-seconds, peak bytes, tokens."""

    cpu_s: float | None
    memory_bytes: int | None
    tokens: int | None


def told(answer: Answer) -> Told:
    """The cost that `answer` carries."""
    timing = answer.headers.get("server-timing", "")
    cpu_ms, memory = _timing(timing, "cpu", "dur"), _timing(timing, "mem", "desc")
    tokens = _TOKENS.findall(answer.tail) if answer.ok else []
    return Told(
        cpu_s=None if cpu_ms is None else cpu_ms / 1000,
        memory_bytes=None if memory is None else int(memory),
        tokens=max(map(int, tokens)) if tokens else None,
    )


def _timing(header: str, metric: str, parameter: str) -> float | None:
    """A number of Server-Timing. Split instead of searched: the time for that is bounded by the header's length."""
    for entry in header.split(","):
        name, *parameters = (part.strip() for part in entry.split(";"))
        for part in parameters if name == metric else ():
            key, _, value = part.partition("=")
            if key.strip() == parameter:
                return _number(value.strip().strip('"'))
    return None


def _number(text: str) -> float | None:
    """What a target wrote as a number; None when it is none that a cost can be: a word, negative, without an end."""
    try:
        # Python takes 1_000; nobody else does.
        number = float(text.replace("_", "?"))
    except ValueError:
        return None
    return number if math.isfinite(number) and 0 <= number <= _MOST else None


@dataclass(frozen=True, slots=True)
class Counters:
    """What a /metrics page says: CPU-seconds so far, memory now, and when the process began (a restart shows)."""

    cpu_s: float | None
    memory_bytes: int | None
    began: float | None


def parse_metrics(page: str) -> Counters:
    """The counters in a page of the Prometheus text format; series of one name are added up."""
    sums: dict[str, float] = {}
    for line in page.split("\n"):
        series = _SERIES.match(line) if line.startswith(_METRICS) else None
        number = _number(series[2]) if series is not None else None
        if series is not None and number is not None and series[1] in _METRICS:
            sums[series[1]] = sums.get(series[1], 0.0) + number
    memory = _first(sums, _MEMORY_METRICS)
    return Counters(_first(sums, _CPU_METRICS), None if memory is None else int(memory), sums.get(_START_METRIC))


def of_one_process(pages: Sequence[Counters]) -> bool:
    """Whether pages that were read one after the other are about the same process, and say anything.

    Workers and replicas that count for themselves answer in turns: their beginnings differ, or the CPU time goes back.
    """
    first = pages[0]
    if first == Counters(None, None, None) or any(page.began != first.began for page in pages):
        return False
    cpu = [page.cpu_s for page in pages if page.cpu_s is not None]
    return len(cpu) in (0, len(pages)) and cpu == sorted(cpu)


def _first(values: Mapping[str, float], names: tuple[str, ...]) -> float | None:
    return next((values[name] for name in names if name in values), None)
