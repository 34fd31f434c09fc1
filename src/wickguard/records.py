"""Records: the nouns that the pipeline hands on.

    RawRequest -> Call -> Quote -> Grant -> Outcome -> Receipt

The type of each stage's result is the type of the next stage's argument. Every record is frozen: a stage that wants to
say something else makes a new one. Units are in the names (`_s` seconds, `_bytes` bytes). This module must not know HTTP,
processes, or how any number was found.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import msgspec

from wickguard.deadline import Deadline


class Pool(StrEnum):
    """Callers with a key, and those without."""

    KEYED = "keyed"
    ANONYMOUS = "anonymous"


class Lane(StrEnum):
    """Where a call may run: a share of the slots is closed to long calls."""

    SHORT = "short"
    LONG = "long"


class Caller(msgspec.Struct, frozen=True, gc=False):
    """Who is charged. `tenant` is the quota partition, `prefix` the address prefix the request came from."""

    tenant: str
    pool: Pool
    prefix: str
    key_id: str | None = None


@dataclass(frozen=True, slots=True)
class RawRequest:
    """What the edge let in: a body under its byte limit, from a known caller, for a known route. media: its type.

    path: as it was asked for, where the route has a place for a name. json_bytes: how much of the body is JSON, as the head
    spells it; "" for all of it.
    """

    id: str
    route: str
    caller: Caller
    body: bytes
    deadline: Deadline
    received_at: float
    media: str = "application/json"
    query: bytes = b""
    path: str = ""
    json_bytes: bytes = b""


class Features(Protocol):
    """What a call will cost, as numbers known before running it. Each modality has its own frozen record of them."""

    def as_dict(self) -> dict[str, int]:
        """Name to value, for the audit log and the cost model."""
        ...


class Delivery(StrEnum):
    """How an answer comes: whole, or in pieces while it is computed, with the counts of tokens at the end or without."""

    WHOLE = "whole"
    PIECES = "pieces"
    PIECES_AND_USAGE = "pieces_and_usage"


@dataclass(frozen=True, slots=True)
class Call:
    """A decoded request: typed, measured, inside the envelope. `payload` is what the worker gets, already encoded.

    answer_bytes: the most that its answer can have, when that may be large; room is held for it until it is read. batch: calls
    with the same word could run as one job; "" for a call that runs alone. note: what its endpoint needs again for
    rendering, in its own encoding.
    """

    id: str
    route: str
    caller: Caller
    model: str
    payload: bytes
    features: Features
    deadline: Deadline
    batch: str = ""
    note: bytes = b""
    delivery: Delivery = Delivery.WHOLE
    answer_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Cost:
    """Use of the machine, predicted or measured: CPU-seconds of all threads, seconds on the wall, peak bytes above idle."""

    cpu_s: float
    wall_s: float
    peak_bytes: int


@dataclass(frozen=True, slots=True)
class Quote:
    """A price, three times: expected (the median), reserve (the 95th percentile, taken out of quotas and queues), and the
    ceiling that no call with these features can honestly exceed (the grant).

    feature_class: calls of about the same size, which are priced, fail and drift together. spread: the standard deviation
    of ln(actual / expected) in that class. shared_s: of the expected CPU-seconds, those that calls which run together use once
    and not each.
    """

    expected: Cost
    reserve: Cost
    ceiling: Cost
    lane: Lane
    feature_class: str
    spread: float
    shared_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Company:
    """Calls that got one slot together, to run as one job: its name, and how many there are."""

    id: str
    size: int


@dataclass(frozen=True, slots=True)
class Grant:
    """What an admitted call holds until it is settled. `limits` is what the kernel enforces on the worker.

    trial: run it in a worker that nobody would miss, which ends with the call.
    """

    call: Call
    quote: Quote
    limits: Cost
    lane: Lane
    memory_bytes: int
    admitted_at: float
    queued_s: float
    trial: bool = False
    company: Company | None = None


class OutcomeKind(StrEnum):
    """How an execution ended. Closed: the settlement table in guard/settle.py has a row for each."""

    COMPLETED = "completed"
    REFUSED_BY_WORKER = "refused_by_worker"
    FAILED = "failed"
    EXPIRED_CPU = "expired_cpu"
    EXPIRED_WALL = "expired_wall"
    OUT_OF_MEMORY = "out_of_memory"
    CRASHED = "crashed"
    ABANDONED = "abandoned"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the backend reports when the work has stopped: the process is idle again or has been reaped.

    usage is measured, also for killed calls: CPU-seconds from the kernel's account of the process, peak bytes from the
    allocator's ledger. result is the worker's encoded answer (COMPLETED) or None. detail is for people and logs.
    respawn_s: when the worker died for this call, what ending it and making its replacement cost, in CPU-seconds.
    """

    kind: OutcomeKind
    usage: Cost
    result: bytes | None = None
    detail: str = ""
    worker: int = 0
    retryable: bool = False
    respawn_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Receipt:
    """What settling did: what the tenant was charged, and what it got back of what was reserved, in compute-seconds.

    tokens: those that were counted.
    """

    call_id: str
    outcome: OutcomeKind
    charged_s: float
    refunded_s: float
    tokens: int = 0
