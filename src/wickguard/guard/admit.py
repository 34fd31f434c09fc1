"""Admit: Quote -> Grant. Slots, a fair bounded queue, memory, and whether the deadline can be met.

Decides whether a call may run, and when. All or nothing: a call that waits holds no slot and no bytes; it gets both at the
same instant or a refusal that says when to come back. A call that can't finish in time is told so now, and again when its
turn comes. Promises: the sum of granted bytes never exceeds the budget (law 3); every hold is released exactly once, by
`release`, when the work has stopped (law 1). The algorithms are in control/; this stage only waits. It must not know
processes or HTTP.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from msgspec import Meta

from wickguard.control.fair_queue import FairQueue, Ticket
from wickguard.control.memory import MemoryReservation
from wickguard.control.slots import Slots
from wickguard.errors import SettingError
from wickguard.records import Call, Cost, Grant, Lane, Quote
from wickguard.rejection import Reason, Rejection
from wickguard.setting import check


@dataclass(frozen=True, slots=True)
class AdmissionSettings:
    """How much work may wait, in predicted CPU-seconds per lane, and what a prediction is worth.

    queue_s: of all tenants together.
    tenant_queue_s: of one tenant (one waiting call is always allowed).
    q90: the 90th percentile of actual over expected; a call must fit its deadline at that.
    """

    queue_s: Annotated[float, Meta(ge=0.001, le=86_400)] = 20.0
    tenant_queue_s: Annotated[float, Meta(ge=0.001, le=86_400)] = 5.0
    q90: Annotated[float, Meta(ge=1, le=100)] = 1.3

    def __post_init__(self) -> None:
        check(self)
        if self.tenant_queue_s > self.queue_s:
            raise SettingError("{} must be at most {}", "tenant_queue_s", "queue_s", seen=f"{self.tenant_queue_s:g}")


@dataclass(frozen=True, slots=True)
class _Waiter:
    call: Call
    quote: Quote
    since: float
    granted: asyncio.Future[Grant | Rejection]


class Admission:
    """The gate. One per server; lives on one event loop."""

    def __init__(
        self, slots: Slots, memory: MemoryReservation, settings: AdmissionSettings, clock: Callable[[], float]
    ) -> None:
        self._slots = slots
        self._memory = memory
        self._settings = settings
        self._clock = clock
        self._queue = FairQueue()
        self._waiters: dict[str, _Waiter] = {}
        self._running: dict[str, Ticket] = {}
        self.draining = False

    @property
    def waiting(self) -> int:
        """Calls in the queue."""
        return len(self._waiters)

    @property
    def running(self) -> int:
        """Calls that hold a grant."""
        return len(self._running)

    @property
    def held_bytes(self) -> int:
        """Bytes granted now."""
        return self._memory.held_bytes

    def queued_s(self, lane: Lane) -> float:
        """Predicted seconds of work waiting in a lane."""
        return self._queue.total_s(lane)

    async def admit(self, call: Call, quote: Quote, gone: asyncio.Future[None]) -> Grant | Rejection:
        """Wait for a grant. `gone` completes when the client has left. Cancelling leaves nothing behind."""
        now = self._clock()
        refusal = self._refuse(call, quote, now)
        if refusal is not None:
            return refusal
        ticket = Ticket(
            call.id, call.caller.tenant, quote.lane, quote.expected.cpu_s, quote.ceiling.peak_bytes, call.deadline.at
        )
        waiter = _Waiter(call, quote, now, asyncio.get_running_loop().create_future())
        self._waiters[call.id] = waiter
        self._queue.push(ticket)
        self._dispatch()
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

    def release(self, grant: Grant, actual_s: float) -> tuple[str, ...]:
        """The work of `grant` has stopped: give back its slot and bytes, settle its tenant's counter, start the next.

        Raises WickguardError when it was released before.
        """
        ticket = self._running.pop(grant.call.id, None)
        self._memory.release(grant.call.id)
        self._slots.give_back(grant.lane)
        if ticket is not None:
            self._queue.settle(ticket, actual_s)
        self._dispatch()
        return ("slot", "memory", "share")

    def _refuse(self, call: Call, quote: Quote, now: float) -> Rejection | None:
        if self.draining:
            return Rejection(Reason.DRAINING, "", retry_after_s=5.0)
        if not self._memory.ever_fits(quote.ceiling.peak_bytes):
            return Rejection(
                Reason.UNAFFORDABLE, "the call needs more memory than all calls together may have",
                limit=self._memory.budget_bytes, seen=quote.ceiling.peak_bytes, unit="bytes",
            )  # fmt: skip
        needed = quote.expected.wall_s * self._settings.q90
        left = call.deadline.remaining_s(now)
        if needed > left:
            return Rejection(
                Reason.DEADLINE_INFEASIBLE, "even on an idle server", limit=round(left, 3), seen=round(needed, 3),
                unit="seconds", accepted="a longer timeout, or fewer inputs",
            )  # fmt: skip
        return self._refuse_to_queue(call, quote, left - needed)

    def _refuse_to_queue(self, call: Call, quote: Quote, slack_s: float) -> Rejection | None:
        lane, tenant, price = quote.lane, call.caller.tenant, quote.expected.cpu_s
        own = self._queue.backlog_s(tenant, lane)
        wait = self._predicted_wait_s(tenant, lane)
        again = max(1.0, wait)
        if own > 0 and own + price > self._settings.tenant_queue_s:
            return Rejection(
                Reason.OVER_SHARE, "", limit=self._settings.tenant_queue_s, seen=round(own + price, 3),
                unit="seconds of own work waiting", retry_after_s=again,
            )  # fmt: skip
        total = self._queue.total_s(lane)
        if total > 0 and total + price > self._settings.queue_s:
            return Rejection(
                Reason.OVERLOADED, "", limit=self._settings.queue_s, seen=round(total + price, 3),
                unit="seconds of work waiting", retry_after_s=again,
            )  # fmt: skip
        if wait > slack_s:
            return Rejection(
                Reason.OVERLOADED, "the call would wait past its deadline", limit=round(slack_s, 3), seen=round(wait, 3),
                unit="seconds of waiting", retry_after_s=again,
            )  # fmt: skip
        return None

    def _predicted_wait_s(self, tenant: str, lane: Lane) -> float:
        """Own backlog times the tenants that share the lane, plus what has to end first, over the lane's slots."""
        shared = self._queue.backlog_s(tenant, lane) * (1 + self._queue.contenders(lane, tenant))
        residual = 0.0
        if not self._slots.free(lane):
            # On average half of what runs is still to come.
            residual = sum(ticket.price_s for ticket in self._running.values() if ticket.lane is lane) / 2
        return (shared + residual) / self._slots.capacity(lane)

    def _dispatch(self) -> None:
        while True:
            ticket = self._queue.pop(self._can_start)
            if ticket is None:
                return
            waiter = self._waiters.pop(ticket.id)
            late = self._too_late(waiter)
            if late is not None:
                self._queue.settle(ticket, 0.0)
                waiter.granted.set_result(late)
                continue
            self._slots.take(ticket.lane)
            self._memory.hold(ticket.id, ticket.memory_bytes)
            self._running[ticket.id] = ticket
            waiter.granted.set_result(self._grant(waiter, ticket))

    def _too_late(self, waiter: _Waiter) -> Rejection | None:
        needed = waiter.quote.expected.wall_s * self._settings.q90
        left = waiter.call.deadline.remaining_s(self._clock())
        if needed <= left:
            return None
        return Rejection(
            Reason.DEADLINE_EXCEEDED, "when its turn came, too little time was left", limit=round(left, 3),
            seen=round(needed, 3), unit="seconds",
        )  # fmt: skip

    def _can_start(self, ticket: Ticket) -> bool:
        return self._slots.free(ticket.lane) and self._memory.fits(ticket.memory_bytes)

    def _grant(self, waiter: _Waiter, ticket: Ticket) -> Grant:
        now = self._clock()
        ceiling = waiter.quote.ceiling
        # The deadline is a limit like any other: what can't be used any more is not granted (at least one timer tick).
        wall_s = max(0.001, min(ceiling.wall_s, waiter.call.deadline.remaining_s(now)))
        return Grant(
            call=waiter.call,
            quote=waiter.quote,
            limits=Cost(ceiling.cpu_s, wall_s, ceiling.peak_bytes),
            lane=ticket.lane,
            memory_bytes=ticket.memory_bytes,
            admitted_at=now,
            queued_s=now - waiter.since,
        )

    def _forget(self, call_id: str, waiter: _Waiter) -> None:
        self._waiters.pop(call_id, None)
        if not waiter.granted.done():
            self._queue.remove(call_id)
            self._dispatch()
        elif isinstance(grant := waiter.granted.result(), Grant):
            # Granted in the same instant in which its caller stopped waiting: nothing ran, nothing is charged.
            self.release(grant, 0.0)
