"""The fair queue: which waiting call starts next.

The party that has been served least in compute-seconds, over its weight, is served next (contest.py). A party is a tenant, or a
crowd: callers whose names cost nothing are one party together, or three hundred of them would have three hundred shares; within
a crowd they contend in the same way. Inside a tenant the earliest deadline goes first. Every (tenant, lane) has its own order
and short calls are compared by short calls, so that a long call of a tenant never sets its short ones back; between a short
call and a long one the party that was served least of everything decides, and inside a tenant the short one. And yet long calls
don't starve: while some wait, a floor of the compute-seconds that are handed out goes to them.

Promises: O(log n) per tenant queue plus one scan over tenants that wait; backlogged parties of one lane are served within one
largest price over weight of each other, and so are the tenants of a crowd; the floor takes from that at most one long price;
sums are exact (of grains). Pure: it holds no clock and starts nothing. It must not know what a call is.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field

from wickguard.control.bucket import grains
from wickguard.control.contest import Contender, Contest
from wickguard.records import Lane


@dataclass(frozen=True, slots=True)
class Ticket:
    """A waiting call: its tenant, lane, price in compute-seconds, bytes that it needs to start, deadline, the weight of its
    tenant (2: twice the share of 1), and what it may run together with (calls of the same word; "": alone).
    """

    id: str
    tenant: str
    lane: Lane
    price_s: float
    memory_bytes: int
    deadline_at: float
    weight: float = 1.0
    batch: str = ""


@dataclass(slots=True)
class _Party:
    """A tenant of its own, or a crowd with a contest inside."""

    contender: Contender
    contest: Contest
    backlog_s: dict[Lane, float] = field(default_factory=lambda: dict.fromkeys(Lane, 0.0))


@dataclass(slots=True)
class _Tenant:
    contender: Contender
    party: _Party
    waiting: dict[Lane, list[tuple[float, int, str]]] = field(default_factory=lambda: {lane: [] for lane in Lane})
    backlog_s: dict[Lane, float] = field(default_factory=lambda: dict.fromkeys(Lane, 0.0))
    removed: dict[Lane, int] = field(default_factory=lambda: dict.fromkeys(Lane, 0))

    def rank(self, lane: Lane) -> tuple[float, float]:
        """Who has least goes first: among parties, then within one."""
        return self.party.contender.spent[lane], self.contender.spent[lane]


class FairQueue:
    """Waiting tickets of all tenants. long_floor: the part of what is handed out that goes to long calls while some wait."""

    def __init__(self, long_floor: float = 0.25, max_idle: int = 4096) -> None:
        self._tenants: dict[str, _Tenant] = {}
        self._parties: dict[str, _Party] = {}
        self._contest = Contest(max_idle)
        self._tickets: dict[str, Ticket] = {}
        self._max_idle = max_idle
        self._sequence = 0
        self._total_s = dict.fromkeys(Lane, 0.0)
        self._count = dict.fromkeys(Lane, 0)
        self.adopt(long_floor)
        # What each lane was handed out, over its part; the long lane is owed while it is behind.
        self._handed = dict.fromkeys(Lane, 0.0)

    def __len__(self) -> int:
        return len(self._tickets)

    def adopt(self, long_floor: float) -> None:
        """Another floor from now on."""
        self._floor = {Lane.LONG: long_floor, Lane.SHORT: 1.0 - long_floor}

    def backlog_s(self, tenant: str, lane: Lane) -> float:
        """Predicted seconds of work that `tenant` has waiting in `lane`."""
        found = self._tenants.get(tenant)
        return found.backlog_s[lane] if found else 0.0

    def total_s(self, lane: Lane) -> float:
        """Predicted seconds of work waiting in `lane`, of all tenants."""
        return self._total_s[lane]

    def ahead_s(self, ticket: Ticket, crowd: str = "") -> float:
        """Predicted seconds of work that run before `ticket` would: its tenant's own, and of every other tenant of its crowd
        and of every other party at most as much, weighted.
        """
        lane, own = ticket.lane, self.backlog_s(ticket.tenant, ticket.lane)
        party, weight = self._parties.get(crowd or ticket.tenant), ticket.weight
        if crowd:
            each, weight = (own + ticket.price_s) / ticket.weight, 1.0
            own += sum(
                min(other.backlog_s[lane], each * other.contender.weight)
                for name, other in self._tenants.items()
                if other.party is party and name != ticket.tenant
            )
        each = (own + ticket.price_s) / weight
        return own + sum(
            min(other.backlog_s[lane], each * other.contender.weight)
            for other in self._parties.values()
            if other is not party
        )

    def push(self, ticket: Ticket, crowd: str = "") -> None:
        """Add a ticket; its id must be new. crowd: whose party its tenant shares."""
        tenant, lane, price_s = self._enter(ticket, crowd), ticket.lane, grains(ticket.price_s)
        if lane is Lane.LONG and not self._count[Lane.LONG]:
            # Nothing is saved up while no long call waits.
            self._handed[Lane.LONG] = self._handed[Lane.SHORT] = 0.0
        self._sequence += 1
        heapq.heappush(tenant.waiting[lane], (ticket.deadline_at, self._sequence, ticket.id))
        self._tickets[ticket.id] = ticket
        self._count[lane] += 1
        for account in (tenant.backlog_s, tenant.party.backlog_s, self._total_s):
            account[lane] += price_s

    def pop(self, can_start: Callable[[Ticket], bool]) -> Ticket | None:
        """Take the ticket that starts next, or None when none can; its tenant is charged its price.

        `can_start` says whether slots and memory allow the ticket now. Only the head of each (tenant, lane) is asked.
        """
        ticket = self._choose(can_start)
        if ticket is None:
            return None
        lane, tenant = ticket.lane, self._tenants[ticket.tenant]
        if lane is Lane.SHORT or self._handed[Lane.LONG] <= self._handed[Lane.SHORT]:
            # What long calls get beyond their floor is not held against them.
            self._handed[lane] += ticket.price_s / max(1e-9, self._floor[lane])
        self._drop(ticket)
        for contender in (tenant.party.contender, tenant.contender):
            contender.charge(lane, ticket.price_s)
        return ticket

    def remove(self, ticket_id: str) -> bool:
        """Take a waiting ticket out (its caller left or its deadline passed). False when it does not wait."""
        ticket = self._tickets.get(ticket_id)
        if ticket is None:
            return False
        self._drop(ticket)
        self._leave(self._tenants[ticket.tenant])
        return True

    def settle(self, ticket: Ticket, actual_s: float) -> None:
        """A started call has stopped: correct its counters from price to what was used."""
        tenant = self._tenants[ticket.tenant]
        for contender in (tenant.party.contender, tenant.contender):
            contender.charge(ticket.lane, actual_s - ticket.price_s)
        self._leave(tenant)

    def _choose(self, can_start: Callable[[Ticket], bool]) -> Ticket | None:
        long = self._next(Lane.LONG, can_start) if self._count[Lane.LONG] else None
        if long is not None and self._handed[Lane.LONG] < self._handed[Lane.SHORT]:
            return long
        short = self._next(Lane.SHORT, can_start) if self._count[Lane.SHORT] else None
        if long is None or short is None:
            return long or short
        ranks = [self._tenants[ticket.tenant].rank(Lane.LONG) for ticket in (long, short)]
        return long if ranks[0] < ranks[1] else short

    def _next(self, lane: Lane, can_start: Callable[[Ticket], bool]) -> Ticket | None:
        best: Ticket | None = None
        least = (0.0, 0.0)
        for tenant in self._tenants.values():
            if not tenant.waiting[lane] or (best is not None and tenant.rank(lane) >= least):
                continue
            ticket = self._head(tenant, lane)
            if ticket is not None and can_start(ticket):
                best, least = ticket, tenant.rank(lane)
        return best

    def _head(self, tenant: _Tenant, lane: Lane) -> Ticket | None:
        # Removed tickets stay in the heap until they surface or are too many, so that removal is O(1) on average.
        waiting = tenant.waiting[lane]
        while waiting and waiting[0][2] not in self._tickets:
            heapq.heappop(waiting)
            tenant.removed[lane] -= 1
        return self._tickets[waiting[0][2]] if waiting else None

    def _drop(self, ticket: Ticket) -> None:
        tenant, lane = self._tenants[ticket.tenant], ticket.lane
        del self._tickets[ticket.id]
        self._count[lane] -= 1
        tenant.removed[lane] += 1
        price_s = grains(ticket.price_s)
        for account in (tenant.backlog_s, tenant.party.backlog_s, self._total_s):
            account[lane] -= price_s
        if self._head(tenant, lane) is not None and 2 * tenant.removed[lane] > len(tenant.waiting[lane]):
            # Else a caller that queues and leaves, behind one call of its own that stays, would spend our memory until
            # that one's deadline.
            tenant.waiting[lane] = [entry for entry in tenant.waiting[lane] if entry[2] in self._tickets]
            heapq.heapify(tenant.waiting[lane])
            tenant.removed[lane] = 0

    def _enter(self, ticket: Ticket, crowd: str) -> _Tenant:
        tenant = self._tenants.get(ticket.tenant)
        # Whoever is here keeps its party, also when the operator has just taken it out of a crowd.
        name = tenant.party.contender.name if tenant is not None else crowd or ticket.tenant
        contender = self._contest.enter(name)
        party = self._parties.get(name)
        if party is None:
            party = self._parties[name] = _Party(contender, Contest(self._max_idle))
        member = party.contest.enter(ticket.tenant)
        if tenant is None:
            tenant = self._tenants[ticket.tenant] = _Tenant(member, party)
        member.weight = ticket.weight
        # A crowd is as much as one ordinary tenant.
        contender.weight = ticket.weight if name == ticket.tenant else 1.0
        return tenant

    def _leave(self, tenant: _Tenant) -> None:
        party = tenant.party
        if party.contest.leave(tenant.contender):
            del self._tenants[tenant.contender.name]
        if self._contest.leave(party.contender):
            del self._parties[party.contender.name]
