"""The replay: recorded requests against a policy, in virtual time, through the very code that admits them in the server.

Decides nothing about a request: the gate, the standings, the limits on bodies and open requests, and settlement are those of
the server (assembly.py makes them); only what happens when is computed here, from a heap of arrivals, departures and ends of
work instead of a clock. What a call did when it ran it does again; one that was never run takes what its price expects.
Promises that every request has exactly one fate and that nothing is held at the end. What is not replayed: quarantine (a log
holds no contents), the event loop's lag, and that a caller who is refused comes back, or doesn't.
"""

from __future__ import annotations

import dataclasses
import heapq
import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from wickguard.assembly import Site, build_gate, build_standings
from wickguard.backtest.recording import Request, counted
from wickguard.backtest.screen import screen
from wickguard.control.applicant import Barrier, Denial, Ending
from wickguard.control.lease import Settlement
from wickguard.control.quota import reading
from wickguard.control.swarm import Swarm
from wickguard.deadline import Deadline
from wickguard.guard.admit import LEAST_S, applicant_of, explain
from wickguard.guard.edge import InFlight
from wickguard.guard.lessons import Lessons
from wickguard.guard.settle import settle
from wickguard.guard.standing import Standing
from wickguard.policy.schema import Policy
from wickguard.records import Call, Caller, Cost, Grant, Outcome, OutcomeKind, Quote
from wickguard.rejection import Reason

# The accounts of made-up identities hash by it; a log is no attacker.
_SEED = b"a backtest is repeatable"


@dataclass(frozen=True, slots=True)
class Fate:
    """What would have become of a request. reason: None when it got its grant."""

    request: Request
    reason: str | None
    queued_s: float = 0.0
    spent_s: float = 0.0


class _What(IntEnum):
    # At one instant, what ends makes room before others ask for it.
    END = 0
    ARRIVE = 1
    LEAVE = 2


@dataclass(frozen=True, slots=True)
class _Features:
    """Recorded features."""

    values: dict[str, int]

    def as_dict(self) -> dict[str, int]:
        """Name to value."""
        return self.values


class Replay:
    """One run. Times are seconds since the first request."""

    def __init__(self, policy: Policy, site: Site) -> None:
        self._policy = policy
        self._machine = site.machine
        self._gate = build_gate(policy, site, _SEED)
        self._standings = build_standings(policy, site)
        self._flight = InFlight(policy.edge)
        self._swarm = Swarm()
        self._lessons = Lessons(self._surcharge, lambda model, feature_class: None)
        self._heap: list[tuple[float, _What, int, Request]] = []
        self._order = itertools.count()
        self._waiting: dict[str, tuple[Request, Call, Quote]] = {}
        self._running: dict[str, tuple[Grant, float]] = {}
        self._fates: dict[str, Fate] = {}
        self._now = 0.0

    def run(self, requests: Iterable[Request]) -> list[Fate]:
        """The fates, in the order of the requests, which is that of time."""
        asked = list(requests)
        start = asked[0].at if asked else 0.0
        for request in asked:
            self._at(request.at - start, _What.ARRIVE, request)
        while self._heap:
            self._now, what, _, request = heapq.heappop(self._heap)
            match what:
                case _What.ARRIVE:
                    self._arrive(request)
                case _What.LEAVE:
                    self._leave(request)
                case _What.END:
                    self._end(request)
        return [self._fates[request.id] for request in asked]

    def held(self) -> dict[str, float]:
        """Everything that can be held; all zero when the replay is over."""
        return {
            "waiting": self._gate.waiting, "running": self._gate.running, "leases": len(self._gate.parts.quota),
            "bytes granted": self._gate.parts.memory.held_bytes, "bytes in flight": self._flight.bytes_held,
            "open requests": self._flight.open_requests,
        }  # fmt: skip

    def scalar_s(self, cost: Cost) -> float:
        """See guard.settle.Holds."""
        return self._machine.scalar_s(cost)

    def release(self, grant: Grant, ending: Ending) -> Settlement:
        """See guard.settle.Holds. Starts the next, as in the server: before anything is learned from this call."""
        settlement = self._gate.finish(self._now, grant.call.id, ending)
        self._dispatch()
        return settlement

    def _at(self, when: float, what: _What, request: Request) -> None:
        heapq.heappush(self._heap, (when, what, next(self._order), request))

    def _arrive(self, request: Request) -> None:
        quote, caller = request.quote, request.caller
        standing = self._standing(caller)
        if quote is None:
            # As it was, whatever the policy; being refused is not free.
            self._pace(request, standing)
            self._fates[request.id] = Fate(request, request.happened.reason)
            return
        denial = self._gate.glance(self._now, standing.levels, standing.trust, LEAST_S)
        if denial is not None:
            self._deny(request, denial)
            return
        refusal = self._flight.open(caller.tenant)
        if refusal is None:
            refusal = screen(request, quote, self._policy) or self._flight.take(caller.tenant, request.body_bytes)
            if refusal is not None:
                self._flight.close(caller.tenant)
        if refusal is not None:
            self._pace(request, standing)
            self._fates[request.id] = Fate(request, refusal.reason)
            return
        self._ask(request, quote, standing)

    def _ask(self, request: Request, quote: Quote, standing: Standing) -> None:
        due = Deadline(self._now + request.due_s)
        call = Call(
            request.id, request.route, request.caller, request.model, request.id.encode(), _Features(request.features), due,
            request.batch,
        )  # fmt: skip
        quote = dataclasses.replace(quote, lane=self._policy.price.lane(quote.expected.cpu_s))
        denial = self._gate.arrive(self._now, applicant_of(call, quote, standing, self._machine, self._now))
        if denial is not None:
            self._close(request)
            self._deny(request, denial)
            return
        self._waiting[request.id] = (request, call, quote)
        patience = request.happened.left_s
        self._at(self._now + min(request.due_s, request.due_s if patience is None else patience), _What.LEAVE, request)
        self._dispatch()

    def _dispatch(self) -> None:
        for turn in self._gate.turns(self._now):
            request, call, quote = self._waiting.pop(turn.id)
            if turn.denial is not None:
                self._close(request)
                self._deny(request, turn.denial)
                continue
            limits = request.happened.limits or quote.ceiling
            grant = Grant(
                call, quote, limits, quote.lane, quote.ceiling.peak_bytes, self._now, turn.queued_s, trial=turn.trial
            )
            self._running[request.id] = (grant, turn.queued_s)
            held_s = request.happened.held_s if request.happened.run is not None else quote.expected.wall_s
            self._at(self._now + held_s, _What.END, request)

    def _leave(self, request: Request) -> None:
        if not self._gate.leave(self._now, request.id):
            return
        del self._waiting[request.id]
        self._close(request)
        gone = request.happened.left_s is not None and request.happened.left_s < request.due_s
        self._fates[request.id] = Fate(request, Reason.CLIENT_GONE if gone else Reason.DEADLINE_EXCEEDED)
        self._dispatch()

    def _end(self, request: Request) -> None:
        grant, queued_s = self._running.pop(request.id)
        outcome = request.happened.run or _as_expected(request, grant.quote)
        receipt, _ = settle(self, grant, outcome)
        self._lessons.learn(grant, outcome)
        self._close(request)
        self._fates[request.id] = Fate(request, None, queued_s, receipt.charged_s)

    def _close(self, request: Request) -> None:
        self._flight.give_back(request.caller.tenant, request.body_bytes)
        self._flight.close(request.caller.tenant)
        self._pace(request, self._standing(request.caller), 0.0)

    def _deny(self, request: Request, denial: Denial) -> None:
        if denial.barrier is Barrier.GROUP:
            self._swarm.met_cap(self._now, request.caller.tenant)
        self._fates[request.id] = Fate(request, explain(denial).reason)

    def _pace(self, request: Request, standing: Standing, times: float = 1.0) -> None:
        if request.caller.tenant != "unknown":
            self._gate.parts.quota.charge_handling(self._now, standing.levels, times + reading(request.body_bytes))

    def _standing(self, caller: Caller) -> Standing:
        return self._standings.of(caller, alarmed=self._swarm.alarmed(self._now))

    def _surcharge(self, caller: Caller, factor: float) -> None:
        self._gate.parts.quota.surcharge(self._now, self._standing(caller).levels, factor)


def _as_expected(request: Request, quote: Quote) -> Outcome:
    """The outcome of a call that nobody ran."""
    return Outcome(OutcomeKind.COMPLETED, quote.expected, counted(request.features.get("token_typical", 0)))
