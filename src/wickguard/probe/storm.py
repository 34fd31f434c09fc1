"""The storm: a case repeated beside a canary, so that what a neighbour feels can be compared.

Decides the schedule: quiet, twin, attack, after; the attack and its twin come at the same fixed times, at most two at once,
so that the offered load is the same and mild. Promises the same windows for both. It must not know oracles.
"""

from __future__ import annotations

import asyncio

from wickguard.clock import now
from wickguard.probe.canary import Canary, Window
from wickguard.probe.events import Arm, Sampled
from wickguard.probe.observe import Observer
from wickguard.probe.series import Storm
from wickguard.probe.trace import Trace
from wickguard.probe.wellbeing import Wellbeing

CANARIES_PER_S = 8.0
ATTACKS_PER_S = 2.0
_MOST_AT_ONCE = 2
# Before a storm: so many ordinary requests answered in a row, so far apart, and the longest to wait for it.
_CALM_CONTROLS, _CALM_GAP_S, _CALM_S = 5, 0.1, 20.0


async def raise_storm(observer: Observer, wellbeing: Wellbeing, size: int, attack: Trace, twin: Trace) -> Storm:
    """Quiet, beside the twin, beside the attack, and after it; each as long as the limits say."""
    length_s = observer.allowance.limits.storm_s
    await _calm(observer)
    quiet = await _window(observer, wellbeing, None, length_s)
    beside_twin = await _window(observer, wellbeing, twin, length_s)
    beside_attack = await _window(observer, wellbeing, attack, length_s)
    after = await _window(observer, wellbeing, None, length_s)
    return Storm(size, quiet, beside_twin, beside_attack, after)


async def _calm(observer: Observer) -> None:
    # What earlier traces left behind would make the quiet window as bad as the attack, and hide it.
    until, well = now() + min(_CALM_S, observer.allowance.left_s(now())), 0
    while well < _CALM_CONTROLS and now() < until:
        answer = await observer.control()
        well = well + 1 if answer.ok else 0
        await asyncio.sleep(_CALM_GAP_S)


async def _window(observer: Observer, wellbeing: Wellbeing, trace: Trace | None, length_s: float) -> Window:
    async with observer.watch(Canary(observer.control, CANARIES_PER_S, wellbeing.suffers)) as window:
        if trace is None:
            await asyncio.sleep(length_s / 2)
            return window
        await _repeat(observer, trace, window, length_s)
    return window


async def _repeat(observer: Observer, trace: Trace, window: Window, length_s: float) -> None:
    # Open loop, but never more than two at once: a mild attacker that keeps trying, until the canaries suffer.
    flying: set[asyncio.Task[object]] = set()
    due, until = now(), now() + length_s
    while now() < until and window.suffered_in_a_row < observer.allowance.limits.canary_failures:
        if len(flying) < _MOST_AT_ONCE:
            task: asyncio.Task[object] = asyncio.create_task(observer.send(trace))
            flying.add(task)
            task.add_done_callback(flying.discard)
        due += 1 / ATTACKS_PER_S
        await asyncio.sleep(max(0.0, due - now()))
    for task in flying:
        task.cancel()
    await asyncio.gather(*flying, return_exceptions=True)


def sampled_canaries(case: str, storm: Storm, at_s: float) -> list[Sampled]:
    """One event for each canary; its label names the window."""
    windows = {"quiet": storm.quiet, "twin": storm.twin, "attack": storm.attack, "after": storm.after}
    return [
        Sampled(at_s, case, Arm.CANARY, storm.size, status, round(latency_s, 6), label=name)
        for name, window in windows.items()
        for status, latency_s in [
            *((200, value) for value in window.canary_s),
            *((0, 0.0) for _ in range(window.canary_failures)),
        ]
    ]
