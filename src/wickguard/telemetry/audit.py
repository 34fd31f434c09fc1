"""The audit log: one JSON line per request that was settled or refused.

Who, what features, what was quoted, granted and used, how it ended and why; never a payload. Written by a thread of its own
from a bounded queue, so that a slow disk costs lines (counted, and reported in the log itself) and never a request.
Rotated by size: FILE, FILE.1, FILE.2 ... It must not know the pipeline.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgspec

from wickguard.errors import ConfigError
from wickguard.telemetry import events
from wickguard.units import KIB, MIB


@dataclass(frozen=True, slots=True)
class AuditSettings:
    """path "" means no audit log. max_bytes: size at which the file is rotated. keep: rotated files kept."""

    path: str = ""
    max_bytes: int = 64 * MIB
    keep: int = 4
    queue_lines: int = 8192

    def __post_init__(self) -> None:
        if self.max_bytes < 64 * KIB:
            raise ConfigError(f"audit max_bytes must be at least 64k, not {self.max_bytes}")
        if not 1 <= self.keep <= 1000:
            raise ConfigError(f"audit keep must be 1 to 1000, not {self.keep}")
        if not 16 <= self.queue_lines <= 1_000_000:
            raise ConfigError(f"audit queue_lines must be 16 to 1000000, not {self.queue_lines}")


class AuditLog:
    """A listener that writes settled and refused requests."""

    def __init__(self, settings: AuditSettings, on_drop: Callable[[int], None] = lambda count: None) -> None:
        self._settings = settings
        self._path = Path(settings.path)
        self._queue: queue.Queue[events.Event | None] = queue.Queue(settings.queue_lines)
        self._on_drop = on_drop
        self._encoder = msgspec.json.Encoder()
        self.dropped = 0
        self._file = self._open()
        self._thread = threading.Thread(target=self._write_all, name="audit", daemon=True)
        self._thread.start()

    def __call__(self, event: events.Event) -> None:
        """Queue one event; never waits."""
        if not isinstance(event, events.CallSettled | events.RequestRejected):
            return
        try:
            self._queue.put_nowait(event)
        except queue.Full:
            self.dropped += 1
            self._on_drop(1)

    def close(self) -> None:
        """Write what is queued and close the file."""
        self._queue.put(None)
        self._thread.join()

    def _open(self) -> BinaryIO:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # Only the operator reads who called when: no access for group and others.
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(f"the audit log {self._path} can't be written: {error.strerror}") from error
        return os.fdopen(descriptor, "ab", buffering=0)

    def _write_all(self) -> None:
        size = self._path.stat().st_size
        reported = 0
        while (event := self._queue.get()) is not None:
            lines = self._encoder.encode(event) + b"\n"
            if self.dropped > reported:
                lost = events.AuditDropped(at=event.at, count=self.dropped - reported)
                reported = self.dropped
                lines = self._encoder.encode(lost) + b"\n" + lines
            try:
                if size + len(lines) > self._settings.max_bytes:
                    self._rotate()
                    size = 0
                self._file.write(lines)
                size += len(lines)
            except (OSError, ConfigError):
                # A full disk, or a directory that has gone: lines are lost and counted, the thread goes on.
                self.dropped += 1
                self._on_drop(1)
        self._file.close()

    def _rotate(self) -> None:
        for number in range(self._settings.keep - 1, 0, -1):
            older = self._path.with_name(f"{self._path.name}.{number}")
            if older.exists():
                older.replace(self._path.with_name(f"{self._path.name}.{number + 1}"))
        self._path.replace(self._path.with_name(f"{self._path.name}.1"))
        full, self._file = self._file, self._open()
        full.close()
