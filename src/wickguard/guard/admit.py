"""Admit: Quote -> Grant. Waits for the gate.

Decides nothing by itself: control/gate.py decides, this stage turns calls into applicants, sleeps until their turn comes and
turns denials into rejections by one table. Promises: a call that waits holds no slot and no bytes; every hold is given back
exactly once, by `release`, when the work has stopped (law 1), whether its caller waited, left or was cancelled. It must not
know processes or HTTP.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from wickguard.control.applicant import Applicant, Barrier, Denial, Ending, Turn, scalar_price
from wickguard.control.breaker import Verdict
from wickguard.control.fair_queue import Ticket
from wickguard.control.gate import Gate
from wickguard.control.ladder import Trust
from wickguard.control.lease import Demand, Settlement
from wickguard.control.panel import Subject
from wickguard.control.quota import reading
from wickguard.control.swarm import Swarm
from wickguard.guard.standing import Standing, Standings
from wickguard.records import Call, Caller, Cost, Grant, Lane, Quote
from wickguard.rejection import MEANINGS, Reason, Rejection

# The 90th percentile of a normal distribution, in standard deviations.
_Z90 = 1.2816
# What any call costs at least, for a look at the quota before its body is read (compute-seconds).
LEAST_S = 0.001
NOTHING_RAN = Ending(0.0, 0, Verdict.NEUTRAL)


@dataclass(frozen=True, slots=True)
class Machine:
    """What calls share: cores, and bytes of all grants together."""

    cores: float
    memory_bytes: int

    def scalar_s(self, cost: Cost) -> float:
        """What `cost` is in the currency of prices."""
        return scalar_price(cost, self.cores, self.memory_bytes)


@dataclass(frozen=True, slots=True)
class Row:
    """What a denial is to the caller."""

    reason: Reason
    detail: str
    unit: str | None = None
    accepted: str | None = None


BARRIERS: dict[Barrier, Row] = {
    Barrier.POISON: Row(Reason.POISONED, "", accepted="another input"),
    Barrier.OWN_BREAKER: Row(Reason.OWN_CIRCUIT_OPEN, ""),
    Barrier.SHARED_BREAKER: Row(Reason.CIRCUIT_OPEN, ""),
    Barrier.MEMORY: Row(Reason.UNAFFORDABLE, "the call needs more memory than one caller may have", "bytes"),
    Barrier.INFEASIBLE: Row(
        Reason.DEADLINE_INFEASIBLE, "even on an idle server", "seconds", "a longer timeout, or fewer inputs"
    ),
    Barrier.BEYOND_QUOTA: Row(Reason.BEYOND_QUOTA, "", "compute-seconds", "fewer or shorter inputs"),
    Barrier.QUOTA: Row(Reason.OVER_QUOTA, "the call needs more than is left of it", "compute-seconds"),
    # What others use is nobody's business: no numbers.
    Barrier.GROUP: Row(Reason.GROUP_EXHAUSTED, "", accepted="a call with an API key"),
    Barrier.OWN_QUEUE: Row(Reason.OVER_SHARE, "", "seconds of own work waiting"),
    Barrier.QUEUE: Row(Reason.OVERLOADED, "", "seconds of work waiting"),
    Barrier.WAIT: Row(Reason.OVERLOADED, "the call would wait past its deadline", "seconds of waiting"),
    Barrier.STANDING: Row(Reason.OVERLOADED, "callers without a record give way first"),
    Barrier.OVERRUN: Row(Reason.OVERLOADED, "the server is too busy to read requests"),
    Barrier.LATE: Row(Reason.DEADLINE_EXCEEDED, "when its turn came, too little time was left", "seconds"),
}


def explain(denial: Denial) -> Rejection:
    """The rejection that tells a caller of a denial."""
    row = BARRIERS[denial.barrier]
    numbers = row.unit is not None
    return Rejection(
        row.reason, row.detail, limit=round(denial.limit, 3) if numbers else None,
        seen=round(denial.seen, 3) if numbers else None, unit=row.unit, accepted=row.accepted,
        retry_after_s=max(0.1, denial.wait_s) if MEANINGS[row.reason].retryable else None,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Prospect:
    """What would happen to a call now: what is reserved for it, how long it would wait, and the refusal it would meet."""

    reserve_s: float
    wait_s: float
    rejection: Rejection | None


class Allowance(msgspec.Struct, frozen=True, gc=False):
    """What a caller may still ask, in compute-seconds: now, at most, per second, and seconds until it is all there again."""

    available_s: float
    depth_s: float
    rate: float
    full_in_s: float


@dataclass(frozen=True, slots=True)
class _Waiter:
    call: Call
    quote: Quote
    granted: asyncio.Future[Grant | Rejection]


class Admission:
    """The stage. One per server; lives on one event loop. on_swarm is told when many identities begin to attack together."""

    def __init__(
        self, gate: Gate, standings: Standings, machine: Machine, clock: Callable[[], float],
        on_swarm: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        self._gate = gate
        self._standings = standings
        self._machine = machine
        self._clock = clock
        self._on_swarm = on_swarm
        self._swarm = Swarm()
        self._waiters: dict[str, _Waiter] = {}
        self.draining = False

    def adopt(self, standings: Standings, machine: Machine) -> None:
        """Other limits from now on; what was spent, what waits and what runs is kept."""
        self._standings = standings
        self._machine = machine

    @property
    def gate(self) -> Gate:
        """The gate, for whoever observes it."""
        return self._gate

    @property
    def waiting(self) -> int:
        """Calls in the queue."""
        return self._gate.waiting

    @property
    def running(self) -> int:
        """Calls that hold a grant."""
        return self._gate.running

    @property
    def held_bytes(self) -> int:
        """Bytes granted now."""
        return self._gate.parts.memory.held_bytes

    def queued_s(self, lane: Lane) -> float:
        """Predicted seconds of work waiting in a lane."""
        return self._gate.queued_s(lane)

    def glance(self, caller: Caller) -> Rejection | None:
        """What can be refused before the body is read: whoever has no quota left for any call at all."""
        if self.draining:
            return Rejection(Reason.DRAINING, "", retry_after_s=5.0)
        now = self._clock()
        standing = self._standing(caller, now)
        denial = self._gate.glance(now, standing.levels, standing.trust, LEAST_S)
        return self._tell(denial, caller, now) if denial is not None else None

    def pace(self, caller: Caller, body_bytes: int, *, charged: bool) -> None:
        """A request of `caller` is answered, and so much of its body was read: that is not free, whatever became of it.

        charged: for anything but the body.
        """
        times = reading(body_bytes) + (not charged)
        if times:
            now = self._clock()
            self._gate.parts.quota.charge_handling(now, self._standing(caller, now).levels, times)

    def surcharge(self, caller: Caller, factor: float) -> None:
        """Raise what `caller` pays: its calls cost more than they look."""
        now = self._clock()
        self._gate.parts.quota.surcharge(now, self._standing(caller, now).levels, factor)

    def allowance(self, caller: Caller) -> Allowance:
        """What `caller` may still ask."""
        now, least = self._clock(), None
        quota = self._gate.parts.quota
        for level in self._standing(caller, now).own:
            available, full_in = quota.available(now, level)
            if least is None or available < least.available_s:
                least = Allowance(available, level.limit.depth, level.limit.rate, full_in)
        if least is None:
            raise AssertionError("every caller has a limit of its own")
        return least

    def prospect(self, call: Call, quote: Quote) -> Prospect:
        """What `admit` would say now; takes nothing."""
        now = self._clock()
        standing = self._standing(call.caller, now)
        applicant = applicant_of(call, quote, standing, self._machine, now)
        denial, wait_s = self._gate.would(now, applicant)
        price = applicant.demand.price_s * self._gate.parts.quota.multiplier(now, standing.levels)
        return Prospect(price, wait_s, explain(denial) if denial is not None else None)

    async def admit(self, call: Call, quote: Quote, gone: asyncio.Future[None]) -> Grant | Rejection:
        """Wait for a grant. `gone` completes when the client has left. Cancelling leaves nothing behind."""
        if self.draining:
            return Rejection(Reason.DRAINING, "", retry_after_s=5.0)
        now = self._clock()
        standing = self._standing(call.caller, now)
        denial = self._gate.arrive(now, applicant_of(call, quote, standing, self._machine, now))
        if denial is not None:
            return self._tell(denial, call.caller, now)
        waiter = self._waiters[call.id] = _Waiter(call, quote, asyncio.get_running_loop().create_future())
        self._dispatch(now)
        try:
            if not waiter.granted.done():
                left = call.deadline.remaining_s(self._clock())
                either: set[asyncio.Future[Any]] = {waiter.granted, gone}
                await asyncio.wait(either, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self._forget(call.id, waiter)
            raise
        if waiter.granted.done():
            return waiter.granted.result()
        self._forget(call.id, waiter)
        if gone.done():
            return Rejection(Reason.CLIENT_GONE, "the client left while its call waited")
        return Rejection(Reason.DEADLINE_EXCEEDED, "the call was still waiting for a slot")

    def release(self, grant: Grant, ending: Ending) -> Settlement:
        """The work of `grant` has stopped: give back all that it holds, charge what was used, start the next.

        Raises WickguardError when it was released before.
        """
        now = self._clock()
        settlement = self._gate.finish(now, grant.call.id, ending)
        self._dispatch(now)
        return settlement

    def scalar_s(self, cost: Cost) -> float:
        """What `cost` is in the currency of prices."""
        return self._machine.scalar_s(cost)

    def _standing(self, caller: Caller, now: float) -> Standing:
        return self._standings.of(caller, alarmed=self._swarm.alarmed(now))

    def _tell(self, denial: Denial, caller: Caller, now: float) -> Rejection:
        if denial.barrier is Barrier.GROUP and self._swarm.met_cap(now, caller.tenant):
            self._on_swarm()
        return explain(denial)

    def _dispatch(self, now: float) -> None:
        for turn in self._gate.turns(now):
            waiter = self._waiters.pop(turn.id)
            waiter.granted.set_result(self._grant(waiter, turn, now) if turn.denial is None else explain(turn.denial))

    def _grant(self, waiter: _Waiter, turn: Turn, now: float) -> Grant:
        call, quote = waiter.call, waiter.quote
        ceiling, cpu_s = quote.ceiling, quote.ceiling.cpu_s
        if turn.suspect:
            cpu_s = self._gate.parts.quarantine.trial_grant_s(cpu_s, quote.reserve.cpu_s)
        # The deadline is a limit like any other: what can't be used any more is not granted (at least one timer tick).
        wall_s = max(0.001, min(ceiling.wall_s, call.deadline.remaining_s(now)))
        return Grant(
            call=call, quote=quote, limits=Cost(cpu_s, wall_s, ceiling.peak_bytes), lane=quote.lane,
            memory_bytes=ceiling.peak_bytes, admitted_at=now, queued_s=turn.queued_s, trial=turn.trial,
            company=turn.company,
        )  # fmt: skip

    def _forget(self, call_id: str, waiter: _Waiter) -> None:
        now = self._clock()
        self._waiters.pop(call_id, None)
        if self._gate.leave(now, call_id):
            self._dispatch(now)
        elif waiter.granted.done() and isinstance(waiter.granted.result(), Grant):
            # Granted in the same instant in which its caller stopped waiting: nothing ran, nothing is charged.
            self._gate.finish(now, call_id, NOTHING_RAN)
            self._dispatch(now)


def applicant_of(call: Call, quote: Quote, standing: Standing, machine: Machine, now: float) -> Applicant:
    """The call as the gate sees it."""
    tenant = call.caller.tenant
    ticket = Ticket(
        call.id, tenant, quote.lane, machine.scalar_s(quote.expected), quote.ceiling.peak_bytes, call.deadline.at,
        standing.weight, _batch(call, quote, standing, now), quote.shared_s,
    )  # fmt: skip
    return Applicant(
        ticket=ticket,
        subject=Subject(tenant, call.model, quote.feature_class, standing.witness),
        trust=standing.trust,
        levels=standing.levels,
        demand=Demand(machine.scalar_s(quote.reserve), call.features.as_dict().get("token_bound", 0)),
        wall_s=quote.expected.wall_s * math.exp(_Z90 * quote.spread),
        digest=lambda: hashlib.blake2b(call.payload, key=call.model.encode()[:64], digest_size=16).digest(),
    )


def _batch(call: Call, quote: Quote, standing: Standing, now: float) -> str:
    """Only calls of one lane, one trust class and about the same time left run together; of callers without a key none.

    A company of eight poisons holds its slot for nine grants, and names without a key cost nothing.
    """
    if not call.batch or standing.trust is Trust.ANONYMOUS:
        return ""
    left = int(math.log2(max(1e-3, call.deadline.remaining_s(now))))
    return f"{call.model}/{call.batch}/{quote.lane}/{standing.trust}/{left}"
