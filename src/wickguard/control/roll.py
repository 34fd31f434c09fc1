"""The roll: an account for every identity that ever called, in a memory that does not grow with them.

Decides which identities have an exact account and what the others may spend. Anybody can send from a million addresses, so:
at most `capacity` accounts are exact; all others share a sketch of what was spent lately. An identity that is not known
begins with a bucket that is full but for `credit`, about one median request, and earns the rest by time. A stranger gets an
exact account when one is free, when a few steps of a clock hand find one that nobody uses, when it is a heavy hitter of
the sketch, or when it is punished.

Promises: memory is bounded (about 20 MB at 65,536 accounts); every operation takes a bounded time; an account is forgotten
only when whoever comes back under its name has no more to spend than it had, so being forgotten is never a refill. A
stranger gets no refunds: what it reserved is what it spent, and in one half-life that is at most its credit. It must not
know leases or what is counted.
"""

from __future__ import annotations

from dataclasses import dataclass

from wickguard.control.bucket import Bucket, Limit
from wickguard.control.sketch import CountMin, HeavyHitters
from wickguard.errors import ConfigError

_MOST_WORTH = 7


@dataclass(frozen=True, slots=True)
class RollSettings:
    """capacity: exact accounts. idle_s: an account used more recently is not given to a stranger, unless that one is a
    heavy hitter. half_life_s: how long the sketch remembers. steps: accounts looked at for one stranger.
    heavy_share: part of all strangers' spending that makes a heavy hitter.
    """

    capacity: int = 65_536
    idle_s: float = 300.0
    half_life_s: float = 60.0
    steps: int = 4
    heavy_share: float = 0.001

    def __post_init__(self) -> None:
        if self.capacity < 1 or self.steps < 1:
            raise ConfigError("a roll needs a capacity and steps of at least 1")
        if self.idle_s < 0 or self.half_life_s <= 0 or not 0 < self.heavy_share < 1:
            raise ConfigError("a roll needs idle_s >= 0, half_life_s > 0 and heavy_share between 0 and 1")


class Account(Bucket):
    """A bucket with its owner's record: the limit it was opened under, the credit that a stranger has there, and

    multiplier: what its owner's prices are multiplied by. exact: False for a stranger's account, which lasts for one call.
    worth: how many turns of the clock hand it survives once it is idle.
    """

    __slots__ = ("credit", "exact", "limit", "multiplier", "worth")

    def __init__(self, now: float, limit: Limit, credit: float, level: float) -> None:
        super().__init__(now, level)
        self.limit = limit
        self.credit = credit
        self.multiplier = 1.0
        self.exact = True
        self.worth = 0

    def forgettable(self, now: float, idle_s: float) -> bool:
        """Whether its owner, coming back as a stranger, would have no more to spend than now. Punished ones stay longer."""
        if self.reserved or (self.multiplier > 1 and now - self.at < idle_s * self.multiplier):
            return False
        return self.level_at(now, self.limit) <= max(0.0, self.limit.depth - self.credit)


class Roll:
    """Accounts by name. `seed` is secret, or callers could choose with whom they share cells of the sketch."""

    def __init__(self, settings: RollSettings, seed: bytes) -> None:
        self._settings = settings
        self._accounts: dict[str, Account] = {}
        self._names: list[str] = []
        self._hand = 0
        self._spent = CountMin(seed, settings.half_life_s)
        self._heavy = HeavyHitters()

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: str) -> bool:
        return name in self._accounts

    def find(self, now: float, name: str, limit: Limit, credit: float) -> Account:
        """The account of `name`: its own, or a stranger's, which gets a place of its own if there is one."""
        account = self.peek(now, name, limit, credit)
        if not account.exact:
            self.settle_in(now, name, account)
        return account

    def peek(self, now: float, name: str, limit: Limit, credit: float) -> Account:
        """The account of `name`: its own, or a stranger's. Nothing is written."""
        account = self._accounts.get(name)
        if account is not None:
            account.limit = limit
            return account
        account = self._stranger(now, name, limit, credit)
        account.exact = False
        return account

    def settle_in(self, now: float, name: str, account: Account) -> None:
        """Give a stranger's account a place of its own, if there is one."""
        place = self._free_place(now, self._settings.idle_s)
        if place is not None:
            account.exact = True
            self._enter(place, name, account)

    def reserved(self, now: float, name: str, account: Account, amount: float) -> None:
        """`amount` was just reserved in `account`: a stranger's is remembered in the sketch, for good."""
        if account.exact or amount <= 0:
            return
        self._spent.add(name, amount)
        if self._heavy.add(name, amount) > self._settings.heavy_share * self._heavy.total:
            self._promote(now, name, account)

    def settled(self, now: float, name: str, account: Account, over: float) -> None:
        """A call of `account` was settled at `over` above its reservation (0: at or below it)."""
        if account.exact:
            account.worth = min(_MOST_WORTH, account.worth + 1)
            return
        present = self._accounts.get(name)
        if present is not None:
            # Promoted since: what it reserved is in the new account's level already.
            present.settle(now, account.limit, 0.0, over)
        else:
            self.reserved(now, name, account, over)

    def punished(self, now: float, name: str, account: Account) -> Account:
        """An account in which `name` can be remembered; the one given when no place can be found."""
        account = self._accounts.get(name, account)
        if not account.exact:
            account = self._promote(now, name, account)
        account.worth = _MOST_WORTH
        return account

    def heavy(self) -> dict[str, tuple[float, float]]:
        """The strangers that spent most lately: name to (weight, error), for alerts."""
        return self._heavy.weights()

    def _stranger(self, now: float, name: str, limit: Limit, credit: float) -> Account:
        if self._spent.rotate(now):
            self._heavy.halve()
        spent = self._spent.estimate(now, name)
        # The sketch only estimates too high: what it says above a full bucket may be somebody else's.
        return Account(now, limit, credit, min(limit.depth, max(0.0, limit.depth - credit) + spent))

    def _promote(self, now: float, name: str, account: Account) -> Account:
        place = self._free_place(now, 0.0, forced=True)
        if place is None:
            return account
        self._heavy.remove(name)
        promoted = self._stranger(now, name, account.limit, account.credit)
        self._enter(place, name, promoted)
        return promoted

    def _free_place(self, now: float, idle_s: float, *, forced: bool = False) -> int | None:
        """A place for a new account; forced: rather the least worthy of those looked at than none."""
        if len(self._names) < self._settings.capacity:
            return len(self._names)
        least: tuple[int, int] | None = None
        for _ in range(self._settings.steps):
            place = self._hand
            self._hand = (place + 1) % len(self._names)
            account = self._accounts[self._names[place]]
            if now - account.at < idle_s or not account.forgettable(now, self._settings.idle_s):
                continue
            if account.worth == 0:
                return place
            if least is None or account.worth < least[0]:
                least = (account.worth, place)
            if not forced:
                account.worth -= 1
        return least[1] if forced and least else None

    def _enter(self, place: int, name: str, account: Account) -> None:
        if place == len(self._names):
            self._names.append(name)
        else:
            # Whoever holds the forgotten account in this very decision must treat it as a stranger's.
            self._accounts.pop(self._names[place]).exact = False
            self._names[place] = name
        self._accounts[name] = account
