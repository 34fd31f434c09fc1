"""The gate in the world: requests become applicants and turns become starts, exactly as guard/admit.py does it.

Decides nothing: it builds the gate as assembly.py does, from the ladder, standings and settings of the server, and switches
parts off for the ablation. Outcomes are settled by the server's own tables (guard/settle.py, control/breaker.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from benches.simulator.workload import CORES, EMBED, MEMORY_BYTES, Request, Tenant, priced
from benches.simulator.world import End, Fate, Start
from wickguard.control.applicant import Applicant, Barrier, Denial, Ending, scalar_price
from wickguard.control.breaker import BreakerSettings, verdict_of
from wickguard.control.fair_queue import Ticket
from wickguard.control.gate import AdmissionSettings, Gate, Parts
from wickguard.control.ladder import Ladder, LadderSettings, Plan, Trust
from wickguard.control.lease import Demand
from wickguard.control.memory import MemoryReservation
from wickguard.control.panel import Panel, Subject
from wickguard.control.quota import Quota
from wickguard.control.slots import Slots
from wickguard.control.surge import Surge, SurgeSettings
from wickguard.control.swarm import Swarm
from wickguard.guard.admit import LEAST_S
from wickguard.guard.settle import charge
from wickguard.guard.standing import Standing, Standings, Tenancy
from wickguard.records import Caller, Cost, Lane, Outcome, OutcomeKind, Pool

# Longer calls use a lane of their own.
SHORT_S = 0.25
LONG_SLOTS = CORES - 1
_Z90 = 1.2816
_NEVER = 10**9

KINDS_OF_END = {
    Fate.ANSWERED: OutcomeKind.COMPLETED,
    Fate.KILLED: OutcomeKind.EXPIRED_CPU,
    Fate.CRASHED: OutcomeKind.OUT_OF_MEMORY,
    Fate.LEFT: OutcomeKind.ABANDONED,
}


@dataclass(frozen=True, slots=True)
class Features:
    """What of the gate is on. full: lanes, breakers, quarantine, the safety net, the swarm's alarm, memory shares."""

    kills: bool = False
    fair: bool = False
    pools: bool = False
    full: bool = False


class Gated:
    """A policy that asks the server's gate."""

    watches = True

    def __init__(self, features: Features, dearest_s: float) -> None:
        self._features = features
        self.confines = features.kills
        self.gate = build_gate(features)
        self._standings = build_standings(features, dearest_s)
        self._swarm = Swarm()
        self._requests: dict[str, Request] = {}

    def arrive(self, now: float, request: Request) -> str:
        """See Policy: the look at the head, then the whole call."""
        caller = caller_of(request.tenant)
        standing = self._standings.of(caller, alarmed=self._features.full and self._swarm.alarmed(now))
        denial = self.gate.glance(now, standing.levels, standing.trust, LEAST_S)
        denial = denial or self.gate.arrive(now, self._applicant(request, standing))
        if denial is not None:
            return self._tell(now, request, denial)
        self._requests[request.id] = request
        return ""

    def turns(self, now: float) -> list[Start]:
        """See Policy."""
        return [
            self._start(now, self._requests[turn.id], suspect=turn.suspect)
            if turn.denial is None
            else Start(self._requests.pop(turn.id).id, refused=turn.denial.barrier)
            for turn in self.gate.turns(now)
        ]

    def leave(self, now: float, request: Request) -> None:
        """See Policy."""
        del self._requests[request.id]
        assert self.gate.leave(now, request.id)

    def finish(self, now: float, request: Request, end: End) -> None:
        """See Policy: as guard/settle.py."""
        del self._requests[request.id]
        kind = OutcomeKind.EXPIRED_WALL if end.hurried else KINDS_OF_END[end.fate]
        outcome = Outcome(kind, end.usage, respawn_s=end.respawn_s)
        killed = kind not in (OutcomeKind.COMPLETED, OutcomeKind.ABANDONED)
        ending = Ending(
            cpu_s=charge(outcome, _scalar_s(request.expected), _scalar_s(end.usage)),
            tokens=0,
            verdict=verdict_of(kind, hurried=end.hurried),
            killed_s=end.respawn_s if killed else None,
        )
        self.gate.finish(now, request.id, ending)

    def _applicant(self, request: Request, standing: Standing) -> Applicant:
        name, features = request.tenant.name, self._features
        lane = Lane.LONG if features.full and request.expected.wall_s > SHORT_S else Lane.SHORT
        ticket = Ticket(
            request.id, name if features.fair else "all", lane, _scalar_s(request.expected), request.ceiling.peak_bytes,
            request.deadline_at, standing.weight,
        )  # fmt: skip
        return Applicant(
            ticket=ticket,
            subject=Subject(name, "model", request.feature_class, standing.witness),
            # A group is a crowd in the queue for the same reason for which it has a cap.
            trust=standing.trust if features.pools else Trust.ESTABLISHED,
            levels=standing.levels,
            demand=Demand(_scalar_s(request.reserve)),
            wall_s=request.expected.wall_s * math.exp(_Z90 * request.spread),
            digest=request.id.encode,
        )

    def _tell(self, now: float, request: Request, denial: Denial) -> str:
        if denial.barrier is Barrier.GROUP:
            self._swarm.met_cap(now, request.tenant.name)
        return denial.barrier

    def _start(self, now: float, request: Request, *, suspect: bool) -> Start:
        if not self._features.kills:
            return Start(request.id)
        cpu_s = request.ceiling.cpu_s
        if suspect:
            cpu_s = self.gate.parts.quarantine.trial_grant_s(cpu_s, request.reserve.cpu_s)
        return Start(request.id, cpu_s, max(0.001, min(request.ceiling.wall_s, request.deadline_at - now)))


def build_gate(features: Features) -> Gate:
    """The gate as assembly.py makes it; what is off is trivial."""
    if features.full:
        settings = AdmissionSettings()
        memory = MemoryReservation(MEMORY_BYTES, settings.tenant_memory_share)
        return Gate(Parts(Slots(CORES, LONG_SLOTS), memory, Quota(b"simulator")), settings)
    bound = AdmissionSettings().queue_s
    settings = AdmissionSettings(
        tenant_queue_s=AdmissionSettings().tenant_queue_s if features.fair else bound, tenant_memory_share=1.0
    )
    never = BreakerSettings(kills=0, least=_NEVER)
    parts = Parts(
        Slots(CORES, CORES), MemoryReservation(MEMORY_BYTES), Quota(b"simulator"), Panel(never, never),
        surge=Surge(SurgeSettings(interval_s=_NEVER)),
    )  # fmt: skip
    return Gate(parts, settings)


def build_standings(features: Features, dearest_s: float) -> Standings:
    """Who has which limits; without pools a group may have everything."""
    _, median, _ = priced(EMBED.median_s, EMBED.size_bytes)
    shares = {} if features.pools else {"anonymous_share": 1.0, "new_share": 1.0}
    ladder = Ladder(LadderSettings(float(CORES), dearest_s, median.cpu_s, **shares))
    return Standings(ladder, lambda name: Tenancy(Plan(float(name.rpartition("@")[2]))), local=False)


def caller_of(tenant: Tenant) -> Caller:
    """The caller as guard/identity.py would find it; the plan's rate is in the name, so that no table is needed."""
    if tenant.rate is None:
        return Caller(tenant.name, Pool.ANONYMOUS, tenant.address)
    return Caller(f"key:{tenant.name}@{tenant.rate}", Pool.KEYED, tenant.address, "k")


def _scalar_s(cost: Cost) -> float:
    return scalar_price(cost, float(CORES), MEMORY_BYTES)
