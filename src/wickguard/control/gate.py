"""The gate: the one decision whether a call may run, and when; everything that control/ knows, in one order.

    1 possible?      memory it could ever get, a deadline that an idle server could meet
    2 vetted?        the exact request is not poison, no breaker is open for it
    3 paid?          quota at every level of its caller, reserved now, all or nothing
    4 room?          queue bounds in seconds of work, predicted wait within the deadline, no standing queue
    5 its turn       fair queue, lanes, memory of the server and the tenant's share of it; asked again whether it is too late

Decides by asking the algorithms; it has none of its own. Promises: all or nothing, a later no gives back every earlier hold;
what was let in is given back exactly once, by `leave` while it waits or by `finish` when its work has stopped; every refusal
is charged to whoever caused it. Pure: `now` is an argument, so that the server, the simulator, the policy backtest and the
property tests run the very same code. It must not know HTTP, processes or what a call is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

from msgspec import Meta

from wickguard.control.applicant import Applicant, Barrier, Denial, Ending, Turn
from wickguard.control.breaker import Verdict
from wickguard.control.fair_queue import FairQueue, Ticket
from wickguard.control.ladder import Level, Scope, Trust
from wickguard.control.memory import MemoryReservation
from wickguard.control.panel import Panel, Passage, Reach, Stopped
from wickguard.control.quarantine import Permit, Quarantine
from wickguard.control.quota import Demand, Quota, Settlement, Shortfall, Usage
from wickguard.control.slots import Slots
from wickguard.control.surge import Surge
from wickguard.errors import SettingError, WickguardError
from wickguard.records import Lane
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
    """

    queue_s: Annotated[float, Meta(ge=0.001, le=86_400)] = 20.0
    tenant_queue_s: Annotated[float, Meta(ge=0.001, le=86_400)] = 5.0
    efficiency: Annotated[float, Meta(ge=0.1, le=1)] = 0.85
    tenant_memory_share: Annotated[float, Meta(ge=0.01, le=1)] = 0.5
    long_floor: Annotated[float, Meta(ge=0, le=0.9)] = 0.25
    lease_grace_s: Annotated[float, Meta(ge=0.1, le=60)] = 5.0

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


@dataclass(frozen=True, slots=True)
class _Candidate:
    applicant: Applicant
    permit: Permit
    passage: Passage
    since: float


class Gate:
    """See the module. One per server."""

    def __init__(self, parts: Parts, settings: AdmissionSettings) -> None:
        self._parts = parts
        self.settings = settings
        self._queue = FairQueue(settings.long_floor)
        self._waiting: dict[str, _Candidate] = {}
        self._running: dict[str, _Candidate] = {}

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
        if trust in _GIVES_WAY and self._queue.total_s(Lane.SHORT) > 0 and self._parts.surge.standing(now):
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
        wait_s = self._wait_s(applicant.ticket)
        denial = self._enter(now, applicant)
        if denial is None:
            self.leave(now, applicant.ticket.id)
        return denial, wait_s

    def turns(self, now: float) -> list[Turn]:
        """The waiting calls whose turn has come. Those without a denial hold a slot and bytes, and run from now on."""
        found: list[Turn] = []
        while (ticket := self._queue.pop(self._can_start)) is not None:
            candidate = self._waiting.pop(ticket.id)
            applicant, waited_s = candidate.applicant, now - candidate.since
            left = ticket.deadline_at - now
            self._parts.surge.started(now, waited_s, waited_s + left - applicant.wall_s)
            if applicant.wall_s > left:
                self._queue.settle(ticket, 0.0)
                self._give_back(now, candidate)
                found.append(Turn(ticket.id, waited_s, denial=Denial(Barrier.LATE, left, applicant.wall_s)))
                continue
            self._parts.slots.take(ticket.lane)
            self._parts.memory.hold(ticket.id, ticket.memory_bytes, ticket.tenant)
            self._running[ticket.id] = candidate
            trial = candidate.passage.trial or candidate.permit.trial
            found.append(Turn(ticket.id, waited_s, trial, candidate.permit.trial))
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
        candidate = self._running.pop(call_id, None)
        if candidate is None:
            raise WickguardError(f"call {call_id} does not run")
        applicant, parts = candidate.applicant, self._parts
        parts.memory.release(call_id)
        parts.slots.give_back(applicant.ticket.lane)
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
        ticket = applicant.ticket
        expires_at = ticket.deadline_at + self.settings.lease_grace_s
        taken = self._parts.quota.reserve(now, ticket.id, applicant.levels, applicant.demand, expires_at)
        denial = _short(taken) if isinstance(taken, Shortfall) else self._crowded(now, applicant)
        if denial is not None:
            self._give_back(now, vetted)
            return denial
        self._waiting[ticket.id] = vetted
        self._queue.push(ticket)
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
        return _Candidate(applicant, permit, passage, now)

    def _crowded(self, now: float, applicant: Applicant) -> Denial | None:
        ticket, settings = applicant.ticket, self.settings
        own = self._queue.backlog_s(ticket.tenant, ticket.lane)
        total = self._queue.total_s(ticket.lane)
        wait = self._wait_s(ticket)
        again = max(1.0, wait)
        if own > 0 and own + ticket.price_s > settings.tenant_queue_s:
            return Denial(Barrier.OWN_QUEUE, settings.tenant_queue_s, own + ticket.price_s, again)
        if total > 0 and total + ticket.price_s > settings.queue_s:
            return Denial(Barrier.QUEUE, settings.queue_s, total + ticket.price_s, again)
        slack = ticket.deadline_at - now - applicant.wall_s
        if wait > slack:
            return Denial(Barrier.WAIT, slack, wait, again)
        if total > 0 and applicant.trust in _GIVES_WAY and self._parts.surge.standing(now):
            return Denial(Barrier.STANDING, 0.0, wait, again)
        return None

    def _wait_s(self, ticket: Ticket) -> float:
        """Work that goes first under fair sharing, and half of what occupies the lane, over what its slots do in a second."""
        lane, slots = ticket.lane, self._parts.slots
        ahead = self._queue.ahead_s(ticket.tenant, lane, ticket.price_s, ticket.weight)
        if not slots.free(lane):
            # On average half of what runs is still to come.
            running = (one.applicant.ticket for one in self._running.values())
            ahead += sum(other.price_s for other in running if lane is Lane.SHORT or other.lane is lane) / 2
        return ahead / (slots.capacity(lane) * self.settings.efficiency)

    def _can_start(self, ticket: Ticket) -> bool:
        return self._parts.slots.free(ticket.lane) and self._parts.memory.fits(ticket.memory_bytes, ticket.tenant)

    def _give_back(self, now: float, candidate: _Candidate) -> None:
        """Nothing of it ran."""
        self._parts.quota.cancel(now, candidate.applicant.ticket.id)
        self._parts.panel.report(now, candidate.passage, Verdict.NEUTRAL)
        self._clear(now, candidate.applicant, candidate.permit)

    def _clear(self, now: float, applicant: Applicant, permit: Permit) -> None:
        if permit.trial:
            self._parts.quarantine.report(now, applicant.digest(), permit, Verdict.NEUTRAL)


# Who has nothing to show gives way first when prices turn out to be wrong.
_GIVES_WAY = (Trust.ANONYMOUS, Trust.NEW)
_OWN = (Scope.TENANT, Scope.KEY, Scope.NETWORK)


def _short(shortfall: Shortfall) -> Denial:
    level = shortfall.level
    if shortfall.never:
        return Denial(Barrier.BEYOND_QUOTA, level.limit.depth, shortfall.asked, 0.0, level.name)
    barrier = Barrier.QUOTA if level.scope in _OWN else Barrier.GROUP
    return Denial(barrier, shortfall.available, shortfall.asked, shortfall.wait_s, level.name)
