"""Events: facts about the past, one frozen record each.

The pipeline, the worker pool and the server emit them; metrics, audit log, alerts and traces listen. Promises: plain data,
no payloads, no texts of callers beyond identifiers that we issued or bounded. It must not know who listens.
"""

from __future__ import annotations

import msgspec

from wickguard.records import Quote


class Asked(msgspec.Struct, frozen=True):
    """What a call asked of admission; all that is needed to ask again, under another policy.

    at: seconds since the epoch when it did. due_s: seconds from then to its deadline. batch: see records.Call.
    """

    at: float
    due_s: float
    quote: Quote
    batch: str = ""


class Event(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Base of all events. `at` is seconds since the epoch, for logs."""

    at: float


class RequestReceived(Event, frozen=True, kw_only=True):
    """A request head was accepted by the edge."""

    route: str


class RequestRejected(Event, frozen=True, kw_only=True):
    """A request was refused before it held a grant."""

    request_id: str
    route: str
    tenant: str
    pool: str
    reason: str
    status: int
    stage: str
    detail: str
    body_bytes: int
    elapsed_s: float
    model: str | None = None
    features: dict[str, int] | None = None
    limit: float | None = None
    seen: float | None = None
    key_id: str | None = None
    asked: Asked | None = None


class CallAdmitted(Event, frozen=True, kw_only=True):
    """A call got its grant and goes to the backend."""

    request_id: str
    tenant: str
    model: str
    lane: str
    queued_s: float


class CallSettled(Event, frozen=True, kw_only=True):
    """A call has ended and every hold is released: who, what it was, what it was quoted and granted, what it used."""

    request_id: str
    route: str
    tenant: str
    pool: str
    key_id: str | None
    model: str
    lane: str
    features: dict[str, int]
    quoted_cpu_s: float
    quoted_bytes: int
    granted_cpu_s: float
    granted_wall_s: float
    granted_bytes: int
    queued_s: float
    cpu_s: float
    wall_s: float
    peak_bytes: int
    outcome: str
    charged_s: float
    worker: int
    status: int
    reason: str | None
    elapsed_s: float
    body_bytes: int = 0
    tokens: int = 0
    retryable: bool = False
    respawn_s: float = 0.0
    asked: Asked | None = None


class WorkerStarted(Event, frozen=True, kw_only=True):
    """A worker process is ready."""

    model: str
    lane: str
    worker: int


class WorkerEnded(Event, frozen=True, kw_only=True):
    """A worker process has been reaped; `how` is a closed set (recycled, killed, crashed, ...)."""

    model: str
    lane: str
    worker: int
    how: str
    cpu_s: float


class SupervisionLost(Event, frozen=True, kw_only=True):
    """A zygote or the arbiter died and is being replaced."""

    what: str
    model: str | None


class SwarmSeen(Event, frozen=True, kw_only=True):
    """Many identities that nobody vouches for attack together: the cap of their group is lowered for a while."""


class PriceDrifted(Event, frozen=True, kw_only=True):
    """Calls of this class cost more than they are priced at, for sure: calibrate the model again."""

    model: str
    feature_class: str


class PolicyInForce(Event, frozen=True, kw_only=True):
    """A policy is in force from now on, and this is what it means here: see assembly.Site."""

    capacity: float
    memory_bytes: int
    slots: int
    long_slots: int
    dearest_s: float
    median_s: float
    tenants: int


class PolicyReloaded(Event, frozen=True, kw_only=True):
    """The server was asked to take over a changed policy. changed: keys that differ. refused: why nothing was taken over, or
    None when all of it is in force.
    """

    changed: tuple[str, ...]
    refused: str | None = None


class AuditDropped(Event, frozen=True, kw_only=True):
    """The audit log could not keep up; `count` lines are missing."""

    count: int
