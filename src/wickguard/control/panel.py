"""The panel: the breakers that a call has to pass, and who may open which.

Decides by (tenant, model, feature class), by (model, feature class) and by model. The first opens on one tenant's failures
and hurts nobody else. The other two hurt everybody, so they open only when at least three witnesses say that most of theirs
fails, and these are a certain part of all who called lately; three kills alone do not open them, or three tenants with one
poison each would close a busy model. A witness is a tenant with a key; all callers without one are together one witness,
because addresses cost nothing.

Promises at most `capacity` breakers, the ones that stand open or half-open the last to be forgotten, and that a result of a
breaker that was forgotten changes nothing in its successor. Pure; it must not know what the classes mean.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from wickguard.control.breaker import Breaker, BreakerSettings, Pass, State, Verdict

TENANT_SETTINGS = BreakerSettings()
SHARED_SETTINGS = BreakerSettings(kills=0, witnesses=3)
# More than the generations that any breaker goes through in its life.
_STRIDE = 1 << 32
_LOOKS = 8


class Reach(StrEnum):
    """Whom an open breaker stops."""

    TENANT = "tenant"
    CLASS = "class"
    MODEL = "model"


# Reach, model, class, tenant; "" for whatever it is not about.
_Key = tuple[Reach, str, str, str]


@dataclass(frozen=True, slots=True)
class Subject:
    """What is called and by whom. witness: the tenant if it has a key, else one word for all who have none."""

    tenant: str
    model: str
    feature_class: str
    witness: str

    def breakers(self) -> tuple[_Key, ...]:
        """The keys of the breakers of this call, narrowest first."""
        return (
            (Reach.TENANT, self.model, self.feature_class, self.tenant),
            (Reach.CLASS, self.model, self.feature_class, ""),
            (Reach.MODEL, self.model, "", ""),
        )


class Passage(msgspec.Struct, frozen=True):
    """A call may go on. keys: of its breakers, which `passes` are of. trial: in a worker that nobody would miss. To be
    reported exactly once.
    """

    subject: Subject
    keys: tuple[_Key, ...]
    passes: tuple[Pass, ...]
    trial: bool


@dataclass(frozen=True, slots=True)
class Stopped:
    """A breaker is open: whom it stops, and when to come back."""

    reach: Reach
    wait_s: float


class Panel:
    """All breakers of a server."""

    def __init__(
        self,
        tenant: BreakerSettings = TENANT_SETTINGS,
        shared: BreakerSettings = SHARED_SETTINGS,
        capacity: int = 10_000,
    ) -> None:
        self._settings = {Reach.TENANT: tenant, Reach.CLASS: shared, Reach.MODEL: shared}
        self._capacity = capacity
        self._breakers: OrderedDict[_Key, Breaker] = OrderedDict()
        # The generation in which what has no breaker passes, and with which a new breaker begins. It grows when a breaker
        # that had opened is forgotten, so that no pass from before that counts for a successor.
        self._birth = 0

    def __len__(self) -> int:
        return len(self._breakers)

    def ask(self, now: float, subject: Subject) -> Passage | Stopped:
        """Whether a call may go on; all breakers or none: a trial taken from one is given back when another is open."""
        passes: list[Pass] = []
        keys = subject.breakers()
        for key in keys:
            breaker = self._breakers.get(key)
            asked = breaker.ask(now) if breaker is not None else Pass(self._birth)
            if isinstance(asked, Pass):
                passes.append(asked)
                continue
            for taken_key, taken in zip(keys, passes, strict=False):
                if taken.trial:
                    self._breakers[taken_key].report(now, taken, Verdict.NEUTRAL, subject.witness)
            return Stopped(key[0], asked)
        return Passage(subject, keys, tuple(passes), any(given.trial for given in passes))

    def honours(self, passage: Passage) -> bool:
        """Whether no breaker has turned since `passage` was given."""
        keys = zip(passage.keys, passage.passes, strict=True)
        return all((breaker := self._breakers.get(key)) is None or breaker.honours(given) for key, given in keys)

    def report(self, now: float, passage: Passage, verdict: Verdict) -> None:
        """How the call ended; NEUTRAL when it never ran."""
        for key, given in zip(passage.keys, passage.passes, strict=True):
            breaker = self._breakers.get(key)
            if breaker is None:
                # A tenant without failures needs no breaker; shared ones need to know what goes well, for the ratio.
                if verdict is Verdict.NEUTRAL or (verdict is Verdict.GOOD and key[0] is Reach.TENANT):
                    continue
                breaker = self._install(key)
            self._breakers.move_to_end(key)
            breaker.report(now, given, verdict, passage.subject.witness)

    def state(self, reach: Reach, subject: Subject) -> State:
        """The state of the breaker of this reach, for metrics."""
        breaker = next((self._breakers.get(key) for key in subject.breakers() if key[0] is reach), None)
        return breaker.state if breaker is not None else State.CLOSED

    def _install(self, key: _Key) -> Breaker:
        if len(self._breakers) >= self._capacity:
            self._forget_one()
        breaker = self._breakers[key] = Breaker(self._settings[key[0]], self._birth)
        return breaker

    def _forget_one(self) -> None:
        for _ in range(_LOOKS):
            key, oldest = next(iter(self._breakers.items()))
            if oldest.state is State.CLOSED:
                break
            self._breakers.move_to_end(key)
        _, forgotten = self._breakers.popitem(last=False)
        if forgotten.generation % _STRIDE:
            self._birth += _STRIDE
