"""Kernel: the Linux calls that Python has no function for, typed, raising OSError.

A thin layer over ctypes: each function is one system call, decides nothing and promises an OSError with errno when
the kernel says no. It must not know workers, limits or policies.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import time
from typing import NoReturn

PR_SET_PDEATHSIG = 1
PR_SET_SECCOMP = 22
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
SECCOMP_MODE_FILTER = 2
_CAPABILITY_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)
_libc.prctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong]
_libc.syscall.restype = ctypes.c_long


class CapHeader(ctypes.Structure):
    """struct __user_cap_header_struct, see capset(2)."""

    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class CapData(ctypes.Structure):
    """struct __user_cap_data_struct: effective, permitted, inheritable; two of them in version 3."""

    _fields_ = [("sets", ctypes.c_uint32 * 6)]


def prctl(option: int, argument: int = 0, second: int = 0) -> None:
    """prctl(2). Raises OSError."""
    if _libc.prctl(option, argument, second, 0, 0) < 0:
        _raise(f"prctl({option})")


def syscall(number: int, *arguments: int | ctypes.c_void_p | None) -> int:
    """syscall(2) by number, arguments as machine words. Raises OSError."""
    words = [a if isinstance(a, ctypes.c_void_p) else ctypes.c_long(a or 0) for a in arguments]
    result = int(_libc.syscall(ctypes.c_long(number), *words))
    if result < 0:
        _raise(f"syscall {number}")
    return result


def machine() -> str:
    """The kernel's name of the instruction set, e.g. "x86_64"."""
    return platform.machine()


def die_with_parent(parent_pid: int) -> None:
    """SIGKILL to this process when the thread that made it ends (prctl(2) PR_SET_PDEATHSIG).

    Closes the race with a parent that is already gone by comparing getppid afterwards; then this process ends at once.
    """
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        os._exit(0)


def drop_capabilities() -> None:
    """Empty every capability set of this thread, bounding set first while that is still allowed. Raises OSError."""
    with open("/proc/sys/kernel/cap_last_cap", encoding="ascii") as file:
        last = int(file.read())
    for capability in range(last + 1):
        try:
            prctl(PR_CAPBSET_DROP, capability)
        except PermissionError:  # unprivileged: the bounding set can't be used by a process that gains nothing
            break
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    if _libc.capset(ctypes.byref(CapHeader(_CAPABILITY_VERSION_3, 0)), ctypes.byref(CapData())) < 0:
        _raise("capset")


def thread_count() -> int:
    """Threads of this process, as the kernel counts them."""
    with open("/proc/self/stat", encoding="ascii", errors="replace") as file:
        return int(file.read().rpartition(")")[2].split()[17])


def process_cpu_s(pid: int) -> float:
    """CPU-seconds of all threads of another process so far (its CPU-time clock, clock_getcpuclockid(3)); 1.4 µs.

    Raises OSError when there is no such process.
    """
    return time.clock_gettime((~pid << 3) | 2)


def _raise(what: str) -> NoReturn:
    number = ctypes.get_errno()
    raise OSError(number, f"{what}: {os.strerror(number)}")
