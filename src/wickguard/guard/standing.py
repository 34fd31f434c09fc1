"""Standing: Caller -> the limits it must fit, the group that caps it, and its weight in the queue.

Decides from the policy alone: a tenant with a key has the plan that the operator gave it, a caller without one the plan of an
address. Who may call only because it calls from this very machine is trusted with all of it. Promises microseconds and no
memory that callers can make grow. It must not know what was spent.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass, field

from wickguard.control.ladder import Climber, Ladder, Level, Plan, Trust
from wickguard.records import Caller, Pool

# All callers without a key are one witness: addresses cost nothing.
ANYBODY = "anybody"


@dataclass(frozen=True, slots=True)
class Tenancy:
    """What the operator says about one tenant."""

    plan: Plan
    weight: float = 1.0
    trust: Trust = Trust.ESTABLISHED


@dataclass(frozen=True, slots=True)
class Standing:
    """levels: widest first. witness: who would have to be lying when this caller's calls fail. own: those of the levels, in
    compute-seconds, that are this caller's own, which it may be told about: its tenant's, its key's.
    """

    trust: Trust
    levels: tuple[Level, ...]
    weight: float
    witness: str
    own: tuple[Level, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "own", tuple(one for one in self.levels if one.own))


class Standings:
    """Finds the standing of callers. tenancy: of the tenant of a name. local: callers without a key are on this machine."""

    def __init__(self, ladder: Ladder, tenancy: Callable[[str], Tenancy], *, local: bool) -> None:
        self._ladder = ladder
        self._tenancy = tenancy
        self._local = local
        # As many entries as there are keys.
        self._keyed: dict[tuple[str, str | None, bool], Standing] = {}

    def of(self, caller: Caller, *, alarmed: bool = False) -> Standing:
        """The standing of `caller`; alarmed: many identities attack together."""
        if caller.pool is Pool.KEYED:
            found = self._keyed.get((caller.tenant, caller.key_id, alarmed))
            if found is None:
                found = self._keyed[caller.tenant, caller.key_id, alarmed] = self._of_key(caller, alarmed=alarmed)
            return found
        trust = Trust.LOCAL if self._local else Trust.ANONYMOUS
        climber = Climber(caller.tenant, trust, address=_packed(caller.prefix))
        return Standing(trust, self._ladder.levels(climber, alarmed=alarmed), 1.0, ANYBODY)

    def _of_key(self, caller: Caller, *, alarmed: bool) -> Standing:
        tenancy = self._tenancy(caller.tenant.removeprefix("key:"))
        climber = Climber(caller.tenant, tenancy.trust, caller.key_id)
        levels = self._ladder.levels(climber, tenancy.plan, alarmed=alarmed)
        return Standing(tenancy.trust, levels, tenancy.weight, caller.tenant)


def _packed(prefix: str) -> bytes:
    """An address prefix (guard/identity.prefix_of) in network order; empty when it is none."""
    address = prefix.removesuffix("/64")
    try:
        return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
    except OSError:
        return b""
