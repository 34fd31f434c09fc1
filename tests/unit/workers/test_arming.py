"""The arbiter is told of a call only while it runs: limits of a call that is over must never be left behind."""

from __future__ import annotations

import asyncio

from wickguard.backend import Job
from wickguard.records import Cost, Lane
from wickguard.workers.pool import Pool
from wickguard.workers.protocol import Arm, Message
from wickguard.workers.roster import Running
from wickguard.workers.settings import ZygoteSpec


def arm_when(*, over: bool) -> tuple[bool, list[Message]]:
    """Fire the timer of a call that is over or not; returns whether it counts as armed, and what was sent."""

    async def scenario() -> tuple[bool, list[Message]]:
        pool = Pool([ZygoteSpec("m", "nowhere")])
        sent: list[Message] = []
        pool._connection.send = sent.append  # type: ignore[method-assign]
        running = Running(Job("c", "m", b"", Cost(1.0, 1.0, 1), Lane.SHORT), 7, 0.0)
        running.ending = asyncio.get_running_loop().create_future()
        if over:
            running.ending.cancel()
        pool._arm(running, Arm(1, 7, 1.0, 1.0, 1))
        return running.armed, sent

    return asyncio.run(scenario())


def test_arbiter_is_told_when_a_call_lasts() -> None:
    """Its limits are sent, and will be taken back."""
    armed, sent = arm_when(over=False)
    assert armed
    assert len(sent) == 1


def test_arbiter_is_not_told_when_the_call_ended_in_the_same_turn() -> None:
    """Found by a neighbour who was killed for limits of the call before."""
    assert arm_when(over=True) == (False, [])
