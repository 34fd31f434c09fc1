"""The fair queue: which waiting call starts next.

The party that has been served least in compute-seconds, over its weight, is served next (contest.py). A party is a tenant, or a
crowd: callers whose names cost nothing are one party together, or three hundred of them would have three hundred shares; within
a crowd they contend in the same way. Inside a tenant the earliest deadline goes first. Every (tenant, lane) has its own order
and short calls are compared by short calls, so that a long call of a tenant never sets its short ones back; between a short
call and a long one the party that was served least of everything decides, and inside a tenant the short one. And yet long calls
don't starve: while some wait, a floor of the compute-seconds that are handed out goes to them.

Promises: O(log n) in all that waits, as long as whoever is first can start; backlogged parties of one lane are served within
one largest price over weight of each other, and so are the tenants of a crowd; the floor takes from that at most one long
price; sums are exact (of grains). Pure: it holds no clock and starts nothing. It must not know what a call is.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass

from wickguard.control.bucket import grains
from wickguard.control.contest import Contender, Contest
from wickguard.control.ranking import Ranking
from wickguard.records import Lane

# Members of a crowd that are looked at one by one to say how long a call would wait.
_FEW = 32


@dataclass(frozen=True, slots=True)
class Ticket:
    """A waiting call: its tenant, lane, price in compute-seconds, bytes that it needs to start, deadline, the weight of its
    tenant (2: twice the share of 1), and what it may run together with (calls of the same word; "": alone). shared_s: of its
    price, what is done once for all who run together.
    """

    id: str
    tenant: str
    lane: Lane
    price_s: float
    memory_bytes: int
    deadline_at: float
    weight: float = 1.0
    batch: str = ""
    shared_s: float = 0.0


class _Party:
    """A tenant of its own (no contest), or a crowd with a contest inside. members: who of it waits in each lane; number: when
    it came, among parties.
    """

    __slots__ = ("backlog_s", "contender", "contest", "members", "number")

    def __init__(self, number: int, contender: Contender, contest: Contest | None) -> None:
        self.number = number
        self.contender = contender
        self.contest = contest
        self.backlog_s = {Lane.SHORT: 0.0, Lane.LONG: 0.0}
        self.members = {Lane.SHORT: Ranking(), Lane.LONG: Ranking()}


class _Order:
    """What a tenant has waiting in one lane. removed: entries of tickets that are gone."""

    __slots__ = ("backlog_s", "removed", "waiting")

    def __init__(self) -> None:
        self.waiting: list[tuple[float, int, str]] = []
        self.backlog_s = 0.0
        self.removed = 0

    def __len__(self) -> int:
        return len(self.waiting) - self.removed


class _Tenant:
    """contender: in its crowd; that of its party when it has none. number: when it came, among tenants."""

    __slots__ = ("contender", "name", "number", "orders", "party")

    def __init__(self, name: str, number: int, party: _Party, contender: Contender) -> None:
        self.name = name
        self.number = number
        self.party = party
        self.contender = contender
        # Only the lanes that it has used.
        self.orders: dict[Lane, _Order] = {}

    def rank(self, lane: Lane) -> tuple[float, float]:
        """Who has least goes first: among parties, then within one."""
        return self.party.contender.rank(lane), self.contender.rank(lane)


class FairQueue:
    """Waiting tickets of all tenants. long_floor: the part of what is handed out that goes to long calls while some wait."""

    def __init__(self, long_floor: float = 0.25, max_idle: int = 4096) -> None:
        self._tenants: dict[str, _Tenant] = {}
        self._parties: dict[str, _Party] = {}
        self._contest = Contest(max_idle)
        self._rankings = {Lane.SHORT: Ranking(), Lane.LONG: Ranking()}
        self._tickets: dict[str, Ticket] = {}
        self._max_idle = max_idle
        self._sequence = 0
        self._total_s = {Lane.SHORT: 0.0, Lane.LONG: 0.0}
        self._count = {Lane.SHORT: 0, Lane.LONG: 0}
        self.adopt(long_floor)
        # What each lane was handed out, over its part; the long lane is owed while it is behind.
        self._handed = {Lane.SHORT: 0.0, Lane.LONG: 0.0}

    def __len__(self) -> int:
        return len(self._tickets)

    def adopt(self, long_floor: float) -> None:
        """Another floor from now on."""
        self._floor = {Lane.LONG: long_floor, Lane.SHORT: 1.0 - long_floor}

    def backlog_s(self, tenant: str, lane: Lane) -> float:
        """Predicted seconds of work that `tenant` has waiting in `lane`."""
        found = self._tenants.get(tenant)
        order = found.orders.get(lane) if found else None
        return order.backlog_s if order else 0.0

    def total_s(self, lane: Lane) -> float:
        """Predicted seconds of work waiting in `lane`, of all tenants."""
        return self._total_s[lane]

    def party_s(self, party: str, lane: Lane) -> float:
        """Predicted seconds of work that a tenant of its own, or a crowd, has waiting in `lane`."""
        found = self._parties.get(party)
        return found.backlog_s[lane] if found else 0.0

    def ahead_s(self, ticket: Ticket, crowd: str = "") -> float:
        """Predicted seconds of work that run before `ticket` would: its tenant's own, and of every other tenant of its crowd
        and of every other party at most as much, weighted. Of a large crowd it is a bound: a refusal must not cost more the
        more callers wait.
        """
        lane, own = ticket.lane, self.backlog_s(ticket.tenant, ticket.lane)
        party, weight = self._parties.get(crowd or ticket.tenant), ticket.weight
        if crowd and party is not None:
            each, weight = (own + ticket.price_s) / ticket.weight, 1.0
            if len(party.members[lane]) > _FEW:
                own = min(party.backlog_s[lane], own + each * len(party.members[lane]))
            else:
                others = [self._tenants[name] for name in party.members[lane] if name != ticket.tenant]
                own += sum(min(other.orders[lane].backlog_s, each * other.contender.weight) for other in others)
        each = (own + ticket.price_s) / weight
        return own + sum(
            min(other.backlog_s[lane], each * other.contender.weight)
            for other in self._parties.values()
            if other is not party
        )

    def push(self, ticket: Ticket, crowd: str = "") -> None:
        """Add a ticket; its id must be new. crowd: whose party its tenant shares."""
        tenant, lane, price_s = self._enter(ticket, crowd), ticket.lane, grains(ticket.price_s)
        if lane is Lane.LONG and not self._count[lane]:
            # Nothing is saved up while no long call waits.
            self._handed[Lane.LONG] = self._handed[Lane.SHORT] = 0.0
        order = tenant.orders.get(lane)
        if order is None:
            order = tenant.orders[lane] = _Order()
        self._sequence += 1
        heapq.heappush(order.waiting, (ticket.deadline_at, self._sequence, ticket.id))
        self._tickets[ticket.id] = ticket
        order.backlog_s += price_s
        self._add(tenant, lane, 1, price_s)
        self._rank(tenant, lane)

    def pop(self, can_start: Callable[[Ticket], bool]) -> Ticket | None:
        """Take the ticket that starts next, or None when none can; its tenant is charged its price.

        `can_start` says whether slots and memory allow the ticket now. Only the head of each (tenant, lane) is asked.
        """
        ticket = self._choose(can_start) if self._tickets else None
        if ticket is None:
            return None
        lane, tenant = ticket.lane, self._tenants[ticket.tenant]
        if lane is Lane.SHORT or self._handed[Lane.LONG] <= self._handed[Lane.SHORT]:
            # What long calls get beyond their floor is not held against them.
            self._handed[lane] += ticket.price_s / max(1e-9, self._floor[lane])
        self._drop(ticket)
        self._charge(tenant, lane, ticket.price_s)
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
        self._charge(tenant, ticket.lane, actual_s - ticket.price_s)
        self._leave(tenant)

    def _charge(self, tenant: _Tenant, lane: Lane, seconds: float) -> None:
        """`tenant` was served these seconds; negative when it used less than it was charged."""
        tenant.party.contender.charge(lane, seconds)
        if tenant.party.contest is not None:
            tenant.contender.charge(lane, seconds)
        for other, waiting in self._count.items():
            if waiting:
                self._rank(tenant, other)

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
        def of_tenant(name: str) -> Ticket | None:
            ticket = self._head(self._tenants[name].orders[lane])
            return ticket if ticket is not None and can_start(ticket) else None

        def of_party(name: str) -> Ticket | None:
            return self._parties[name].members[lane].first(of_tenant)

        return self._rankings[lane].first(of_party)

    def _rank(self, tenant: _Tenant, lane: Lane) -> None:
        """Calls of `tenant`, or of others of its party, wait in `lane`, and what they were served has changed."""
        party, order = tenant.party, tenant.orders.get(lane)
        members = party.members[lane]
        if order is not None and len(order):
            members.put(tenant.name, tenant.number, tenant.contender.rank(lane))
        if members:
            self._rankings[lane].put(party.contender.name, party.number, party.contender.rank(lane))

    def _head(self, order: _Order) -> Ticket | None:
        # Removed tickets stay in the heap until they surface or are too many, so that removal is O(1) on average.
        waiting = order.waiting
        while waiting and waiting[0][2] not in self._tickets:
            heapq.heappop(waiting)
            order.removed -= 1
        return self._tickets[waiting[0][2]] if waiting else None

    def _drop(self, ticket: Ticket) -> None:
        tenant, lane, price_s = self._tenants[ticket.tenant], ticket.lane, grains(ticket.price_s)
        order = tenant.orders[lane]
        del self._tickets[ticket.id]
        order.removed += 1
        order.backlog_s -= price_s
        self._add(tenant, lane, -1, -price_s)
        if not len(order):
            members = tenant.party.members[lane]
            members.discard(tenant.name)
            if not members:
                self._rankings[lane].discard(tenant.party.contender.name)
        if self._head(order) is not None and 2 * order.removed > len(order.waiting):
            # Else a caller that queues and leaves, behind one call of its own that stays, would spend our memory until
            # that one's deadline.
            order.waiting = [entry for entry in order.waiting if entry[2] in self._tickets]
            heapq.heapify(order.waiting)
            order.removed = 0

    def _add(self, tenant: _Tenant, lane: Lane, count: int, price_s: float) -> None:
        self._count[lane] += count
        self._total_s[lane] += price_s
        tenant.party.backlog_s[lane] += price_s

    def _enter(self, ticket: Ticket, crowd: str) -> _Tenant:
        tenant = self._tenants.get(ticket.tenant)
        # Whoever is here keeps its party, also when the operator has just taken it out of a crowd.
        name = tenant.party.contender.name if tenant is not None else crowd or ticket.tenant
        contender = self._contest.enter(name)
        party = self._parties.get(name)
        if party is None:
            contest = Contest(self._max_idle) if crowd else None
            party = self._parties[name] = _Party(self._sequence, contender, contest)
        # A crowd is as much as one ordinary tenant.
        contender.weight = 1.0 if party.contest is not None else ticket.weight
        member = contender
        if party.contest is not None:
            member = party.contest.enter(ticket.tenant)
            member.weight = ticket.weight
        if tenant is None:
            tenant = self._tenants[ticket.tenant] = _Tenant(ticket.tenant, self._sequence, party, member)
        return tenant

    def _leave(self, tenant: _Tenant) -> None:
        party = tenant.party
        over = party.contest is None or party.contest.leave(tenant.contender)
        if self._contest.leave(party.contender):
            del self._parties[party.contender.name]
        elif party.contest is None:
            return
        if over:
            del self._tenants[tenant.name]
