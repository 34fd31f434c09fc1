"""The fair queue: which waiting call starts next.

Each tenant has a virtual counter in compute-seconds; the tenant with the smallest counter among those with a call that can
start is served, and its counter grows by the call's price over its weight (virtual token counter, Sheng et al., OSDI 2024). A
tenant that comes back from idle is lifted to the smallest counter of the active ones, so that idling saves nothing up. Inside
a tenant the earliest deadline goes first. Every (tenant, lane) has its own order: a tenant's long call never blocks its short
one. Short calls go first inside a tenant, and yet long ones don't starve: while long calls wait, a floor of the compute-seconds
that are handed out goes to them.

Promises: O(log n) per tenant queue plus one scan over tenants that wait; backlogged tenants of one lane are served within one
largest price over weight of each other, and the floor takes from that at most one long price; counters of idle tenants are
forgotten once they owe nothing, and at most `max_idle` are kept. Pure: it holds no clock and starts nothing. It must not know
what a call is.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from wickguard.records import Lane


@dataclass(frozen=True, slots=True)
class Ticket:
    """A waiting call: its tenant, lane, price in compute-seconds, bytes that it needs to start, deadline, and the weight of
    its tenant (2: twice the share of 1).
    """

    id: str
    tenant: str
    lane: Lane
    price_s: float
    memory_bytes: int
    deadline_at: float
    weight: float = 1.0


@dataclass(slots=True)
class _Tenant:
    counter: float
    weight: float = 1.0
    waiting: dict[Lane, list[tuple[float, int, str]]] = field(default_factory=lambda: {lane: [] for lane in Lane})
    backlog_s: dict[Lane, float] = field(default_factory=lambda: dict.fromkeys(Lane, 0.0))
    removed: dict[Lane, int] = field(default_factory=lambda: dict.fromkeys(Lane, 0))
    running: int = 0

    @property
    def idle(self) -> bool:
        return self.running == 0 and not any(self.waiting.values())


class FairQueue:
    """Waiting tickets of all tenants. long_floor: the part of what is handed out that goes to long calls while some wait."""

    def __init__(self, long_floor: float = 0.25, max_idle: int = 4096) -> None:
        self._active: dict[str, _Tenant] = {}
        self._idle: OrderedDict[str, float] = OrderedDict()
        self._tickets: dict[str, Ticket] = {}
        self._max_idle = max_idle
        self._sequence = 0
        self._floor = {Lane.LONG: long_floor, Lane.SHORT: 1.0 - long_floor}
        # What each lane was handed out, over its part; the long lane is owed while it is behind.
        self._handed = dict.fromkeys(Lane, 0.0)

    def __len__(self) -> int:
        return len(self._tickets)

    def backlog_s(self, tenant: str, lane: Lane) -> float:
        """Predicted seconds of work that `tenant` has waiting in `lane`."""
        found = self._active.get(tenant)
        return found.backlog_s[lane] if found else 0.0

    def total_s(self, lane: Lane) -> float:
        """Predicted seconds of work waiting in `lane`, of all tenants."""
        return sum(tenant.backlog_s[lane] for tenant in self._active.values())

    def ahead_s(self, tenant: str, lane: Lane, price_s: float, weight: float = 1.0) -> float:
        """Predicted seconds of work that run before another call of `tenant` at this price starts: its own, and of every
        other tenant at most as much, weighted.
        """
        own = self.backlog_s(tenant, lane)
        each = (own + price_s) / weight
        others = sum(
            min(other.backlog_s[lane], each * other.weight)
            for name, other in self._active.items()
            if name != tenant and other.backlog_s[lane] > 0
        )
        return own + others

    def push(self, ticket: Ticket) -> None:
        """Add a ticket; its id must be new."""
        tenant = self._activate(ticket.tenant)
        tenant.weight = ticket.weight
        if ticket.lane is Lane.LONG and not any(other.waiting[Lane.LONG] for other in self._active.values()):
            # Nothing is saved up while no long call waits.
            self._handed[Lane.LONG] = self._handed[Lane.SHORT] = 0.0
        self._sequence += 1
        heapq.heappush(tenant.waiting[ticket.lane], (ticket.deadline_at, self._sequence, ticket.id))
        tenant.backlog_s[ticket.lane] += ticket.price_s
        self._tickets[ticket.id] = ticket

    def pop(self, can_start: Callable[[Ticket], bool]) -> Ticket | None:
        """Take the ticket that starts next, or None when none can; its tenant is charged its price.

        `can_start` says whether slots and memory allow the ticket now. Only the head of each (tenant, lane) is asked.
        """
        owed = self._handed[Lane.LONG] < self._handed[Lane.SHORT]
        ticket = self._next(can_start, (Lane.LONG,)) if owed else None
        ticket = ticket or self._next(can_start, tuple(Lane))
        if ticket is None:
            return None
        if ticket.lane is Lane.SHORT or self._handed[Lane.LONG] <= self._handed[Lane.SHORT]:
            # What long calls get beyond their floor is not held against them.
            self._handed[ticket.lane] += ticket.price_s / max(1e-9, self._floor[ticket.lane])
        tenant = self._active[ticket.tenant]
        self._drop(ticket)
        tenant.counter += ticket.price_s / ticket.weight
        tenant.running += 1
        return ticket

    def remove(self, ticket_id: str) -> bool:
        """Take a waiting ticket out (its caller left or its deadline passed). False when it does not wait."""
        ticket = self._tickets.get(ticket_id)
        if ticket is None:
            return False
        self._drop(ticket)
        self._retire(ticket.tenant)
        return True

    def settle(self, ticket: Ticket, actual_s: float) -> None:
        """A started call has stopped: correct its tenant's counter from price to what was used."""
        tenant = self._active[ticket.tenant]
        tenant.counter = max(0.0, tenant.counter + (actual_s - ticket.price_s) / ticket.weight)
        tenant.running -= 1
        self._retire(ticket.tenant)

    def _next(self, can_start: Callable[[Ticket], bool], lanes: tuple[Lane, ...]) -> Ticket | None:
        best: tuple[float, Ticket] | None = None
        for tenant in self._active.values():
            if best is not None and tenant.counter >= best[0]:
                continue
            for lane in lanes:
                ticket = self._head(tenant, lane)
                if ticket is not None and can_start(ticket):
                    best = (tenant.counter, ticket)
                    break
        return best[1] if best is not None else None

    def _head(self, tenant: _Tenant, lane: Lane) -> Ticket | None:
        # Removed tickets stay in the heap until they surface or are too many, so that removal is O(1) on average.
        waiting = tenant.waiting[lane]
        while waiting and waiting[0][2] not in self._tickets:
            heapq.heappop(waiting)
            tenant.removed[lane] -= 1
        return self._tickets[waiting[0][2]] if waiting else None

    def _drop(self, ticket: Ticket) -> None:
        tenant, lane = self._active[ticket.tenant], ticket.lane
        del self._tickets[ticket.id]
        tenant.removed[lane] += 1
        tenant.backlog_s[lane] -= ticket.price_s
        if self._head(tenant, lane) is None:
            tenant.backlog_s[lane] = 0.0
        elif 2 * tenant.removed[lane] > len(tenant.waiting[lane]):
            # Else a caller that queues and leaves, behind one call of its own that stays, would spend our memory until
            # that one's deadline.
            tenant.waiting[lane] = [entry for entry in tenant.waiting[lane] if entry[2] in self._tickets]
            heapq.heapify(tenant.waiting[lane])
            tenant.removed[lane] = 0

    def _activate(self, name: str) -> _Tenant:
        tenant = self._active.get(name)
        if tenant is None:
            floor = min((other.counter for other in self._active.values()), default=0.0)
            tenant = _Tenant(max(floor, self._idle.pop(name, 0.0)))
            self._active[name] = tenant
        return tenant

    def _retire(self, name: str) -> None:
        tenant = self._active[name]
        if not tenant.idle:
            return
        del self._active[name]
        floor = min((other.counter for other in self._active.values()), default=0.0)
        if not self._active:
            # Nobody is left to be compared with: debts between tenants end here.
            self._idle.clear()
        elif tenant.counter > floor:
            self._idle[name] = tenant.counter
            while len(self._idle) > self._max_idle:
                self._idle.popitem(last=False)
