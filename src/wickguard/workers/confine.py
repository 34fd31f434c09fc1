"""Confine: takes away from a worker everything it does not need to compute, once, for ever.

`confine` runs in a fresh worker before it sees a byte of any request and returns the Tier that is really in force. It
promises that a mechanism which the kernel lacks is named as missing, while one that exists but fails ends the worker
(EXIT_CONFINEMENT): never silently weaker. It must not know models or requests.
"""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Iterable

import msgspec

from wickguard.records import Lane
from wickguard.workers import kernel, landlock, seccomp
from wickguard.workers.settings import WorkerSettings
from wickguard.workers.tier import Tier

WORKER_OOM_SCORE = 800
ZYGOTE_OOM_SCORE = 200
MAX_FILES = 16


class Birth(msgspec.Struct, frozen=True):
    """What `confine` needs: the parent to die with, the lane, the descriptors to keep, a seccomp template (None: no table)."""

    parent_pid: int
    lane: Lane
    keep: tuple[int, ...]
    filter: bytes | None


def confine(birth: Birth, settings: WorkerSettings, *, ledger: bool) -> Tier:
    """Apply every mechanism, the ones that need others first. Raises OSError when one that exists fails."""
    missing: list[tuple[str, str]] = []
    kernel.die_with_parent(birth.parent_pid)
    close_others(birth.keep)
    scored = raise_oom_score(WORKER_OOM_SCORE)
    if not scored:
        missing.append(("oom_score", "/proc/self/oom_score_adj is not writable"))
    schedule(birth.lane, settings)
    limit_resources()
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    kernel.drop_capabilities()
    abi = landlock.deny_everything()
    if abi == 0:
        missing.append(("landlock", "this kernel has none"))
    if birth.filter is not None:
        seccomp.install(seccomp.for_process(birth.filter, os.getpid()))
    else:
        missing.append(("seccomp", f"no table for {kernel.machine()}"))
    return Tier(
        timers=True,
        data_limit=True,
        ledger=ledger,
        no_new_privs=True,
        capabilities_dropped=True,
        seccomp=birth.filter is not None,
        landlock_abi=abi,
        parent_death_signal=True,
        oom_score=scored,
        descriptors_closed=True,
        scheduling=True,
        missing=tuple(missing),
    )


def close_others(keep: Iterable[int]) -> None:
    """Close every descriptor except `keep` and 0, 1, 2, which become /dev/null."""
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    low = 3
    for fd in sorted(keep):
        os.closerange(low, fd)
        low = fd + 1
    os.closerange(low, resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def raise_oom_score(score: int) -> bool:
    """Make the kernel prefer this process when memory runs out; never lowers. Whether /proc allowed it."""
    try:
        fd = os.open("/proc/self/oom_score_adj", os.O_RDWR | os.O_CLOEXEC)
        try:
            if int(os.pread(fd, 32, 0)) < score:
                os.write(fd, str(score).encode())
        finally:
            os.close(fd)
    except OSError:
        return False
    return True


def schedule(lane: Lane, settings: WorkerSettings) -> None:
    """Give the long lane its smaller share of a contended core: niceness, or SCHED_IDLE if so chosen."""
    if lane is Lane.LONG:
        if settings.idle_class:
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        with contextlib.suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, 0, settings.long_nice)


def limit_resources() -> None:
    """No processes, no files to speak of, no core dumps, nothing written to disk."""
    files = min(MAX_FILES, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    for limit, value in (
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_NOFILE, files),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
    ):
        resource.setrlimit(limit, (value, value))
