"""The bucket: how much a caller may spend, with a level that leaks and a reserved sum that does not.

Decides whether an amount fits now, and if not, when. What was spent is in `level`, which leaks at the limit's rate; what
running calls may yet spend is in `reserved`, which never leaks: settling a call takes its reservation out and puts what it
used into the level. (A GCRA that refunds is wrong: its reservation leaks away while the call runs and is then given back a
second time.)

Promises law 2. Let a call's overshoot be what it was charged above its reservation. In any window of w seconds what is
settled is at most depth + rate x w + the overshoots of the calls that were in flight together at one instant. Proof: a
reservation leaves level + reserved <= depth; until the next one that sum grows only by overshoots of calls in flight then;
and what is settled in the window is at most the level at its end plus what leaked. It must not know whose bucket it is, nor
what is counted: compute-seconds, tokens, requests, or calls at once (which settle at nothing).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from wickguard.errors import ConfigError, WickguardError

# Amounts are whole multiples of 2^-20 (about a millionth): sums of such floats are exact up to 2^33, so that a sum of
# reservations that has been added to and subtracted from for a month is still exactly the sum of what is reserved.
GRAIN = 2.0**-20
# Added to every wait, so that whoever comes back exactly then is not refused by the last bit of a float.
_MARGIN_S = 1e-6


def grains(amount: float) -> float:
    """`amount` rounded up to a multiple of GRAIN. Raises WickguardError when it is negative or not finite."""
    if not 0 <= amount < 2.0**33:
        raise WickguardError(f"an amount must be finite and not negative, not {amount}")
    return math.ceil(amount / GRAIN) * GRAIN


@dataclass(frozen=True, slots=True)
class Limit:
    """`rate` units per second for ever, `depth` units at once. A rate of 0 is for what is given back, not used up."""

    rate: float
    depth: float

    def __post_init__(self) -> None:
        if not (0 <= self.rate < math.inf and 0 < self.depth < math.inf):
            raise ConfigError(f"a limit needs a rate >= 0 and a depth > 0, not {self.rate} and {self.depth}")


class Bucket:
    """One account of spending. The limit is an argument, so that it can change while calls are in flight."""

    __slots__ = ("at", "level", "reserved")

    def __init__(self, now: float, level: float = 0.0) -> None:
        self.level = level
        self.at = now
        self.reserved = 0.0

    def level_at(self, now: float, limit: Limit) -> float:
        """What is spent and has not leaked away. A `now` that is earlier than the last one counts as the last one."""
        if now <= self.at:
            return self.level
        return max(0.0, self.level - (now - self.at) * limit.rate)

    def wait_s(self, now: float, limit: Limit, amount: float) -> float:
        """0 when `amount` fits now; inf when it never will (amount > depth); else the seconds until it fits.

        The wait is exact when what is reserved is settled at its amount by then; a refund makes it shorter. At a rate of 0
        only a settlement helps, so the wait is inf although the amount is not above the depth.
        """
        if amount > limit.depth:
            return math.inf
        excess = self.level_at(now, limit) + self.reserved + amount - limit.depth
        if excess <= 0:
            return 0.0
        return excess / limit.rate + _MARGIN_S if limit.rate > 0 else math.inf

    def reserve(self, now: float, limit: Limit, amount: float) -> float:
        """Take `amount` (from `grains`) out of reach of others and return 0, or take nothing and return `wait_s`."""
        wait = self.wait_s(now, limit, amount)
        if wait == 0:
            self.reserved += amount
        return wait

    def take(self, amount: float) -> None:
        """Take what `wait_s` has just allowed."""
        self.reserved += amount

    def settle(self, now: float, limit: Limit, amount: float, charged: float) -> None:
        """Replace a reservation of `amount` by `charged` in the level.

        Raises WickguardError when less than `amount` is reserved (settled twice).
        """
        if amount > self.reserved:
            raise WickguardError(f"{amount} is to be settled, but only {self.reserved} is reserved")
        self.reserved -= amount
        self._add(now, limit, charged)

    def charge(self, now: float, limit: Limit, amount: float) -> float:
        """Add to the level what was never reserved (the cost of a refusal), as far as it fits; returns what was added.

        Capped, because a caller that was refused a thousand times owes a full bucket and not a life sentence; law 2 holds
        with these amounts counted as settled.
        """
        added = min(amount, max(0.0, limit.depth - self.level_at(now, limit) - self.reserved))
        self._add(now, limit, added)
        return added

    def _add(self, now: float, limit: Limit, amount: float) -> None:
        self.level = self.level_at(now, limit) + amount
        self.at = max(now, self.at)
