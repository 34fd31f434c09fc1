"""A front of its own: starts a pool, puts a call into each lane, prints the arbiter's pid, and works until it is killed."""

from __future__ import annotations

import asyncio
import sys

from tests.process.cage import job, spec, until

from wickguard.records import Cost, Lane
from wickguard.units import MIB
from wickguard.workers.pool import Pool
from wickguard.workers.settings import WorkerSettings


async def main(mark: str) -> None:
    """Run until killed."""
    pool = Pool([spec(mark)], WorkerSettings(slots=1, long_slots=1))
    await pool.start()
    calls = [asyncio.create_task(pool.execute(job("spin", Cost(60.0, 60.0, MIB), lane, seconds=60))) for lane in Lane]
    await until(lambda: pool.snapshot().running == len(calls))
    print(pool.arbiter_pid, flush=True)
    await asyncio.gather(*calls)


asyncio.run(main(sys.argv[1]))
