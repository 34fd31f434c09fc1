"""The contest: who has had least, among contenders that share something.

Each contender has virtual counters in compute-seconds over its weight (virtual token counter, Sheng et al., OSDI 2024): one of
everything that it was served and one of its short calls alone. Short calls are compared by the second: a tenant that has just
been served a long call has had no short one for it. A contender that comes back from idle is lifted to the least counter of
the active ones, so that idling saves nothing up, unless it still owes more.

Promises: O(1) while a contender is active, a look at all active ones when it comes or goes; counters of idle contenders are
forgotten once they owe nothing, and at most `max_idle` are kept. Pure. It must not know what is contended for.
"""

from __future__ import annotations

from collections import OrderedDict

from wickguard.records import Lane


class Contender:
    """One that waits or runs. spent: of everything; short: of short calls alone; both over its weight."""

    __slots__ = ("busy", "name", "short", "spent", "weight")

    def __init__(self, name: str, spent: float, short: float) -> None:
        self.name = name
        self.spent = spent
        self.short = short
        self.weight = 1.0
        self.busy = 0

    def rank(self, lane: Lane) -> float:
        """What calls of this lane are compared by; the least goes first."""
        return self.short if lane is Lane.SHORT else self.spent

    def charge(self, lane: Lane, seconds: float) -> None:
        """It was served these seconds; negative when it used less than it was charged."""
        each = seconds / self.weight
        self.spent = max(0.0, self.spent + each)
        if lane is Lane.SHORT:
            self.short = max(0.0, self.short + each)


class Contest:
    """Contenders by name. Everybody who waits or runs is active; `enter` and `leave` come in pairs."""

    __slots__ = ("_active", "_idle", "_max_idle")

    def __init__(self, max_idle: int = 4096) -> None:
        self._active: dict[str, Contender] = {}
        self._idle: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._max_idle = max_idle

    def __len__(self) -> int:
        return len(self._active)

    def enter(self, name: str) -> Contender:
        """One more call of `name` waits."""
        found = self._active.get(name)
        if found is None:
            spent, short = self._least()
            owed = self._idle.pop(name, None)
            if owed is not None:
                spent, short = max(spent, owed[0]), max(short, owed[1])
            found = self._active[name] = Contender(name, spent, short)
        found.busy += 1
        return found

    def leave(self, contender: Contender) -> bool:
        """A call of it is over; whether that was its last one."""
        contender.busy -= 1
        if contender.busy:
            return False
        del self._active[contender.name]
        if not self._active:
            # Nobody is left to be compared with: debts between contenders end here.
            self._idle.clear()
            return True
        spent, short = self._least()
        if contender.spent > spent or contender.short > short:
            self._idle[contender.name] = (contender.spent, contender.short)
            if len(self._idle) > self._max_idle:
                self._idle.popitem(last=False)
        return True

    def _least(self) -> tuple[float, float]:
        active = self._active.values()
        if not active:
            return 0.0, 0.0
        return min([one.spent for one in active]), min([one.short for one in active])
