"""The clock: the one place where time is read.

Everything below `guard` takes `now` as an argument. It promises monotonic seconds, comparable between the processes of
one machine (CLOCK_MONOTONIC), and wall time only for logs. It must not know who asks.
"""

from __future__ import annotations

import time


def now() -> float:
    """Monotonic seconds; only differences mean something."""
    return time.monotonic()


def utc() -> float:
    """Seconds since the epoch, for log lines only; never for a decision."""
    return time.time()
