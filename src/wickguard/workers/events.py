"""Events: what happens to the worker processes, told once, for metrics, logs and tests.

Frozen values; the pool calls one listener with each, in order, on its event loop. They must not carry anything of a
request.
"""

from __future__ import annotations

import msgspec

from wickguard.records import Lane
from wickguard.workers.death import Death


class WorkerBorn(msgspec.Struct, frozen=True):
    """A worker is confined and idle. birth_s: from the front's first news of it to its hello."""

    model: str
    lane: Lane
    worker: int
    pid: int
    birth_s: float


class WorkerDied(msgspec.Struct, frozen=True):
    """A worker ended and was reaped, for whatever reason but retirement. cpu_s: of its last call; signal: 0 for an exit."""

    model: str
    lane: Lane
    worker: int
    death: Death
    signal: int
    exit_code: int
    cpu_s: float
    peak_bytes: int
    busy: bool


class WorkerRecycled(msgspec.Struct, frozen=True):
    """A worker retired. reason: policy, panic, calls, retained, resident or memory."""

    model: str
    lane: Lane
    worker: int
    reason: str


class ZygoteLost(msgspec.Struct, frozen=True):
    """A zygote ended; the next one is started in retry_in_s."""

    model: str
    signal: int
    exit_code: int
    retry_in_s: float


class ModelFailed(msgspec.Struct, frozen=True):
    """A model can't be served and is not tried again."""

    model: str
    message: str


class ArbiterLost(msgspec.Struct, frozen=True):
    """The arbiter ended, and every worker with it; the next one is started in retry_in_s."""

    retry_in_s: float


WorkerEvent = WorkerBorn | WorkerDied | WorkerRecycled | ZygoteLost | ModelFailed | ArbiterLost


class PoolState(msgspec.Struct, frozen=True):
    """Counts for metrics: workers by (model, lane, state) now; deaths by kind, recycled by reason and restarts since start."""

    workers: dict[tuple[str, Lane, str], int]
    deaths: dict[Death, int]
    recycled: dict[str, int]
    zygotes_lost: int
    arbiters_lost: int
    waiting: int
    running: int
