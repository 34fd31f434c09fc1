"""The quarantine: requests that have ended a worker, by the digest of their exact content.

Decides what happens when the same request comes again. After one strike it is tried once more, alone, in a worker that
nobody would miss and with a smaller grant; after two it is refused for ten minutes, doubling to a day, and then tried again.
A trial that ends well clears its name. Copies that ran while the first strike fell count as that one strike: a client that
sent the same request a hundred times at once has not proven it a hundred times.

Promises at most `capacity` digests, the least recently seen forgotten first, and one trial of a digest at a time. Pure; it
must not know what is in a request, nor whose it is: poison is poison, whoever sends it.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass

import msgspec

from wickguard.control.breaker import Verdict
from wickguard.errors import ConfigError


@dataclass(frozen=True, slots=True)
class QuarantineSettings:
    """first_s, most_s: how long, doubling from the second strike on. trial_s: a trial not reported by then is given up.
    busy_s: when to come back while a trial runs. capacity: digests remembered. grant_share: of a trial's usual grant.
    """

    first_s: float = 600.0
    most_s: float = 86_400.0
    trial_s: float = 60.0
    busy_s: float = 1.0
    capacity: int = 10_000
    grant_share: float = 0.25

    def __post_init__(self) -> None:
        if min(self.first_s, self.trial_s, self.busy_s) <= 0 or self.most_s < self.first_s or self.capacity < 1:
            raise ConfigError("a quarantine's times and capacity must be positive, and most_s at least first_s")
        if not 0 < self.grant_share <= 1:
            raise ConfigError(f"grant_share must be above 0 and at most 1, not {self.grant_share}")


class Permit(msgspec.Struct, frozen=True):
    """The request may run. trial: alone and with a smaller grant. strikes: those known when it was let in."""

    trial: bool
    strikes: int


@dataclass(slots=True)
class _Suspect:
    strikes: int
    until: float
    trial_until: float


class Quarantine:
    """All digests with strikes."""

    def __init__(self, settings: QuarantineSettings | None = None) -> None:
        self._settings = settings or QuarantineSettings()
        self._suspects: OrderedDict[bytes, _Suspect] = OrderedDict()

    def __len__(self) -> int:
        return len(self._suspects)

    def ask(self, now: float, digest: bytes) -> Permit | float:
        """A permit, or the seconds to wait. A trial must be reported, also when it never ran (then as NEUTRAL)."""
        suspect = self._suspects.get(digest)
        if suspect is None:
            return Permit(trial=False, strikes=0)
        self._suspects.move_to_end(digest)
        if now < suspect.until:
            return suspect.until - now
        if now < suspect.trial_until:
            return self._settings.busy_s
        suspect.trial_until = now + self._settings.trial_s
        return Permit(trial=True, strikes=suspect.strikes)

    def honours(self, digest: bytes, permit: Permit) -> bool:
        """Whether nothing has become known of the request since `permit` was given."""
        suspect = self._suspects.get(digest)
        return permit.strikes == (suspect.strikes if suspect is not None else 0)

    def report(self, now: float, digest: bytes, permit: Permit, verdict: Verdict) -> None:
        """How the request ended. What was let in before the last strike or clearing says nothing new."""
        suspect = self._suspects.get(digest)
        if permit.strikes != (suspect.strikes if suspect is not None else 0):
            return
        if verdict is Verdict.BAD:
            self._strike(now, digest, permit.strikes + 1)
        elif suspect is not None:
            if verdict is Verdict.GOOD:
                del self._suspects[digest]
            else:
                suspect.trial_until = -math.inf

    def trial_grant_s(self, grant_s: float, price_s: float) -> float:
        """CPU-seconds for a trial: a share of the grant, but never below its price.

        A quarter of the grant of a dear call is less than it honestly needs: without this floor every such call that was
        once struck by accident would be struck again by its trial.
        """
        return min(grant_s, max(self._settings.grant_share * grant_s, price_s))

    def _strike(self, now: float, digest: bytes, strikes: int) -> None:
        held = 0.0
        if strikes > 1:
            # The exponent is capped as well: 2.0 ** 1100 is an error.
            held = min(self._settings.most_s, self._settings.first_s * 2.0 ** min(strikes - 2, 32))
        self._suspects[digest] = _Suspect(strikes, now + held, -math.inf)
        self._suspects.move_to_end(digest)
        if len(self._suspects) > self._settings.capacity:
            self._suspects.popitem(last=False)
