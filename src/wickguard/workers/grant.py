"""Grant: the limits of one call, armed in the worker, enforced by the kernel.

CPU by ITIMER_PROF and wall time by ITIMER_REAL, both with the default disposition (the process ends), memory by the
soft RLIMIT_DATA relative to what the process has now, and by the limit of the engine's allocator, which is a little
tighter so that a breach is recorded before the kernel refuses. It promises that between two calls no limit of the
last one is left. It must not know what runs.

The kernel counts ITIMER_PROF in ticks (1 to 10 ms): a call is stopped within a tick or two of its grant, on either
side, and one that sleeps through the ticks is left to the arbiter, which reads the exact clock.

Source: setitimer(2), getrlimit(2); RLIMIT_DATA counts private writable mappings (mm/mmap.c, data_vm).
"""

from __future__ import annotations

import os
import resource
import signal

from wickguard.records import Cost
from wickguard.units import KIB, MIB
from wickguard.workers.ledger import LedgerPage
from wickguard.workers.loader import Allocator

# What the interpreter and malloc may map for themselves on top of what a call allocates: one 1 MiB arena of CPython's object
# allocator, malloc's top pad, and the trimming slack of one 2 MiB-aligned block.
SLACK_BYTES = 4 * MIB
_SHORTEST_S = 0.001
_PAGE_BYTES = os.sysconf("SC_PAGESIZE")


class Grants:
    """Arms and disarms the limits of the worker's calls; `stack` is its stack mapping. Make it before files are closed."""

    def __init__(self, allocator: Allocator | None, page: LedgerPage, max_grant_bytes: int, stack: int) -> None:
        self._allocator = allocator
        self._page = page
        self._statm = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
        self._stack_bytes = stack
        self._hard_bytes = self.data_bytes() + max_grant_bytes + SLACK_BYTES
        self._start_bytes = 0
        resource.setrlimit(resource.RLIMIT_DATA, (self._hard_bytes, self._hard_bytes))

    @property
    def descriptor(self) -> int:
        """The one descriptor this object needs to keep."""
        return self._statm

    def begin(self, limits: Cost, serial: int) -> None:
        """Arm all limits of the call of this number, the clock last."""
        allocated = self.current_bytes()
        self._start_bytes = allocated
        self._page.mark_start(allocated, serial)
        if self._allocator is None:
            self._page.record(allocated, allocated)
        else:
            self._allocator.reset_peak()
            self._allocator.set_limit(allocated + limits.peak_bytes)
        soft = min(self._hard_bytes, self.data_bytes() + limits.peak_bytes + SLACK_BYTES)
        resource.setrlimit(resource.RLIMIT_DATA, (soft, self._hard_bytes))
        signal.setitimer(signal.ITIMER_REAL, max(limits.wall_s, _SHORTEST_S))
        signal.setitimer(signal.ITIMER_PROF, max(limits.cpu_s, _SHORTEST_S))

    def end(self) -> int:
        """Disarm all limits, the clock first. Returns the call's peak bytes above its start."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        self._page.mark_end()
        resource.setrlimit(resource.RLIMIT_DATA, (self._hard_bytes, self._hard_bytes))
        if self._allocator is None:
            return max(0, self.current_bytes() - self._start_bytes)
        self._allocator.set_limit(None)
        return max(0, self._page.peak_bytes - self._start_bytes)

    def current_bytes(self) -> int:
        """Allocated now: by the engine's own count, or the kernel's where there is none."""
        return self.data_bytes() if self._allocator is None else self._allocator.current()

    def data_bytes(self) -> int:
        """Private writable memory, as RLIMIT_DATA counts it (statm adds the stack, which is taken off again)."""
        return int(self._words()[5]) * _PAGE_BYTES - self._stack_bytes

    def resident_bytes(self) -> int:
        """Anonymous resident memory: what this process holds of the machine, file mappings left out."""
        words = self._words()
        return (int(words[1]) - int(words[2])) * _PAGE_BYTES

    def _words(self) -> list[bytes]:
        return os.pread(self._statm, 256, 0).split()


def stack_bytes() -> int:
    """Size of this process's stack mapping; a fork has the same."""
    with open("/proc/self/status", encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.startswith("VmStk:"):
                return int(line.split()[1]) * KIB
    return 0
