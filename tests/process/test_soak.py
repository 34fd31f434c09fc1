"""Ten thousand calls with a thousand deaths among them: nothing grows."""

from __future__ import annotations

import asyncio
import gc
import os
from collections import Counter

import pytest
from tests.process.cage import Cage, cage, marked, open_descriptors, status

from wickguard.records import Cost, Lane, OutcomeKind
from wickguard.units import MIB

CALLS = 10_000
DEATHS = ("abort", "exit", "segfault", "overspend", "cancel")
GRANT = Cost(1.0, 30.0, 16 * MIB)


async def one(c: Cage, number: int) -> OutcomeKind | None:
    """Call `number`: every tenth dies, in one of five ways."""
    lane = Lane.LONG if number % 3 == 0 else Lane.SHORT
    if number % 10:
        return (await c.run("echo", GRANT, lane, text="x")).kind
    do = DEATHS[number // 10 % len(DEATHS)]
    if do == "overspend":
        return (await c.run("spin", Cost(0.002, 30.0, MIB), lane, seconds=5)).kind
    if do == "cancel":
        call = asyncio.create_task(c.run("sleep", GRANT, lane, seconds=20))
        await asyncio.sleep(0.002)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        return None
    return (await c.run(do, GRANT, lane, number=1)).kind


async def spend(c: Cage, first: int, last: int) -> Counter[OutcomeKind | None]:
    """All calls from first to last, four at a time."""
    numbers = iter(range(first, last))
    seen: Counter[OutcomeKind | None] = Counter()

    async def client() -> None:
        for number in numbers:
            seen[await one(c, number)] += 1

    await asyncio.gather(*(client() for _ in range(4)))
    await c.full()
    return seen


def footprint(c: Cage) -> dict[str, int]:
    """Descriptors, threads and anonymous memory of the three long-lived processes, and how many processes there are."""
    gc.collect()
    found = {"processes": len(marked(c.mark))}
    for name, pid in (("front", os.getpid()), ("arbiter", c.pool.arbiter_pid), ("zygote", c.zygote_pid())):
        found[f"{name} fds"] = open_descriptors(pid)
        found[f"{name} threads"] = int(status(pid, "Threads"))
        found[f"{name} KiB"] = int(status(pid, "RssAnon").split()[0])
    return found


@pytest.mark.slow
def test_nothing_grows_when_a_tenth_of_ten_thousand_calls_die() -> None:
    """Descriptors, processes and threads are exactly what they were, memory within 2 MiB, and every call has an outcome."""

    async def scenario() -> None:
        async with cage(spares=2, recycle_calls=200) as c:
            c.events = []
            await spend(c, 0, CALLS // 5)
            before = footprint(c)
            seen = await spend(c, CALLS // 5, CALLS)
            after = footprint(c)
            assert seen.total() == CALLS - CALLS // 5
            assert seen[OutcomeKind.COMPLETED] == (CALLS - CALLS // 5) * 9 // 10
            assert seen[OutcomeKind.EXPIRED_CPU] == 160
            assert seen[OutcomeKind.CRASHED] == 3 * 160
            deaths = c.pool.snapshot().deaths
            assert sum(deaths.values()) >= 900, deaths
            for name, value in before.items():
                slack = 2048 if name.endswith("KiB") else 0
                assert after[name] - value <= slack, (name, value, after[name])

    asyncio.run(scenario())
