"""Watch: the second line behind the kernel's own timers: polls a worker that runs a call, and says when to kill it.

Reads the process's CPU clock and its anonymous resident memory; a worker that disarmed its timers or found memory
which RLIMIT_DATA does not count is seen here. It promises never to be stricter than the grant: each limit has a
grace, so that the kernel's own mechanism is always first. It must not know why a worker runs.
"""

from __future__ import annotations

import os

from wickguard.units import MIB
from wickguard.workers import kernel
from wickguard.workers.death import KillReason
from wickguard.workers.protocol import Arm

POLL_S = 0.025
CPU_GRACE_S = 0.05
WALL_GRACE_S = 0.05
MEMORY_GRACE_BYTES = 32 * MIB
_PAGE_BYTES = os.sysconf("SC_PAGESIZE")


class Watch:
    """One armed call of one worker. Raises OSError from the constructor or `verdict` when the process is gone."""

    def __init__(self, pid: int, arm: Arm) -> None:
        self.serial = arm.serial
        self._pid = pid
        self._arm = arm
        self._cpu_start_s = kernel.process_cpu_s(pid)
        self._resident_start = resident_bytes(pid)
        self.growth_bytes = 0

    def verdict(self, now: float) -> KillReason | None:
        """The limit that has been passed at `now` (monotonic seconds), if any."""
        if now > self._arm.wall_at + WALL_GRACE_S:
            return KillReason.WALL
        if kernel.process_cpu_s(self._pid) - self._cpu_start_s > self._arm.cpu_s + CPU_GRACE_S:
            return KillReason.CPU
        self.growth_bytes = max(self.growth_bytes, resident_bytes(self._pid) - self._resident_start)
        if self.growth_bytes > self._arm.memory_bytes + MEMORY_GRACE_BYTES:
            return KillReason.MEMORY
        return None

    def possible(self, claimed_bytes: int) -> int:
        """The peak that the ledger page claims, cut to what the limits let through: the page is the worker's to write."""
        return min(claimed_bytes, self._arm.memory_bytes + MEMORY_GRACE_BYTES)


def resident_bytes(pid: int) -> int:
    """Anonymous resident memory of a process (resident minus file-backed and shared). Raises OSError when it is gone."""
    with open(f"/proc/{pid}/statm", "rb", buffering=0) as file:
        words = file.read().split()
    return (int(words[1]) - int(words[2])) * _PAGE_BYTES if len(words) > 2 else 0
