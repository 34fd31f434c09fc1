"""The policies: nine ways to admit, each with one thing more than the one before (the first four are what others do).

P0 lets everything in, P1 counts requests per second, P2 bounds the queue and drops what waited too long when it is standing
(CoDel-like), P3 charges compute-seconds when a call has ended. P4 to P8 are the server's own gate: P4 reserves before, settles
after and asks whether the deadline can be met, in one queue, earliest deadline first; P5 kills at the grant; P6 is fair among
tenants; P7 caps groups; P8 has lanes, breakers, quarantine, the safety net and memory shares: it is the server's gate as it is.
What a policy does without is switched off by a trivial part or setting, never by other code.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from benches.simulator.attacks import Attack
from benches.simulator.gated import Features, Gated
from benches.simulator.workload import CORES, Request
from benches.simulator.world import End, Policy, Start
from wickguard.control.bucket import Bucket, Limit, grains

# P1: what any good tenant stays under.
REQUESTS = Limit(10.0, 20.0)
# P2: as many may wait; a queue is standing when the least wait of an interval is above the target (folly's Codel.cpp).
MOST_WAITING = 64
TARGET_S, INTERVAL_S = 0.05, 0.5
STRANGER_RATE = 0.1


class Fifo:
    """One queue in order of arrival, nothing else (P0). What others do is added by subclasses."""

    confines = False

    def __init__(self) -> None:
        self._waiting: deque[Request] = deque()
        self._running = 0

    def arrive(self, now: float, request: Request) -> str:
        """See Policy."""
        self._waiting.append(request)
        return ""

    def turns(self, now: float) -> list[Start]:
        """See Policy."""
        found = []
        while self._waiting and self._running < CORES:
            request = self._waiting.popleft()
            late = self._late(now, request)
            self._running += not late
            found.append(Start(request.id, refused="waited too long" if late else ""))
        return found

    def leave(self, now: float, request: Request) -> None:
        """See Policy. Nobody looks whether the client is still there."""
        self._waiting.remove(request)

    def finish(self, now: float, request: Request, end: End) -> None:
        """See Policy."""
        self._running -= 1

    def _late(self, now: float, request: Request) -> bool:
        return False


class Counted(Fifo):
    """P1: so many requests per second of each tenant or address."""

    def __init__(self) -> None:
        super().__init__()
        self._buckets: dict[str, Bucket] = {}

    def arrive(self, now: float, request: Request) -> str:
        """See Policy."""
        bucket = self._buckets.setdefault(request.tenant.name, Bucket(now))
        if bucket.reserve(now, REQUESTS, 1.0):
            return "too many requests"
        bucket.settle(now, REQUESTS, 1.0, 1.0)
        return super().arrive(now, request)


class Bounded(Fifo):
    """P2: a bounded queue that drops what waited twice the target while its least wait is above the target."""

    def __init__(self) -> None:
        super().__init__()
        self._least, self._until, self._standing = math.inf, 0.0, False

    def arrive(self, now: float, request: Request) -> str:
        """See Policy."""
        return "queue full" if len(self._waiting) >= MOST_WAITING else super().arrive(now, request)

    def _late(self, now: float, request: Request) -> bool:
        if now >= self._until:
            self._standing, self._least, self._until = self._least > TARGET_S, math.inf, now + INTERVAL_S
        waited_s = now - request.at
        self._least = min(self._least, waited_s)
        return self._standing and waited_s > 2 * TARGET_S


class PostPaid(Fifo):
    """P3: compute-seconds of each tenant or address, charged when a call has ended."""

    def __init__(self, dearest_s: float) -> None:
        super().__init__()
        self._buckets: dict[str, Bucket] = {}
        self._least_depth = 1.2 * dearest_s

    def arrive(self, now: float, request: Request) -> str:
        """See Policy."""
        limit = self._limit(request)
        bucket = self._buckets.setdefault(request.tenant.name, Bucket(now))
        return "quota" if bucket.wait_s(now, limit, 0.0) else super().arrive(now, request)

    def finish(self, now: float, request: Request, end: End) -> None:
        """See Policy."""
        super().finish(now, request, end)
        bucket = self._buckets[request.tenant.name]
        bucket.settle(now, self._limit(request), 0.0, grains(end.usage.cpu_s))

    def _limit(self, request: Request) -> Limit:
        rate = request.tenant.rate or STRANGER_RATE
        return Limit(rate, max(10.0 * rate, self._least_depth))


@dataclass(frozen=True, slots=True)
class Row:
    """A policy of the ablation."""

    name: str
    title: str
    build: Callable[[Attack], Policy]


def _gated(**features: bool) -> Callable[[Attack], Policy]:
    return lambda attack: Gated(Features(**features), attack.dearest_s)


POLICIES = (
    Row("P0", "none", lambda attack: Fifo()),
    Row("P1", "req/s bucket", lambda attack: Counted()),
    Row("P2", "queue cap, CoDel-like", lambda attack: Bounded()),
    Row("P3", "cost bucket, post-paid", lambda attack: PostPaid(attack.dearest_s)),
    Row("P4", "cost reserve, settle, deadline", _gated()),
    Row("P5", "+ kill", _gated(kills=True)),
    Row("P6", "+ fair queue", _gated(kills=True, fair=True)),
    Row("P7", "+ pool cap", _gated(kills=True, fair=True, pools=True)),
    Row("P8", "full", _gated(kills=True, fair=True, pools=True, full=True)),
)
