"""The gate: the one decision whether a call may run, and when; everything that control/ knows, in one order.

    1 possible?      memory it could ever get, a deadline that an idle server could meet
    2 vetted?        the exact request is not poison, no breaker is open for it
    3 paid?          quota at every level of its caller, reserved now, all or nothing
    4 room?          queue bounds in seconds of work, predicted wait within the deadline, no standing queue
    5 its turn       fair queue, lanes, memory of the server and the tenant's share of it; asked again whether it is too late,
                     and whether it has turned out to be poison; others that wait and could run in the same job come along

Decides by asking the algorithms; it has none of its own. Promises: all or nothing, a later no gives back every earlier hold;
what was let in is given back exactly once, by `leave` while it waits or by `finish` when its work has stopped; every refusal
is charged to whoever caused it. Pure: `now` is an argument, so that the server, the simulator, the policy backtest and the
property tests run the very same code. It must not know HTTP, processes or what a call is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

import msgspec
from msgspec import Meta

from wickguard.control.applicant import Applicant, Barrier, Denial, Ending, Turn
from wickguard.control.breaker import Verdict
from wickguard.control.company import Companions, run_s
from wickguard.control.crowd import CROWD_SHARE, crowd_of, gives_way
from wickguard.control.fair_queue import FairQueue, Ticket
from wickguard.control.forecast import done_in_s
from wickguard.control.ladder import Level, Scope, Trust
from wickguard.control.lease import Demand, Settlement, Shortfall, Usage
from wickguard.control.memory import MemoryReservation
from wickguard.control.panel import Panel, Passage, Reach, Stopped
from wickguard.control.quarantine import Permit, Quarantine
from wickguard.control.quota import Quota
from wickguard.control.slots import Slots
from wickguard.control.surge import Surge
from wickguard.errors import SettingError, WickguardError
from wickguard.records import Company, Lane
from wickguard.setting import check


@dataclass(frozen=True, slots=True)
class AdmissionSettings:
    """How much work may wait, and who gives way first.

    queue_s: predicted seconds of work that may wait in a lane, of all tenants together.
    tenant_queue_s: of one tenant (one waiting call is always allowed).
    efficiency: what a slot really does of the work it could.
    tenant_memory_share: of the memory budget, the most that one tenant's running calls may hold.
    long_floor: part of the compute-seconds that goes to long calls while some wait.
    lease_grace_s: how long after its deadline a call may still be settled.
    batch_calls: calls that wait and are alike may share a slot, so many at once; 1 = never.
    batch_s: predicted seconds of work that share a slot, so that nobody waits long for somebody else's call; more for calls
        that take less together than one by one: as much as is saved.
    """

    queue_s: Annotated[float, Meta(ge=0.001, le=86_400)] = 20.0
    tenant_queue_s: Annotated[float, Meta(ge=0.001, le=86_400)] = 5.0
    efficiency: Annotated[float, Meta(ge=0.1, le=1)] = 0.85
    tenant_memory_share: Annotated[float, Meta(ge=0.01, le=1)] = 0.5
    long_floor: Annotated[float, Meta(ge=0, le=0.9)] = 0.25
    lease_grace_s: Annotated[float, Meta(ge=0.1, le=60)] = 5.0
    batch_calls: Annotated[int, Meta(ge=1, le=64)] = 8
    batch_s: Annotated[float, Meta(ge=0.001, le=10)] = 0.05

    def __post_init__(self) -> None:
        check(self)
        if self.tenant_queue_s > self.queue_s:
            raise SettingError("{} must be at most {}", "tenant_queue_s", "queue_s", seen=f"{self.tenant_queue_s:g}")


@dataclass(frozen=True, slots=True)
class Parts:
    """The algorithms that the gate asks; made by whoever knows the policy."""

    slots: Slots
    memory: MemoryReservation
    quota: Quota
    panel: Panel = field(default_factory=Panel)
    quarantine: Quarantine = field(default_factory=Quarantine)
    surge: Surge = field(default_factory=Surge)


class _Candidate(msgspec.Struct, frozen=True):
    applicant: Applicant
    permit: Permit
    passage: Passage
    since: float
    # How many calls had ended when it was vetted: while no other does, nothing more is known.
    endings: int

    @property
    def trial(self) -> bool:
        return self.passage.trial or self.permit.trial


@dataclass(slots=True)
class _Seat:
    # One slot, how many calls still sit in it, and until when by their prices.
    lane: Lane
    left: int
    until: float


class _Run(msgspec.Struct, frozen=True):
    candidate: _Candidate
    seat: _Seat


class Gate:
    """See the module. One per server."""

    def __init__(self, parts: Parts, settings: AdmissionSettings) -> None:
        self._parts = parts
        self.settings = settings
        self._queue = FairQueue(settings.long_floor)
        self._waiting: dict[str, _Candidate] = {}
        self._running: dict[str, _Run] = {}
        self._endings = 0

    def adopt(self, settings: AdmissionSettings) -> None:
        """Other settings from now on; what waits and runs keeps what it holds."""
        self.settings = settings
        self._queue.adopt(settings.long_floor)
        self._parts.memory.adopt(settings.tenant_memory_share)

    @property
    def parts(self) -> Parts:
        """The algorithms, for whoever observes them."""
        return self._parts

    @property
    def waiting(self) -> int:
        """Calls in the queue."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Calls whose work has not stopped."""
        return len(self._running)

    def queued_s(self, lane: Lane) -> float:
        """Predicted seconds of work waiting in a lane."""
        return self._queue.total_s(lane)

    def glance(self, now: float, levels: Sequence[Level], trust: Trust, least_s: float) -> Denial | None:
        """Whether any call of this caller could go on now, by what is known from the head alone; takes nothing."""
        if self._parts.surge.overrun:
            return Denial(Barrier.OVERRUN, 0.0, 0.0, 1.0)
        last = self._queue.total_s(Lane.SHORT) > 0 and gives_way(self._crowd(now, trust, levels))
        if last and self._parts.surge.standing(now):
            return Denial(Barrier.STANDING, 0.0, 0.0, 1.0)
        shortfall = self._parts.quota.would(now, levels, Demand(least_s))
        if shortfall is None:
            return None
        self._parts.quota.charge_refusal(now, levels)
        return _short(shortfall)

    def arrive(self, now: float, applicant: Applicant) -> Denial | None:
        """Let a call into the queue, holding its quota from now on; or say why not, holding nothing."""
        denial = self._enter(now, applicant)
        if denial is not None:
            self._parts.quota.charge_refusal(now, applicant.levels)
        return denial

    def would(self, now: float, applicant: Applicant) -> tuple[Denial | None, float]:
        """What `arrive` would say now, and the predicted wait in seconds; takes nothing and charges nothing."""
        wait_s = self._wait_s(now, applicant.ticket, self._crowd(now, applicant.trust, applicant.levels))
        denial = self._enter(now, applicant)
        if denial is None:
            self.leave(now, applicant.ticket.id)
        return denial, wait_s

    def turns(self, now: float) -> list[Turn]:
        """The waiting calls whose turn has come. Those without a denial hold a slot and bytes, and run from now on."""
        found: list[Turn] = []
        # While no slot is free nobody's turn can have come, and nobody needs to be looked at.
        while self._parts.slots.free(Lane.SHORT) and (ticket := self._queue.pop(self._can_start)) is not None:
            candidate = self._waiting.pop(ticket.id)
            begun = self._begin(now, candidate)
            if isinstance(begun, Turn):
                found.append(begun)
                continue
            self._parts.slots.take(ticket.lane)
            party = [begun, *self._company(now, begun, found)]
            seat = _Seat(ticket.lane, len(party), now + run_s(one.applicant for one in party))
            company = Company(ticket.id, len(party)) if len(party) > 1 else None
            for one in party:
                call_id = one.applicant.ticket.id
                self._running[call_id] = _Run(one, seat)
                found.append(Turn(call_id, now - one.since, one.trial, one.permit.trial, None, company))
        return found

    def leave(self, now: float, call_id: str) -> bool:
        """A waiting call is no longer wanted: give back all it holds. False when it does not wait."""
        candidate = self._waiting.pop(call_id, None)
        if candidate is None:
            return False
        self._queue.remove(call_id)
        self._give_back(now, candidate)
        return True

    def finish(self, now: float, call_id: str, ending: Ending) -> Settlement:
        """The work of a running call has stopped: give back slot and bytes, charge what it used, learn from how it ended.

        Raises WickguardError when it does not run (finished twice).
        """
        run = self._running.pop(call_id, None)
        if run is None:
            raise WickguardError(f"call {call_id} does not run")
        candidate, seat, parts = run.candidate, run.seat, self._parts
        self._endings += 1
        applicant = candidate.applicant
        parts.memory.release(call_id)
        seat.left -= 1
        if not seat.left:
            parts.slots.give_back(seat.lane)
        settlement = parts.quota.settle(now, call_id, Usage(ending.cpu_s, ending.tokens, ending.killed_s))
        self._queue.settle(applicant.ticket, max(ending.cpu_s, settlement.charged_s))
        parts.panel.report(now, candidate.passage, ending.verdict)
        if ending.verdict is Verdict.BAD or candidate.permit.strikes:
            parts.quarantine.report(now, applicant.digest(), candidate.permit, ending.verdict)
        return settlement

    def _enter(self, now: float, applicant: Applicant) -> Denial | None:
        impossible = self._impossible(now, applicant)
        if impossible is not None:
            return impossible
        vetted = self._vet(now, applicant)
        if isinstance(vetted, Denial):
            return vetted
        ticket, crowd = applicant.ticket, self._crowd(now, applicant.trust, applicant.levels)
        expires_at = ticket.deadline_at + self.settings.lease_grace_s
        taken = self._parts.quota.reserve(now, ticket.id, applicant.levels, applicant.demand, expires_at)
        denial = _short(taken) if isinstance(taken, Shortfall) else self._crowded(now, applicant, crowd)
        if denial is not None:
            self._give_back(now, vetted)
            return denial
        self._waiting[ticket.id] = vetted
        self._queue.push(ticket, crowd)
        return None

    def _impossible(self, now: float, applicant: Applicant) -> Denial | None:
        ticket, memory = applicant.ticket, self._parts.memory
        if not memory.ever_fits(ticket.memory_bytes):
            return Denial(Barrier.MEMORY, memory.share_bytes, ticket.memory_bytes)
        left = ticket.deadline_at - now
        if applicant.wall_s > left:
            return Denial(Barrier.INFEASIBLE, left, applicant.wall_s)
        return None

    def _vet(self, now: float, applicant: Applicant) -> _Candidate | Denial:
        quarantine, subject = self._parts.quarantine, applicant.subject
        permit = quarantine.ask(now, applicant.digest()) if len(quarantine) else Permit(trial=False, strikes=0)
        if not isinstance(permit, Permit):
            return Denial(Barrier.POISON, 0.0, 0.0, permit)
        passage = self._parts.panel.ask(now, subject)
        if isinstance(passage, Stopped):
            self._clear(now, applicant, permit)
            barrier = Barrier.OWN_BREAKER if passage.reach is Reach.TENANT else Barrier.SHARED_BREAKER
            return Denial(barrier, 0.0, 0.0, passage.wait_s, str(passage.reach))
        return _Candidate(applicant, permit, passage, now, self._endings)

    def _vet_again(self, now: float, candidate: _Candidate) -> _Candidate | Denial:
        """What was harmless when it came may be known as poison when its turn comes."""
        if self._vouched(candidate):
            return candidate
        self._unvet(now, candidate)
        vetted = self._vet(now, candidate.applicant)
        return vetted if isinstance(vetted, Denial) else msgspec.structs.replace(vetted, since=candidate.since)

    def _vouched(self, candidate: _Candidate) -> bool:
        if candidate.endings == self._endings:
            return True
        quarantine, digest = self._parts.quarantine, candidate.applicant.digest
        known = len(quarantine) == 0 or quarantine.honours(digest(), candidate.permit)
        return known and self._parts.panel.honours(candidate.passage)

    def _crowd(self, now: float, trust: Trust, levels: Sequence[Level]) -> str:
        return crowd_of(trust, known=trust is Trust.ANONYMOUS and self._parts.quota.on_record(now, levels))

    def _crowded(self, now: float, applicant: Applicant, crowd: str) -> Denial | None:
        ticket, settings = applicant.ticket, self.settings
        total = self._queue.total_s(ticket.lane)
        for barrier, queued_s, most_s in (
            (Barrier.OWN_QUEUE, self._queue.backlog_s(ticket.tenant, ticket.lane), settings.tenant_queue_s),
            (Barrier.QUEUE, total, settings.queue_s),
            (Barrier.QUEUE, self._queue.party_s(crowd, ticket.lane) if crowd else 0.0, CROWD_SHARE * settings.queue_s),
        ):
            if queued_s > 0 and queued_s + ticket.price_s > most_s:
                wait = self._wait_s(now, ticket, crowd)
                return Denial(barrier, most_s, queued_s + ticket.price_s, max(1.0, wait))
        if total == 0 and self._parts.slots.free(ticket.lane):
            return None
        slack = ticket.deadline_at - now - applicant.wall_s
        # Who goes first matters only if all that waits would be too much.
        if self._done_in_s(now, ticket.lane, total) > slack and (wait := self._wait_s(now, ticket, crowd)) > slack:
            return Denial(Barrier.WAIT, slack, wait, max(1.0, wait))
        if total > 0 and gives_way(crowd) and self._parts.surge.standing(now):
            wait = self._wait_s(now, ticket, crowd)
            return Denial(Barrier.STANDING, 0.0, wait, max(1.0, wait))
        return None

    def _wait_s(self, now: float, ticket: Ticket, crowd: str) -> float:
        """Until a call like this one would start, by what goes first under fair sharing."""
        return self._done_in_s(now, ticket.lane, self._queue.ahead_s(ticket, crowd))

    def _done_in_s(self, now: float, lane: Lane, work_s: float) -> float:
        """Until the slots that `lane` may use have done this work after what they run."""
        slots = self._parts.slots
        left: dict[Lane, list[float]] = {Lane.SHORT: [], Lane.LONG: []}
        for seat in {id(run.seat): run.seat for run in self._running.values()}.values():
            left[seat.lane].append(max(0.0, seat.until - now))
        others = left[Lane.SHORT] + [0.0] * (slots.capacity(Lane.SHORT) - len(left[Lane.SHORT]) - len(left[Lane.LONG]))
        if lane is Lane.LONG:
            others = sorted(others)[: slots.capacity(lane) - len(left[Lane.LONG])]
        return done_in_s(left[Lane.LONG] + others, work_s / self.settings.efficiency)

    def _begin(self, now: float, candidate: _Candidate) -> _Candidate | Turn:
        """Take the memory of a call whose turn has come; or give back all it holds, because it may not run any more."""
        applicant, ticket = candidate.applicant, candidate.applicant.ticket
        waited_s, left = now - candidate.since, ticket.deadline_at - now
        self._parts.surge.started(now, waited_s, waited_s + left - applicant.wall_s)
        vetted: _Candidate | Denial = Denial(Barrier.LATE, left, applicant.wall_s)
        if applicant.wall_s <= left:
            vetted = self._vet_again(now, candidate)
        else:
            self._unvet(now, candidate)
        if isinstance(vetted, _Candidate):
            self._parts.memory.hold(ticket.id, ticket.memory_bytes, ticket.tenant)
            return vetted
        self._queue.settle(ticket, 0.0)
        self._parts.quota.cancel(now, ticket.id)
        return Turn(ticket.id, waited_s, denial=vetted)

    def _company(self, now: float, leader: _Candidate, found: list[Turn]) -> list[_Candidate]:
        """Calls that come along in the leader's slot, in the order in which they would have started."""
        if not self._waiting or not leader.applicant.ticket.batch:
            return []
        slots = self._parts.slots.capacity(leader.applicant.ticket.lane)
        # As many as each slot would have if all were shared out: who took everybody that waits would leave other slots idle.
        most = min(self.settings.batch_calls, -(-(self.running + self.waiting + 1) // slots))
        company = Companions(now, leader.applicant, most, self.settings.batch_s)
        party: list[_Candidate] = []

        def fits(ticket: Ticket) -> bool:
            candidate = self._waiting[ticket.id]
            return (
                company.takes(candidate.applicant)
                and self._parts.memory.fits(ticket.memory_bytes, ticket.tenant)
                and self._sociable(now, candidate)
            )

        sociable = not company.full and self._sociable(now, leader)
        while sociable and not company.full and (ticket := self._queue.pop(fits)) is not None:
            begun = self._begin(now, self._waiting.pop(ticket.id))
            if isinstance(begun, Turn):
                found.append(begun)
                continue
            company.add(begun.applicant)
            party.append(begun)
        return party

    def _sociable(self, now: float, candidate: _Candidate) -> bool:
        """Whether others may run with it: it is no trial, and its tenant's last calls were not killed."""
        if candidate.trial or self._parts.quota.multiplier(now, candidate.applicant.levels) > 1:
            return False
        return self._vouched(candidate)

    def _can_start(self, ticket: Ticket) -> bool:
        return self._parts.slots.free(ticket.lane) and self._parts.memory.fits(ticket.memory_bytes, ticket.tenant)

    def _give_back(self, now: float, candidate: _Candidate) -> None:
        """Nothing of it ran."""
        self._parts.quota.cancel(now, candidate.applicant.ticket.id)
        self._unvet(now, candidate)

    def _unvet(self, now: float, candidate: _Candidate) -> None:
        self._parts.panel.report(now, candidate.passage, Verdict.NEUTRAL)
        self._clear(now, candidate.applicant, candidate.permit)

    def _clear(self, now: float, applicant: Applicant, permit: Permit) -> None:
        if permit.trial:
            self._parts.quarantine.report(now, applicant.digest(), permit, Verdict.NEUTRAL)


_OWN = (Scope.TENANT, Scope.KEY, Scope.NETWORK)


def _short(shortfall: Shortfall) -> Denial:
    level = shortfall.level
    if shortfall.never:
        return Denial(Barrier.BEYOND_QUOTA, level.limit.depth, shortfall.asked, 0.0, level.name)
    barrier = Barrier.QUOTA if level.scope in _OWN else Barrier.GROUP
    return Denial(barrier, shortfall.available, shortfall.asked, shortfall.wait_s, level.name)
