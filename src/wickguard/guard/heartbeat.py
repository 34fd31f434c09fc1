"""The heartbeat: how late the event loop is, told to the safety net.

A loop that wakes 50 ms late several times in a row has no time for requests, whatever their prices said (LinkedIn's Hodor
measures the same). Decides nothing. It must not know what is done about it.
"""

from __future__ import annotations

import asyncio

from wickguard import clock
from wickguard.control.surge import Surge

EVERY_S = 0.1


async def beat(surge: Surge) -> None:
    """Beat until cancelled."""
    while True:
        due = clock.now() + EVERY_S
        await asyncio.sleep(EVERY_S)
        surge.beat(max(0.0, clock.now() - due))
