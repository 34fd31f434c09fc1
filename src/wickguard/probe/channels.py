"""Cost channels: what the target itself, or its machine, says a request cost.

Decides which source is believed, dearest knowledge first: what the answer carries (Server-Timing `cpu;dur=` and
`mem;desc=`, `usage`), then counters on /metrics, then the process tree of --pid. Promises that a channel that is missing is
None, never zero. It must not know cases or fits.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from wickguard.probe.wire import Answer

_DURATION = re.compile(r"\bcpu\b[^,]*?;\s*dur=\"?([0-9.]+)")
_MEMORY = re.compile(r"\bmem\b[^,]*?;\s*desc=\"?([0-9]+)")
_TOKENS = re.compile(rb'"(?:total|prompt|input)_tokens"\s*:\s*(\d{1,12})')
_METRIC = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{[^}]*\})?\s+([0-9.eE+-]+|NaN)", re.MULTILINE)

_CPU_METRICS = ("wickguard_cpu_seconds_total", "process_cpu_seconds_total")
_MEMORY_METRICS = ("process_resident_memory_bytes",)
_START_METRIC = "process_start_time_seconds"


@dataclass(frozen=True, slots=True)
class Told:
    """What an answer says of itself: CPU-seconds, peak bytes, tokens."""

    cpu_s: float | None
    memory_bytes: int | None
    tokens: int | None


def told(answer: Answer) -> Told:
    """The cost that `answer` carries."""
    timing = answer.headers.get("server-timing", "")
    cpu, memory = _DURATION.search(timing), _MEMORY.search(timing)
    tokens = _TOKENS.findall(answer.tail) if answer.ok else []
    return Told(
        cpu_s=float(cpu[1]) / 1000 if cpu else None,
        memory_bytes=int(memory[1]) if memory else None,
        tokens=max(map(int, tokens)) if tokens else None,
    )


@dataclass(frozen=True, slots=True)
class Counters:
    """What a /metrics page says: CPU-seconds so far, memory now, and when the process began (a restart shows)."""

    cpu_s: float | None
    memory_bytes: int | None
    began: float | None


def parse_metrics(page: str) -> Counters:
    """The counters in a page of the Prometheus text format; series of one name are added up."""
    sums: dict[str, float] = {}
    for match in _METRIC.finditer(page):
        if match[1] in (*_CPU_METRICS, *_MEMORY_METRICS, _START_METRIC) and match[2] != "NaN":
            sums[match[1]] = sums.get(match[1], 0.0) + float(match[2])
    memory = _first(sums, _MEMORY_METRICS)
    return Counters(_first(sums, _CPU_METRICS), None if memory is None else int(memory), sums.get(_START_METRIC))


def _first(values: Mapping[str, float], names: tuple[str, ...]) -> float | None:
    return next((values[name] for name in names if name in values), None)
