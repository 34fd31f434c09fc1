"""Ledger page: one shared page per worker, written in the cage and read outside, also after the worker's death.

Layout, little-endian u64. The first four are the engine allocator's: current, peak, limit, breach. Then the number of the
call that runs, written by the worker, and of one that is to stop, written from outside: the engine compares them at its
checkpoints. From offset 64 the worker writes where a call started, so that peak minus start can still be reported when it
was killed. The page is advice, never authority: a hostile worker can write anything into it, so kills are decided on what
the kernel says. It must not know the engine.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import struct

import msgspec

PAGE_BYTES = 4096
_WORDS = struct.Struct("<16Q")
_CURRENT, _PEAK, _LIMIT, _BREACH, _CALL, _STOP = 0, 8, 16, 24, 32, 40
_BORN, _BASE = 64, 72


class LedgerReading(msgspec.Struct, frozen=True):
    """The page at one moment, bytes. born: the worker had said hello. base: current when the last call started."""

    current_bytes: int
    peak_bytes: int
    limit_bytes: int
    breach_bytes: int
    born: bool
    base_bytes: int

    @property
    def call_peak_bytes(self) -> int:
        """Peak of the last call above its start."""
        return max(0, self.peak_bytes - self.base_bytes)


def create_page() -> int:
    """A new zeroed page as a memfd that can't change size. Returns the descriptor."""
    fd = os.memfd_create("wickguard-ledger", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, PAGE_BYTES)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return fd


def read_page(fd: int) -> LedgerReading:
    """What the page says now. Uses pread, never a mapping, so that nothing the worker does can fault the reader."""
    words = _WORDS.unpack(os.pread(fd, _WORDS.size, 0).ljust(_WORDS.size, b"\0"))
    return LedgerReading(words[0], words[1], words[2], words[3], bool(words[8]), words[9])


def ask_to_stop(fd: int, serial: int) -> None:
    """Ask this call to end at its next checkpoint; whether it listens is another matter. 0 asks nobody."""
    os.pwrite(fd, serial.to_bytes(8, "little"), _STOP)


class LedgerPage:
    """The worker's writable view."""

    def __init__(self, fd: int) -> None:
        self._map = mmap.mmap(fd, PAGE_BYTES, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self._map))

    @property
    def current_bytes(self) -> int:
        """Bytes allocated now."""
        return self._get(_CURRENT)

    @property
    def peak_bytes(self) -> int:
        """Most bytes allocated at once since the engine's peak was reset."""
        return self._get(_PEAK)

    def mark_born(self) -> None:
        """Confinement is done: a death from now on is not a failed birth."""
        self._set(_BORN, 1)

    def mark_start(self, base_bytes: int, serial: int) -> None:
        """The call of this number starts with `base_bytes` allocated."""
        self._set(_BASE, base_bytes)
        self._set(_CALL, serial)

    def mark_end(self) -> None:
        """No call runs."""
        self._set(_CALL, 0)

    def record(self, current_bytes: int, peak_bytes: int) -> None:
        """Write the counters by hand, for a loader whose allocator keeps none."""
        self._set(_CURRENT, current_bytes)
        self._set(_PEAK, peak_bytes)

    def _get(self, offset: int) -> int:
        return int.from_bytes(self._map[offset : offset + 8], "little")

    def _set(self, offset: int, value: int) -> None:
        self._map[offset : offset + 8] = value.to_bytes(8, "little")
