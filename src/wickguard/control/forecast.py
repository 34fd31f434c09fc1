"""The forecast: when slots that are busy will have done the work that goes first.

Decides nothing. A slot that runs a call is free when that call is over, by its price; then it does what waits. A forecast is
used to say no to a call that could not be in time, and a wrong no is worse than a wrong yes, which costs nothing but a place in
the queue until the question is asked again: so it errs to the early side. Pure; it must not know lanes or whose work it is.
"""

from __future__ import annotations

from collections.abc import Iterable


def done_in_s(free_in_s: Iterable[float], work_s: float) -> float:
    """Seconds until slots that are free in so many seconds have done `work_s` together, each working from when it is free;
    for no work, until the first is free. There must be a slot.

    The slots are filled like a vessel of steps: those that are free first carry the work up to where the next one begins.
    """
    begun = sorted(free_in_s)
    carried = 0.0
    for count, free in enumerate(begun[1:], 1):
        carried += begun[count - 1]
        if count * free - carried >= work_s:
            return (work_s + carried) / count
    return (work_s + carried + begun[-1]) / len(begun)
