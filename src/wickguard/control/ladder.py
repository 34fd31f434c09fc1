"""The ladder: which limits a call has to fit, from the whole server down to its caller's address.

Decides the levels of a caller and their limits from the server's capacity: everything, the caller's group, its tenant, its
key, and the networks it comes from. Only a cap on a group stops many identities that each stay under their own limit, so
groups that anybody can join are capped: callers without a key 25 % of the capacity (10 % under alarm), tenants that are new
25 %, any one tenant 50 %. Of the strangers' part, those without a record (quota.py) may use three fifths: the rest is out of
reach of identities that were made up for an attack. Networks are limited beside their addresses: 8 times an address for an
IPv4 /24; for IPv6, where a /64 stands for one subscriber, 4 times for its /56 and 16 times for its /48 (RIPE-690 gives homes
and businesses these).

Promises that every depth is at least 2.4 times the dearest admissible call: a shallower bucket would refuse that class of
call for ever. Pure; it must not know what was spent, nor who the callers are.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import msgspec

from wickguard.control.bucket import Limit
from wickguard.errors import ConfigError, WickguardError

# Two of the dearest calls at once and some change: with room for only one, a tenant whose calls differ in cost is refused
# every tenth dear call by its own bucket while far below its rate (benches/simulator: generation 90 % instead of 98 % in calm).
DEPTH_OVER_DEAREST = 2.4
# The limit of the whole server is a backstop against prices that are wrong, out of reach while they are right: it is first
# come, first served, and what bounds everybody in fair shares is the queue.
BACKSTOP = 2.0


class Scope(StrEnum):
    """Whose limit a level is; widest first."""

    GLOBAL = "global"
    POOL = "pool"
    TENANT = "tenant"
    KEY = "key"
    NETWORK = "network"


class Trust(StrEnum):
    """The group of callers that is capped as a whole. Local callers and established tenants are capped by nothing but the
    server's capacity and their own limits.
    """

    LOCAL = "local"
    ESTABLISHED = "established"
    NEW = "new"
    ANONYMOUS = "anonymous"


class Currency(StrEnum):
    """What a limit counts. Compute-seconds underneath everything; the others because users ask for them."""

    COMPUTE_S = "compute-seconds"
    REQUESTS = "requests"
    TOKENS = "tokens"
    CALLS = "concurrent calls"


class Level(msgspec.Struct, frozen=True, gc=False):
    """One limit that a call has to fit. `name` is unique among all levels. (A struct: some are made for every call.)

    credit: None for a name that the operator gave, which starts with an empty bucket; else what an unknown one may spend at
    once. Names with a credit are the only ones that callers can make up, and the only ones that are ever forgotten.
    newcomers: to be fitted only by those who have no record yet.
    """

    scope: Scope
    name: str
    limit: Limit
    currency: Currency = Currency.COMPUTE_S
    credit: float | None = None
    newcomers: bool = False

    @property
    def own(self) -> bool:
        """Whether it is the caller's own, in compute-seconds: its tenant's, its key's."""
        return self.currency is Currency.COMPUTE_S and self.scope in (Scope.TENANT, Scope.KEY)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a tenant may use: compute-seconds per second, and optional limits in what users count themselves.

    calls: at once. share: of the capacity, the most that the tenant gets whatever its rate says.
    """

    rate: float
    requests: Limit | None = None
    tokens: Limit | None = None
    calls: int | None = None
    share: float = 0.5


@dataclass(frozen=True, slots=True)
class Climber:
    """Who calls, as the ladder sees it. For callers without a key the tenant is the address (IPv4) or its /64 (IPv6).

    address: in network order, 4 bytes or 16; empty when networks are not limited (a key is accountable by itself).
    """

    tenant: str
    trust: Trust
    key_id: str | None = None
    address: bytes = b""


@dataclass(frozen=True, slots=True)
class LadderSettings:
    """capacity: compute-seconds per second that all callers share (cores). dearest_s: what the dearest admissible call
    reserves. median_s: what a median call reserves, the credit of the unknown. burst_s: depth of a bucket in seconds of its
    rate. anonymous_rate: compute-seconds per second of one address. Shares are parts of the capacity, except newcomers_share,
    which is a part of the strangers' share.
    """

    capacity: float
    dearest_s: float
    median_s: float
    burst_s: float = 10.0
    anonymous_rate: float = 0.1
    anonymous_share: float = 0.25
    alarmed_share: float = 0.10
    new_share: float = 0.25
    newcomers_share: float = 0.6

    def __post_init__(self) -> None:
        if min(self.capacity, self.dearest_s, self.median_s, self.burst_s, self.anonymous_rate) <= 0:
            raise ConfigError("capacity, prices, burst_s and anonymous_rate must be positive")
        if (
            not 0 < self.alarmed_share <= self.anonymous_share <= 1
            or not 0 < min(self.new_share, self.newcomers_share) <= 1
        ):
            raise ConfigError("shares must be above 0 and at most 1, and alarmed_share at most anonymous_share")


class Ladder:
    """Finds the levels of callers."""

    def __init__(self, settings: LadderSettings) -> None:
        self._settings = settings
        calm = (settings.anonymous_share, settings.new_share)
        alarmed = (settings.alarmed_share, min(settings.new_share, settings.alarmed_share))
        self._wide = {False: self._pools(*calm), True: self._pools(*alarmed)}
        self._anonymous = Plan(settings.anonymous_rate)
        self._network_limits = {
            times: (self._limit(times * settings.anonymous_rate), times * settings.median_s) for times in (4, 8, 16)
        }
        self._address_limit = self._tenant_limit(self._anonymous)
        self._local_limit = self._limit(settings.capacity)

    def depth(self, rate: float) -> float:
        """The depth of a bucket of this rate."""
        return max(self._settings.burst_s * rate, DEPTH_OVER_DEAREST * self._settings.dearest_s)

    def levels(self, climber: Climber, plan: Plan | None = None, *, alarmed: bool = False) -> tuple[Level, ...]:
        """All levels of a caller, widest first. `plan` is for tenants with a key, alarmed: many identities attack together."""
        wide = self._wide[alarmed]
        if climber.trust is Trust.LOCAL:
            # The machine's own users, who could as well stop the server: only how many names there are must be bounded.
            own = Level(Scope.TENANT, climber.tenant, self._local_limit, credit=self._local_limit.depth)
            return (*wide[Trust.ESTABLISHED], own)
        if climber.trust is Trust.ANONYMOUS:
            tenant = Level(Scope.TENANT, climber.tenant, self._address_limit, credit=self._settings.median_s)
            return (*wide[Trust.ANONYMOUS], tenant, *self._networks(climber.address))
        plan = plan or self._anonymous
        limit = self._tenant_limit(plan)
        found = [*wide[climber.trust], Level(Scope.TENANT, climber.tenant, limit)]
        found += self._counted(climber.tenant, plan)
        if climber.key_id is not None:
            found.append(Level(Scope.KEY, f"{climber.tenant}/{climber.key_id}", limit))
        return (*found, *self._networks(climber.address))

    def _tenant_limit(self, plan: Plan) -> Limit:
        return self._limit(min(plan.rate, plan.share * self._settings.capacity))

    def _limit(self, rate: float) -> Limit:
        return Limit(rate, self.depth(rate))

    def _pools(self, anonymous: float, new: float) -> dict[Trust, tuple[Level, ...]]:
        capacity = self._settings.capacity
        top = Level(Scope.GLOBAL, "all", self._limit(BACKSTOP * capacity))
        shares = {Trust.ANONYMOUS: anonymous, Trust.NEW: new}
        pools: dict[Trust, tuple[Level, ...]] = {
            trust: (top, Level(Scope.POOL, f"pool:{trust}", self._limit(share * capacity)))
            for trust, share in shares.items()
        }
        limit = self._limit(self._settings.newcomers_share * anonymous * capacity)
        pools[Trust.ANONYMOUS] += (Level(Scope.POOL, f"pool:{Trust.ANONYMOUS}:newcomers", limit, newcomers=True),)
        return {Trust.ESTABLISHED: (top,), **pools}

    def _counted(self, tenant: str, plan: Plan) -> list[Level]:
        limits = {Currency.REQUESTS: plan.requests, Currency.TOKENS: plan.tokens}
        if plan.calls is not None:
            # Calls at once are given back whole, so this limit needs no rate.
            limits[Currency.CALLS] = Limit(0.0, plan.calls)
        return [
            Level(Scope.TENANT, f"{tenant}#{currency}", limit, currency)
            for currency, limit in limits.items()
            if limit is not None
        ]

    def _networks(self, address: bytes) -> list[Level]:
        found = []
        for name, times in networks_of(address) if address else ():
            limit, credit = self._network_limits[times]
            found.append(Level(Scope.NETWORK, name, limit, credit=credit))
        return found


def networks_of(address: bytes) -> tuple[tuple[str, int], ...]:
    """The networks around an address and how many addresses' worth each may use. Raises WickguardError for other lengths."""
    if len(address) == 4:
        return ((f"net:{address[0]}.{address[1]}.{address[2]}.0/24", 8),)
    if len(address) == 16:
        return ((f"net:{address[:7].hex()}/56", 4), (f"net:{address[:6].hex()}/48", 16))
    raise WickguardError(f"an address has 4 or 16 bytes, not {len(address)}")
