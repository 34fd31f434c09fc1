"""Gates and applicants for tests of admission: small machines, wide quotas unless a test says otherwise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from wickguard.control.applicant import Applicant, Ending
from wickguard.control.breaker import Verdict
from wickguard.control.fair_queue import Ticket
from wickguard.control.gate import AdmissionSettings, Gate, Parts
from wickguard.control.ladder import Climber, Ladder, LadderSettings, Level, Plan, Trust
from wickguard.control.lease import Demand
from wickguard.control.memory import MemoryReservation
from wickguard.control.panel import Subject
from wickguard.control.quota import Quota
from wickguard.control.slots import Slots
from wickguard.records import Lane

WIDE = LadderSettings(capacity=100.0, dearest_s=100.0, median_s=1.0)


def ticket(
    name: str, tenant: str = "a", price_s: float = 1.0, *, due: float = 100.0, lane: Lane = Lane.SHORT,
    size_bytes: int = 1,
) -> Ticket:  # fmt: skip
    """A waiting call."""
    return Ticket(name, tenant, lane, price_s, size_bytes, due)


def good(cpu_s: float) -> Ending:
    """How a call that went well ended."""
    return Ending(cpu_s, 0, Verdict.GOOD)


def killed(cpu_s: float, respawn_s: float = 0.0) -> Ending:
    """How a call ended that was killed at its grant."""
    return Ending(cpu_s, 0, Verdict.BAD, respawn_s)


@dataclass
class Door:
    """A gate, and applicants for it. rates: of tenants with a key; whoever is not among them has no key."""

    slots: tuple[int, int] = (1, 1)
    budget_bytes: int = 100
    settings: AdmissionSettings = field(
        default_factory=lambda: AdmissionSettings(efficiency=1.0, tenant_memory_share=1.0)
    )
    ladder: LadderSettings = WIDE
    rates: dict[str, float] = field(default_factory=lambda: {"a": 100.0, "b": 100.0, "c": 100.0})

    def __post_init__(self) -> None:
        memory = MemoryReservation(self.budget_bytes, self.settings.tenant_memory_share)
        self.parts = Parts(Slots(*self.slots), memory, Quota(b"seed"))
        self.gate = Gate(self.parts, self.settings)
        self._ladder = Ladder(self.ladder)

    def trust(self, tenant: str) -> Trust:
        """The group of this tenant."""
        return Trust.ESTABLISHED if tenant in self.rates else Trust.ANONYMOUS

    def levels(self, tenant: str) -> tuple[Level, ...]:
        """Its limits."""
        plan = Plan(self.rates[tenant], share=1.0) if tenant in self.rates else None
        return self._ladder.levels(Climber(tenant, self.trust(tenant)), plan)

    def applicant(
        self, waiting: Ticket, *, reserve_s: float | None = None, wall_s: float | None = None,
        feature_class: str = "size:1", digest: Callable[[], bytes] = lambda: b"same",
    ) -> Applicant:  # fmt: skip
        """The applicant with this ticket; without more it is reserved and runs for as long as its price."""
        tenant = waiting.tenant
        return Applicant(
            ticket=waiting,
            subject=Subject(tenant, "model", feature_class, tenant if tenant in self.rates else "anybody"),
            trust=self.trust(tenant),
            levels=self.levels(tenant),
            demand=Demand(waiting.price_s if reserve_s is None else reserve_s),
            wall_s=waiting.price_s if wall_s is None else wall_s,
            digest=digest,
        )

    def let_in(self, now: float, *waiting: Ticket) -> None:
        """Calls that must be let in."""
        for one in waiting:
            assert self.gate.arrive(now, self.applicant(one)) is None

    def started(self, now: float) -> list[str]:
        """Ids of the calls whose turn has come, none too late."""
        turns = self.gate.turns(now)
        assert all(turn.denial is None for turn in turns)
        return [turn.id for turn in turns]

    def held(self) -> dict[str, float]:
        """Everything that can be held; all zero when nothing is."""
        levels = {level for tenant in (*self.rates, "stranger", "guest") for level in self.levels(tenant)}
        return {
            "waiting": self.gate.waiting,
            "running": self.gate.running,
            "slots": sum(self.parts.slots.running(lane) for lane in Lane),
            "bytes": self.parts.memory.held_bytes,
            "leases": len(self.parts.quota),
            "reserved": sum(self.parts.quota.reserved(0.0, level) for level in levels),
            "queued": sum(self.gate.queued_s(lane) for lane in Lane),
        }
