"""The target's processes: CPU time and memory of a process and everything it started, read from /proc.

Decides what counts: time of all threads (also of those that have ended), anonymous memory (what a request can make grow;
mapped files and shared libraries don't count). Promises to read only. Linux only; elsewhere there is no such channel.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from wickguard.errors import ConfigError

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Usage:
    """cpu_s: user and system time so far. memory_bytes: anonymous memory now. processes: how many live."""

    cpu_s: float
    memory_bytes: int
    processes: int


class ProcessTree:
    """A process and its descendants. `root` must exist and be readable. Raises ConfigError otherwise."""

    def __init__(self, root: int) -> None:
        self.root = root
        self._page_bytes = os.sysconf("SC_PAGE_SIZE")
        self._tick_s = 1 / os.sysconf("SC_CLK_TCK")
        # Ended processes keep what they used, or the sum would fall.
        self._cpu_s: dict[int, float] = {}
        if not (_PROC / str(root) / "stat").exists():
            raise ConfigError(
                f"--pid {root}: no such process on this machine; give the pid of the server's main process"
            )

    @property
    def alive(self) -> bool:
        """Whether the root process exists and is not a zombie."""
        fields = _stat(self.root)
        return fields is not None and fields[0] != "Z"

    def read(self) -> Usage:
        """What the tree has used until now, and holds now."""
        pids = self._descendants()
        memory = 0
        for pid in pids:
            self._cpu_s[pid] = max(self._cpu_s.get(pid, 0.0), self._cpu(pid))
            memory += self._anonymous_bytes(pid)
        return Usage(sum(self._cpu_s.values()), memory, len(pids))

    def _descendants(self) -> list[int]:
        parents: dict[int, list[int]] = {}
        for entry in os.listdir(_PROC):
            if entry.isdigit() and (fields := _stat(int(entry))) is not None:
                parents.setdefault(int(fields[1]), []).append(int(entry))
        found, queue = [], [self.root]
        while queue:
            pid = queue.pop()
            found.append(pid)
            queue.extend(parents.get(pid, []))
        return found

    def _cpu(self, pid: int) -> float:
        # Ticks are 10 ms but include threads that have ended; schedstat is exact for those that live.
        fields = _stat(pid)
        ticks = (int(fields[11]) + int(fields[12])) * self._tick_s if fields is not None else 0.0
        exact = 0
        try:
            for task in os.listdir(_PROC / str(pid) / "task"):
                exact += int((_PROC / str(pid) / "task" / task / "schedstat").read_text().split()[0])
        except (OSError, IndexError, ValueError):
            return ticks
        return max(ticks, exact / 1e9)

    def _anonymous_bytes(self, pid: int) -> int:
        try:
            resident, shared = (_PROC / str(pid) / "statm").read_text().split()[1:3]
        except (OSError, ValueError):
            return 0
        return (int(resident) - int(shared)) * self._page_bytes


def _stat(pid: int) -> list[str] | None:
    """Fields of /proc/PID/stat from the state on: 0 state, 1 parent, 11 user ticks, 12 system ticks."""
    try:
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
