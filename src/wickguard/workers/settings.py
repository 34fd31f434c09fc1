"""Worker settings: what an operator may choose about the cage, and the ranges within which it stays one.

`WorkerSettings` is the same for every model, `ZygoteSpec` names one model and how it is loaded. Both are checked when
they are made, so nothing below has to doubt a number, and both cross process borders as msgpack, hence msgspec
structs. This module must not know what the processes do with the numbers.
"""

from __future__ import annotations

import os
import re

import msgspec

from wickguard.errors import ConfigError
from wickguard.records import Lane
from wickguard.units import GIB, KIB, MIB

_LOADER = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def usable_cores() -> int:
    """Cores this process may run on (affinity counted, quota not)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


class ZygoteSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One model: its public name, its directory, and `module:function` that loads it inside the zygote.

    extra_env is added to the scrubbed environment of the zygote; memory_limit_bytes is what loading may use.
    Raises ConfigError when a field is empty or the loader is not of the form module:function.
    """

    name: str
    path: str
    loader: str = "wickguard.workers.prepare:load"
    extra_env: tuple[tuple[str, str], ...] = ()
    memory_limit_bytes: int | None = None

    def __post_init__(self) -> None:
        if not self.name or len(self.name) > 200:
            raise ConfigError("a model needs a name of 1 to 200 characters")
        if not _LOADER.fullmatch(self.loader):
            raise ConfigError(f"loader {self.loader!r} is not module:function")


class WorkerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many workers, how large a grant may be, when a worker is recycled. Raises ConfigError out of range.

    slots, long_slots: calls of each lane that may run at once (0 = cores, and cores - 1 but at least 1).
    spares: ready workers beyond the slots, per model and lane, so that a kill costs nobody else anything.
    long_nice: niceness of long-lane workers; 5 is weight 335 against 1024, so a long call still gets a quarter of a
    contended core. idle_class: put the long lane into SCHED_IDLE instead.
    max_grant_bytes: hard RLIMIT_DATA above what a new worker has; no grant can be larger.
    recycle_*: a worker retires after so many calls, when so much memory stays behind, or (always) after each call.
    """

    slots: int = 0
    long_slots: int = 0
    spares: int = 1
    long_nice: int = 5
    idle_class: bool = False
    max_grant_bytes: int = 4 * GIB
    max_job_bytes: int = 16 * MIB
    max_result_bytes: int = 64 * MIB
    recycle_calls: int = 1000
    recycle_retained_bytes: int = 32 * MIB
    recycle_rss_bytes: int = 128 * MIB
    recycle_always: bool = False
    start_timeout_s: float = 120.0
    birth_timeout_s: float = 10.0
    backoff_base_s: float = 0.1
    backoff_max_s: float = 10.0

    def __post_init__(self) -> None:
        for name, low, high in (
            ("slots", 0, 1024),
            ("long_slots", 0, 1024),
            ("spares", 1, 64),
            ("long_nice", 0, 19),
            ("max_grant_bytes", MIB, 1 << 46),
            ("max_job_bytes", KIB, GIB),
            ("max_result_bytes", KIB, GIB),
            ("recycle_calls", 1, 10**9),
            ("recycle_retained_bytes", 0, 1 << 46),
            ("recycle_rss_bytes", MIB, 1 << 46),
            ("start_timeout_s", 0.1, 86_400),
            ("birth_timeout_s", 0.1, 600),
            ("backoff_base_s", 0.001, 60),
            ("backoff_max_s", 0.001, 3600),
        ):
            if not low <= getattr(self, name) <= high:
                raise ConfigError(f"workers.{name} is {getattr(self, name)}; accepted: {low} to {high}")

    def calls(self, lane: Lane) -> int:
        """Calls of `lane` that may run at once, on an idle server."""
        slots = self.slots or usable_cores()
        if lane is Lane.SHORT:
            return slots
        return min(slots, self.long_slots or max(1, slots - 1))

    def workers(self, lane: Lane) -> int:
        """Processes to keep alive per model in `lane`, spares included."""
        return self.calls(lane) + self.spares
