"""Worker settings: what an operator may choose about the cage, and the ranges within which it stays one.

`WorkerSettings` is the same for every model, `ZygoteSpec` names one model and how it is loaded. Both are checked when
they are made, so nothing below has to doubt a number, and both cross process borders as msgpack, hence msgspec
structs. This module must not know what the processes do with the numbers.
"""

from __future__ import annotations

import os
import re
from typing import Annotated

import msgspec
from msgspec import Meta

from wickguard.errors import ConfigError
from wickguard.records import Lane
from wickguard.setting import check
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
    """How many workers, how large a grant may be, when a worker is recycled.

    slots: calls that may run at once; 0 = cores.
    long_slots: of these, how many may be long; 0 = slots - 1, but at least 1.
    spares: ready workers beyond the slots, per model and lane, so that a kill costs nobody else anything.
    long_nice: niceness of long-lane workers; 5 is weight 335 against 1024: a long call still gets a quarter of a contended
        core.
    idle_class: put the long lane into SCHED_IDLE instead.
    max_grant_bytes: hard RLIMIT_DATA above what a new worker has; no grant can be larger.
    max_job_bytes: of one call on its way to a worker.
    max_result_bytes: of one answer on its way back.
    recycle_calls: a worker retires after so many calls.
    recycle_retained_bytes: a worker retires when so much allocated memory stays behind after a call.
    recycle_rss_bytes: a worker retires when its resident set has grown by so much.
    recycle_always: a worker retires after each call.
    start_timeout_s: for loading a model.
    birth_timeout_s: for a new worker to be ready.
    backoff_base_s: first wait before what keeps dying is started again.
    backoff_max_s: longest such wait.

    Raises SettingError out of range.
    """

    slots: Annotated[int, Meta(ge=0, le=1024)] = 0
    long_slots: Annotated[int, Meta(ge=0, le=1024)] = 0
    spares: Annotated[int, Meta(ge=1, le=64)] = 1
    long_nice: Annotated[int, Meta(ge=0, le=19)] = 5
    idle_class: bool = False
    max_grant_bytes: Annotated[int, Meta(ge=MIB, le=1 << 46)] = 4 * GIB
    max_job_bytes: Annotated[int, Meta(ge=KIB, le=GIB)] = 16 * MIB
    max_result_bytes: Annotated[int, Meta(ge=KIB, le=GIB)] = 64 * MIB
    recycle_calls: Annotated[int, Meta(ge=1, le=10**9)] = 1000
    recycle_retained_bytes: Annotated[int, Meta(ge=0, le=1 << 46)] = 32 * MIB
    recycle_rss_bytes: Annotated[int, Meta(ge=MIB, le=1 << 46)] = 128 * MIB
    recycle_always: bool = False
    start_timeout_s: Annotated[float, Meta(ge=0.1, le=86_400)] = 120.0
    birth_timeout_s: Annotated[float, Meta(ge=0.1, le=600)] = 10.0
    backoff_base_s: Annotated[float, Meta(ge=0.001, le=60)] = 0.1
    backoff_max_s: Annotated[float, Meta(ge=0.001, le=3600)] = 10.0

    def __post_init__(self) -> None:
        check(self)

    def calls(self, lane: Lane) -> int:
        """Calls of `lane` that may run at once, on an idle server."""
        slots = self.slots or usable_cores()
        if lane is Lane.SHORT:
            return slots
        return min(slots, self.long_slots or max(1, slots - 1))

    def workers(self, lane: Lane) -> int:
        """Processes to keep alive per model in `lane`, spares included."""
        return self.calls(lane) + self.spares
