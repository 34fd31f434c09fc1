"""The applicant: a call that asks to be let in, what stands in its way, and how its work ended; the gate's own nouns.

Decides nothing but the scalar price. All plain data: the server, the simulator and the backtest make the same records from
what they have. Times are seconds of whatever clock they use.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from wickguard.control.breaker import Verdict
from wickguard.control.fair_queue import Ticket
from wickguard.control.ladder import Level, Trust
from wickguard.control.lease import Demand
from wickguard.control.panel import Subject
from wickguard.records import Company, Cost


@dataclass(frozen=True, slots=True)
class Applicant:
    """A call at the gate. ticket.price_s is what it is expected to cost, demand.price_s what is reserved for it.

    wall_s: how long it runs, at the 90th percentile. digest: of its exact content, computed only when it is needed.
    """

    ticket: Ticket
    subject: Subject
    trust: Trust
    levels: tuple[Level, ...]
    demand: Demand
    wall_s: float
    digest: Callable[[], bytes]


class Barrier(StrEnum):
    """What stands in the way. Closed: guard/admit.py has a row for each."""

    POISON = "poison"
    OWN_BREAKER = "own breaker"
    SHARED_BREAKER = "shared breaker"
    MEMORY = "memory"
    INFEASIBLE = "infeasible"
    BEYOND_QUOTA = "beyond quota"
    QUOTA = "quota"
    GROUP = "group"
    OWN_QUEUE = "own queue"
    QUEUE = "queue"
    WAIT = "wait"
    STANDING = "standing queue"
    OVERRUN = "overrun"
    LATE = "late"


class Denial(msgspec.Struct, frozen=True, gc=False):
    """Why a call may not go on: what was seen against which limit, and the seconds after which it is worth trying again (0:
    never). `where` is the name of the level or breaker.
    """

    barrier: Barrier
    limit: float
    seen: float
    wait_s: float = 0.0
    where: str = ""


class Turn(msgspec.Struct, frozen=True):
    """A waiting call's turn has come: it holds its slot and bytes now, or its denial.

    trial: run it where nobody would miss the worker. suspect: it has ended a worker before and gets a smaller grant.
    company: the calls that share the slot, this one included.
    """

    id: str
    queued_s: float
    trial: bool = False
    suspect: bool = False
    denial: Denial | None = None
    company: Company | None = None


@dataclass(frozen=True, slots=True)
class Ending:
    """How the work of a call ended. cpu_s: what is to be charged as used, in the currency of prices. killed_s: None when its
    worker lives on, else what ending it and a new one cost.
    """

    cpu_s: float
    tokens: int
    verdict: Verdict
    killed_s: float | None = None


def scalar_price(cost: Cost, cores: float, memory_bytes: int) -> float:
    """Compute-seconds that `cost` takes from everybody else: its CPU time, or the share of the memory that it holds times the
    cores that could have used it meanwhile, whichever is more (dominant resource, Ghodsi et al., NSDI 2011).
    """
    return max(cost.cpu_s, cost.wall_s * cost.peak_bytes / memory_bytes * cores)
