"""The breaker: whether what has failed lately may be tried again.

Decides for one key. Closed: calls pass and are counted. It opens on several kills in a short time or when the failure ratio
is high for certain (lower bound of the Wilson interval: a few calls prove little), for 30 s doubling to an hour. Then it is
half-open: one trial at a time, meant for a worker that nobody would miss; some successes in a row close it, a failure opens
it for longer. It counts only what a request does to a worker: crash, out of memory, killed at its grant, out of time while
running; never refusals, queueing, or callers who left.

A breaker that several tenants share must ask for several witnesses, or any one of them could close a model for everybody; and
then witnesses are counted instead of calls, or a few that fail all day would outweigh the many that go well: a witness says
that it fails when most of what it saw lately did.

Promises law 11: every change of state begins a new generation, and a result of a call that passed in an older one changes
nothing. Pure; it must not know keys, tenants or workers.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from wickguard.errors import ConfigError
from wickguard.records import OutcomeKind

_Z95 = 1.96
_MOST_WITNESSES = 16


class Verdict(StrEnum):
    """What an outcome says about the health of what was called."""

    GOOD = "good"
    BAD = "bad"
    NEUTRAL = "neutral"


# A refusal by the worker and a caller who left say nothing: else cheap refusals would close an open breaker.
VERDICTS: dict[OutcomeKind, Verdict] = {
    OutcomeKind.COMPLETED: Verdict.GOOD,
    OutcomeKind.REFUSED_BY_WORKER: Verdict.NEUTRAL,
    OutcomeKind.FAILED: Verdict.NEUTRAL,
    OutcomeKind.EXPIRED_CPU: Verdict.BAD,
    OutcomeKind.EXPIRED_WALL: Verdict.BAD,
    OutcomeKind.OUT_OF_MEMORY: Verdict.BAD,
    OutcomeKind.CRASHED: Verdict.BAD,
    OutcomeKind.ABANDONED: Verdict.NEUTRAL,
}


def verdict_of(kind: OutcomeKind, *, victim: bool = False, hurried: bool = False) -> Verdict:
    """The verdict on an outcome. victim: its worker was lost for a reason that was not the call's. hurried: its wall limit
    was the caller's own deadline and not the grant's, so running out of it proves nothing.
    """
    if victim or (hurried and kind is OutcomeKind.EXPIRED_WALL):
        return Verdict.NEUTRAL
    return VERDICTS[kind]


class State(StrEnum):
    """Closed lets everything pass, open nothing, half-open one trial at a time."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """kills: so many failures within window_s open it (0: only the ratio does). ratio, least: a certain failure ratio above
    this opens it, from so many calls. open_s, most_open_s: how long, doubling. successes: good trials in a row that close
    it. witnesses: so many must say that it fails, and a certain `ratio` of all who called lately. trial_s: a trial that is
    not reported by then is given up. forget_s: closed for so long, it starts again from open_s. busy_s: when to come back
    while a trial runs.
    """

    kills: int = 3
    window_s: float = 60.0
    ratio: float = 0.2
    least: int = 5
    open_s: float = 30.0
    most_open_s: float = 3600.0
    successes: int = 3
    witnesses: int = 1
    trial_s: float = 60.0
    forget_s: float = 3600.0
    busy_s: float = 1.0

    def __post_init__(self) -> None:
        if min(self.window_s, self.open_s, self.trial_s, self.busy_s) <= 0 or self.most_open_s < self.open_s:
            raise ConfigError("a breaker's times must be positive, and most_open_s at least open_s")
        if self.kills < 0 or min(self.least, self.successes) < 1 or not 0 < self.ratio < 1:
            raise ConfigError("a breaker needs kills >= 0, least and successes >= 1, and a ratio between 0 and 1")
        if not 1 <= self.witnesses <= _MOST_WITNESSES:
            raise ConfigError(f"witnesses must be 1 to {_MOST_WITNESSES}, not {self.witnesses}")


class Pass(msgspec.Struct, frozen=True):
    """A call may go on; its result counts only while the generation lasts. trial: run it where nobody would miss it."""

    generation: int
    trial: bool = False


def wilson_lower(bad: int, total: int) -> float:
    """Lower end of the 95 % interval of a ratio (Wilson 1927)."""
    if total == 0:
        return 0.0
    share, square = bad / total, _Z95 * _Z95
    middle = share + square / (2 * total)
    spread = _Z95 * math.sqrt(share * (1 - share) / total + square / (4 * total * total))
    return (middle - spread) / (1 + square / total)


class Breaker:
    """The state of one key. `generation` is the first one; see Panel for why it is not always 0."""

    __slots__ = (
        "_closed_at", "_counts", "_good", "_kills", "_last_counts", "_settings", "_since", "_strength",
        "_trial_until", "_until", "_witnesses", "generation", "state",
    )  # fmt: skip

    def __init__(self, settings: BreakerSettings, generation: int = 0) -> None:
        self._settings = settings
        self.generation = generation
        self.state = State.CLOSED
        self._strength = 0
        self._closed_at = self._until = self._trial_until = -math.inf
        self._clear()

    def ask(self, now: float) -> Pass | float:
        """A pass, or the seconds to wait. A trial must be reported, also when it never ran (then as NEUTRAL)."""
        if self.state is State.CLOSED:
            return Pass(self.generation)
        if self.state is State.OPEN:
            if now < self._until:
                return self._until - now
            self._turn(State.HALF_OPEN)
        if now < self._trial_until:
            return self._settings.busy_s
        if self._trial_until > -math.inf:
            # The last trial was never reported: what it may still say is of an older generation.
            self.generation += 1
        self._trial_until = now + self._settings.trial_s
        return Pass(self.generation, trial=True)

    def honours(self, passed: Pass) -> bool:
        """Whether nothing has turned since `passed` was given: what it lets through would still be let through."""
        return passed.generation == self.generation

    def report(self, now: float, passed: Pass, verdict: Verdict, witness: str) -> None:
        """How the call that was given `passed` ended; `witness` is who would have to be lying."""
        if passed.generation != self.generation:
            return
        if self.state is State.HALF_OPEN:
            self._report_trial(now, verdict)
        elif verdict is not Verdict.NEUTRAL:
            self._count(now, verdict, witness)
            if verdict is Verdict.BAD and self._certain(now):
                self._strength = self._strength + 1 if now - self._closed_at < self._settings.forget_s else 0
                self._open(now)

    def _report_trial(self, now: float, verdict: Verdict) -> None:
        self._trial_until = -math.inf
        if verdict is Verdict.BAD:
            self._strength += 1
            self._open(now)
        elif verdict is Verdict.GOOD:
            self._good += 1
            if self._good >= self._settings.successes:
                self._turn(State.CLOSED)
                self._closed_at = now

    def _open(self, now: float) -> None:
        # The exponent is capped as well: 2.0 ** 1100 is an error.
        self._until = now + min(self._settings.most_open_s, self._settings.open_s * 2.0 ** min(self._strength, 32))
        self._turn(State.OPEN)

    def _turn(self, state: State) -> None:
        self.state = state
        self.generation += 1
        self._good = 0
        self._trial_until = -math.inf
        self._clear()

    def _clear(self) -> None:
        self._good = 0
        self._since = -math.inf
        self._counts = self._last_counts = (0, 0)
        self._kills: deque[float] = deque(maxlen=max(1, self._settings.kills))
        # Witness to (since when, bad, good).
        self._witnesses: OrderedDict[str, tuple[float, int, int]] = OrderedDict()

    def _count(self, now: float, verdict: Verdict, witness: str) -> None:
        # Counts of this window and the one before: O(1) however many calls a window has.
        age = now - self._since
        if age >= self._settings.window_s:
            self._last_counts = self._counts if age < 2 * self._settings.window_s else (0, 0)
            self._counts, self._since = (0, 0), now
        bad = verdict is Verdict.BAD
        self._counts = (self._counts[0] + bad, self._counts[1] + 1)
        if bad:
            self._kills.append(now)
        if self._settings.witnesses > 1:
            self._hear(now, witness, bad=bad)

    def _hear(self, now: float, witness: str, *, bad: bool) -> None:
        since, failed, went_well = self._witnesses.get(witness, (now, 0, 0))
        if now - since >= self._settings.window_s:
            since, failed, went_well = now, 0, 0
        self._witnesses[witness] = (since, failed + bad, went_well + (not bad))
        self._witnesses.move_to_end(witness)
        if len(self._witnesses) > _MOST_WITNESSES:
            self._witnesses.popitem(last=False)

    def _agreed(self, now: float) -> bool:
        """Whether enough witnesses say that it fails."""
        heard = [one for one in self._witnesses.values() if now - one[0] < self._settings.window_s]
        failing = sum(1 for _, failed, went_well in heard if failed and failed >= went_well)
        return failing >= self._settings.witnesses and wilson_lower(failing, len(heard)) > self._settings.ratio

    def _certain(self, now: float) -> bool:
        settings = self._settings
        if settings.witnesses > 1 and not self._agreed(now):
            return False
        if settings.kills and len(self._kills) == settings.kills and now - self._kills[0] <= settings.window_s:
            return True
        bad = self._counts[0] + self._last_counts[0]
        total = self._counts[1] + self._last_counts[1]
        return total >= settings.least and wilson_lower(bad, total) > settings.ratio
