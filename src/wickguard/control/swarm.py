"""The swarm: whether many identities that nobody vouches for attack together.

Decides by how many different ones met the cap of their group within a short time: one busy address is no swarm, and three
hundred that each stay under their own limit are. While it lasts the group's cap is lowered (ladder), so that the swarm costs
less and those who have a key notice nothing. Promises at most `identities` names in memory, and an end after `calm_s` without
a sign. Pure; it must not know what the cap is.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass

from wickguard.errors import ConfigError


@dataclass(frozen=True, slots=True)
class SwarmSettings:
    """identities: so many within window_s are a swarm. calm_s: how long after the last sign the alarm stands."""

    identities: int = 32
    window_s: float = 60.0
    calm_s: float = 300.0

    def __post_init__(self) -> None:
        if self.identities < 2 or min(self.window_s, self.calm_s) <= 0:
            raise ConfigError("a swarm is at least 2 identities, and its times are positive")


class Swarm:
    """The alarm of one group."""

    __slots__ = ("_last", "_seen", "_settings")

    def __init__(self, settings: SwarmSettings | None = None) -> None:
        self._settings = settings or SwarmSettings()
        self._seen: OrderedDict[str, float] = OrderedDict()
        self._last = -math.inf

    def met_cap(self, now: float, identity: str) -> bool:
        """`identity` was refused by its group's cap; whether this has just raised the alarm."""
        self._seen[identity] = now
        self._seen.move_to_end(identity)
        while (
            len(self._seen) > self._settings.identities
            or now - next(iter(self._seen.values())) > self._settings.window_s
        ):
            self._seen.popitem(last=False)
        if len(self._seen) < self._settings.identities:
            return False
        before, self._last = self.alarmed(now), now
        return not before

    def alarmed(self, now: float) -> bool:
        """Whether the alarm stands."""
        return now - self._last < self._settings.calm_s
