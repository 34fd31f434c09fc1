"""The quota: one decision over all levels of a call, and the leases that it leaves.

Decides whether a call's price fits every level that it has to fit (everything, group, tenant, key, networks, and what is
counted in requests, tokens or calls at once), takes all of it or nothing, and settles each taking exactly once. A taking is
a lease with an owner and an expiry: what is never settled is charged as reserved when it expires, so that nothing leaks and
nothing is given away. A killed call pays for its overshoot twice and for the process that replaces the killed one; its
tenant's prices double, up to 64 times, and come back by 5 % with every good call. A stranger who is known for a minute, has
had some good calls and was not killed since has a record, and need not fit what newcomers share: identities that were made up
for an attack have none.

    quota = Quota(seed)
    taken = quota.reserve(now, lease_id, ladder.levels(climber, plan), Demand(price_s, tokens), now + wall_s + 1)
    if isinstance(taken, Shortfall):            # 429: taken.level says which limit, taken.wait_s when to come back
        quota.charge_refusal(now, levels)
    ...
    settlement = quota.settle(now, lease_id, Usage(cpu_s, tokens, killed_s=teardown_and_respawn_s or None))

Promises: after every event, what is reserved at a level is exactly the sum over live leases; law 2 at every level; a second
settlement changes nothing and says so. It must not know HTTP, pools of workers or why a call was killed.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass

from wickguard.control.bucket import GRAIN, grains
from wickguard.control.ladder import Currency, Level, Scope
from wickguard.control.lease import Demand, Hold, Lease, Settlement, SettlementStatus, Shortfall, Usage
from wickguard.control.roll import Account, Roll, RollSettings
from wickguard.errors import ConfigError, WickguardError
from wickguard.units import KIB

# Asked for at every level of every decision, and a member costs far more to find in its enumeration than here.
_COMPUTE_S, _TENANT = Currency.COMPUTE_S, Scope.TENANT
# So many bytes of a body cost the front as much as a refusal, which is charged a millisecond: they come in pieces and are
# parsed (benches/results/refusals.md: 2 ms for 640 KB; 5 ms as a quote).
BYTES_PER_REFUSAL = 128 * KIB


@dataclass(frozen=True, slots=True)
class QuotaSettings:
    """refusal_s: what a refusal costs whoever was refused, and BYTES_PER_REFUSAL of a body whoever sent it.

    kill_factor, most_factor: a kill multiplies its tenant's prices, up to that. good_factor: what a good call multiplies them
    by, down to 1. busy_s: when to come back if only the end of a call can help. record_calls, record_s: so many good calls, and
    known for so long, make a record.
    """

    refusal_s: float = 0.001
    kill_factor: float = 2.0
    most_factor: float = 64.0
    good_factor: float = 0.95
    busy_s: float = 1.0
    record_calls: int = 5
    record_s: float = 60.0

    def __post_init__(self) -> None:
        if min(self.refusal_s, self.record_calls, self.record_s) < 0 or self.busy_s <= 0:
            raise ConfigError("refusal_s and what makes a record must not be negative, and busy_s must be positive")
        if not (0 < self.good_factor < 1 < self.kill_factor <= self.most_factor):
            raise ConfigError(
                "a kill must raise prices, a good call lower them, and most_factor be at least kill_factor"
            )


# What would be held, before it is decided.
_Wanted = tuple[Level, Account, float]


class Quota:
    """All accounts and all live leases of a server."""

    def __init__(self, seed: bytes, settings: QuotaSettings | None = None, roll: RollSettings | None = None) -> None:
        self._settings = settings or QuotaSettings()
        self._roll = Roll(roll or RollSettings(), seed)
        # Names that the operator gave: as many as the policy and the key file hold.
        self._known: dict[str, Account] = {}
        self._leases: dict[str, Lease] = {}
        self._expiries: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._leases)

    def adopt(self, settings: QuotaSettings) -> None:
        """Other settings from now on; limits come with every call anyway."""
        self._settings = settings

    @property
    def roll(self) -> Roll:
        """The accounts of identities that nobody vouches for."""
        return self._roll

    def reserve(
        self, now: float, lease_id: str, levels: Sequence[Level], demand: Demand, expires_at: float
    ) -> Lease | Shortfall:
        """Take `demand` at every level, or nothing. Raises WickguardError when the id is in use or the lease is over."""
        if lease_id in self._leases or expires_at <= now:
            raise WickguardError(f"lease {lease_id} is already taken, or would end before it begins")
        self.expire(now)
        wanted = self._wanted(now, levels, demand)
        shortfall = self._shortfall(now, wanted)
        for level, account, _ in wanted:
            # Only after the decision, so that nobody's account is forgotten in the middle of it; and refused strangers too,
            # or the time that they wait would earn them nothing.
            if level.credit is not None and not account.exact:
                self._roll.settle_in(now, level.name, account)
        if shortfall is not None:
            return shortfall
        price = 0.0
        for level, account, amount in wanted:
            account.take(amount)
            if level.credit is not None:
                self._roll.reserved(now, level.name, account, amount)
            if level.currency is _COMPUTE_S:
                price = amount
        lease = Lease(
            lease_id, price, expires_at, tuple([Hold(level, account, amount) for level, account, amount in wanted])
        )
        self._leases[lease_id] = lease
        heapq.heappush(self._expiries, (expires_at, lease_id))
        return lease

    def would(self, now: float, levels: Sequence[Level], demand: Demand) -> Shortfall | None:
        """What `reserve` would answer now, without taking anything: None when the call fits."""
        self.expire(now)
        return self._shortfall(now, self._wanted(now, levels, demand))

    def settle(self, now: float, lease_id: str, usage: Usage) -> Settlement:
        """The work of a lease has stopped: charge what it used, give back the rest. A second time is a no-op that says so."""
        self.expire(now)
        lease = self._leases.pop(lease_id, None)
        if lease is None:
            return Settlement(SettlementStatus.NOT_HELD)
        charged = self._charged_s(lease, usage)
        for hold in lease.holds:
            currency = hold.level.currency
            if currency is _COMPUTE_S:
                self._settle(now, hold, charged)
            else:
                # A call that has ended is none at once.
                self._settle(now, hold, 0.0 if currency is Currency.CALLS else _count(currency, usage.tokens))
        self._judge(now, lease, killed=usage.killed_s is not None)
        return Settlement(SettlementStatus.SETTLED, charged, max(0.0, lease.price_s - charged))

    def cancel(self, now: float, lease_id: str) -> Settlement:
        """Nothing of the lease ran (it was refused later, or its caller left the queue): give all of it back."""
        self.expire(now)
        lease = self._leases.pop(lease_id, None)
        if lease is None:
            return Settlement(SettlementStatus.NOT_HELD)
        for hold in lease.holds:
            self._settle(now, hold, 0.0)
        return Settlement(SettlementStatus.SETTLED, 0.0, lease.price_s)

    def expire(self, now: float) -> tuple[str, ...]:
        """End the leases whose time is over; each is charged what it reserved, because its call may have run. Their ids."""
        ended: list[str] = []
        while self._expiries and self._expiries[0][0] <= now:
            at, lease_id = heapq.heappop(self._expiries)
            lease = self._leases.get(lease_id)
            if lease is None or lease.expires_at != at:
                continue
            del self._leases[lease_id]
            for hold in lease.holds:
                # At the instant of expiry, not of noticing it: nobody pays for how rarely we look.
                self._settle(at, hold, 0.0 if hold.level.currency is Currency.CALLS else hold.amount)
            ended.append(lease_id)
        if len(self._expiries) > 64 and len(self._expiries) > 2 * len(self._leases):
            self._expiries = [(lease.expires_at, lease.id) for lease in self._leases.values()]
            heapq.heapify(self._expiries)
        return tuple(ended)

    def charge_refusal(self, now: float, levels: Sequence[Level]) -> float:
        """Charge a refused call to the narrowest level that is the caller's own: its key, else its tenant. What was charged.

        Wider levels are not charged: who is refused all day must not use up what its neighbours share. A stranger without
        an account is not charged: refusals of made-up identities would fill the sketch that real strangers share.
        """
        return self._charge(now, _narrowest(levels), 1.0)

    def charge_handling(self, now: float, levels: Sequence[Level], times: float) -> float:
        """Charge what the front itself did for a caller, to the same level: `times` a refusal (`reading`). What was charged.

        A stranger gets an account for it if there is a place: who never asks for anything that runs would never pay.
        """
        own = _narrowest(levels)
        if own is not None and own.credit is not None:
            self._roll.find(now, own.name, own.limit, own.credit)
        return self._charge(now, own, times)

    def available(self, now: float, level: Level) -> tuple[float, float]:
        """What could be asked at `level` now, and the seconds until its bucket is empty if nothing more is asked."""
        account = self._account(now, level)
        used = account.level_at(now, level.limit) + account.reserved
        empty = used / level.limit.rate if level.limit.rate > 0 else 0.0
        return max(0.0, level.limit.depth - used), empty

    def on_record(self, now: float, levels: Sequence[Level]) -> bool:
        """Whether this caller has been known for long enough, and its calls went well."""
        for level in levels:
            if _judged(level):
                known = level.credit is None or level.name in self._roll
                return known and self._recorded(now, self._account(now, level))
        return False

    def multiplier(self, now: float, levels: Sequence[Level]) -> float:
        """What the prices of this tenant are multiplied by: 1 to most_factor."""
        return max((self._account(now, level).multiplier for level in levels if _judged(level)), default=1.0)

    def surcharge(self, now: float, levels: Sequence[Level], factor: float) -> None:
        """Raise the prices of this tenant: its calls cost more than they look. Good calls bring them back, as after a kill."""
        for level in levels:
            if not _judged(level):
                continue
            account = self._account(now, level)
            if level.credit is not None:
                account = self._roll.punished(now, level.name, account)
            account.multiplier = min(self._settings.most_factor, account.multiplier * factor)

    def reserved(self, now: float, level: Level) -> float:
        """What running calls have reserved at `level`."""
        return self._account(now, level).reserved

    def _account(self, now: float, level: Level) -> Account:
        if level.credit is not None:
            return self._roll.peek(now, level.name, level.limit, level.credit)
        account = self._known.get(level.name)
        if account is None:
            account = self._known[level.name] = Account(now, level.limit, 0.0, 0.0)
        return account

    def _wanted(self, now: float, levels: Sequence[Level], demand: Demand) -> list[_Wanted]:
        accounts, own, newcomers = list[tuple[Level, Account]](), None, False
        for level in levels:
            account = self._account(now, level)
            accounts.append((level, account))
            if level.newcomers:
                newcomers = True
            elif level.scope is _TENANT and level.currency is _COMPUTE_S:
                # As `_judged`, without a call for every level of every decision.
                own = account
        # Only tenants' accounts are ever multiplied.
        factor = own.multiplier if own is not None else 1.0
        if newcomers and own is not None and self._recorded(now, own):
            accounts = [pair for pair in accounts if not pair[0].newcomers]
        price = grains(demand.price_s)
        if factor > 1:
            # Never above what fits an empty bucket: whoever could not call any more could not make good either.
            least = min(level.limit.depth for level in levels if level.currency is _COMPUTE_S)
            price = max(price, grains(min(demand.price_s * factor, least - GRAIN)))
        return [
            (level, account, price if level.currency is _COMPUTE_S else _count(level.currency, demand.tokens))
            for level, account in accounts
        ]

    def _recorded(self, now: float, own: Account) -> bool:
        calls, seconds = self._settings.record_calls, self._settings.record_s
        return own.exact and own.answered >= calls and now - own.since >= seconds

    def _shortfall(self, now: float, wanted: Sequence[_Wanted]) -> Shortfall | None:
        worst: Shortfall | None = None
        for level, account, amount in wanted:
            limit = level.limit
            if account.level + account.reserved + amount <= limit.depth:
                # It fits even if nothing has leaked since, as nearly always: no need to ask when.
                continue
            wait = account.wait_s(now, limit, amount)
            if wait == 0:
                continue
            if math.isinf(wait) and amount <= limit.depth:
                wait = self._settings.busy_s
            if worst is None or wait >= worst.wait_s:
                # Of equal ones the narrowest: a caller that has used up everything alone is told of its own limit.
                used = account.level_at(now, limit) + account.reserved
                worst = Shortfall(level, amount, max(0.0, limit.depth - used), wait)
        return worst

    def _charge(self, now: float, own: Level | None, times: float) -> float:
        """Charge so many refusals, unless it is a stranger without an account."""
        if own is None or (own.credit is not None and own.name not in self._roll):
            return 0.0
        return self._account(now, own).charge(now, own.limit, grains(times * self._settings.refusal_s))

    def _charged_s(self, lease: Lease, usage: Usage) -> float:
        if usage.killed_s is None:
            return grains(usage.cpu_s)
        return grains(usage.cpu_s + max(0.0, usage.cpu_s - lease.price_s) + usage.killed_s)

    def _settle(self, now: float, hold: Hold, charged: float) -> None:
        hold.account.settle(now, hold.level.limit, hold.amount, charged)
        if hold.level.credit is not None:
            self._roll.settled(now, hold.level.name, hold.account, max(0.0, charged - hold.amount))

    def _judge(self, now: float, lease: Lease, *, killed: bool) -> None:
        for hold in lease.holds:
            if not _judged(hold.level):
                continue
            account = hold.account
            if killed:
                if hold.level.credit is not None:
                    account = self._roll.punished(now, hold.level.name, account)
                account.answered = 0
                account.multiplier = min(self._settings.most_factor, account.multiplier * self._settings.kill_factor)
                continue
            account.answered += 1
            if account.multiplier > 1:
                account.multiplier = max(1.0, account.multiplier * self._settings.good_factor)


def _narrowest(levels: Sequence[Level]) -> Level | None:
    """Of the caller's own levels."""
    return next((level for level in reversed(levels) if level.own), None)


def reading(body_bytes: int) -> float:
    """How many plain refusals it is worth to have read so many bytes."""
    return body_bytes / BYTES_PER_REFUSAL


def _count(currency: Currency, tokens: int) -> float:
    """What a call is in a currency that is not compute-seconds."""
    return float(tokens) if currency is Currency.TOKENS else 1.0


def _judged(level: Level) -> bool:
    return level.scope is _TENANT and level.currency is _COMPUTE_S
