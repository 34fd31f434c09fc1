"""The audit log: complete lines, rotation, counted losses, and a path that never waits."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

from wickguard.errors import ConfigError
from wickguard.telemetry import events
from wickguard.telemetry.audit import AuditLog, AuditSettings
from wickguard.units import KIB


def rejected(number: int = 0) -> events.RequestRejected:
    """A refusal, as the pipeline reports it."""
    return events.RequestRejected(
        at=1.0, request_id=f"req-{number}", route="/v1/embeddings", tenant="key:alice", pool="keyed", reason="malformed",
        status=400, stage="decode", detail="wrong type", body_bytes=10, elapsed_s=0.001,
    )  # fmt: skip


def lines(path: Path) -> list[dict[str, object]]:
    """The lines of a log."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_line_is_one_request_when_they_are_reported(tmp_path: Path) -> None:
    """In order, with type and reason; other events are not for this log."""
    log = AuditLog(AuditSettings(str(tmp_path / "deep" / "a.jsonl")))
    for number in range(3):
        log(rejected(number))
    log(events.RequestReceived(at=1.0, route="/x"))
    log.close()
    found = lines(tmp_path / "deep" / "a.jsonl")
    assert [line["request_id"] for line in found] == ["req-0", "req-1", "req-2"]
    assert found[0]["type"] == "RequestRejected"
    assert (tmp_path / "deep" / "a.jsonl").stat().st_mode & 0o077 == 0


def test_files_rotate_by_size_and_the_oldest_goes_when_the_log_grows(tmp_path: Path) -> None:
    """No file over its size, no line lost among those that are kept, never more files than asked for."""
    path = tmp_path / "a.jsonl"
    log = AuditLog(AuditSettings(str(path), max_bytes=64 * KIB, keep=2, queue_lines=100_000))
    for number in range(2000):
        log(rejected(number))
    log.close()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.jsonl", "a.jsonl.1", "a.jsonl.2"]
    assert all(file.stat().st_size <= 64 * KIB for file in tmp_path.iterdir())
    kept = [line["request_id"] for name in ("a.jsonl.2", "a.jsonl.1", "a.jsonl") for line in lines(tmp_path / name)]
    assert kept == [f"req-{number}" for number in range(2000 - len(kept), 2000)]


def test_lines_are_dropped_and_counted_when_the_disk_does_not_keep_up(tmp_path: Path) -> None:
    """The path never waits; the log says itself how many lines are missing."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    told: list[int] = []
    log = AuditLog(AuditSettings(str(path), queue_lines=16), told.append)
    os.set_blocking(reader, True)
    for number in range(5000):
        log(rejected(number))
    assert log.dropped > 0
    assert sum(told) == log.dropped
    text = bytearray()

    def read() -> None:
        while piece := os.read(reader, 65536):
            text.extend(piece)

    draining = threading.Thread(target=read)
    draining.start()
    log(rejected(9999))
    log.close()
    draining.join()
    os.close(reader)
    kinds = [json.loads(line) for line in text.splitlines()]
    written = sum(line["type"] == "RequestRejected" for line in kinds)
    missing = sum(line["count"] for line in kinds if line["type"] == "AuditDropped")
    assert written + log.dropped == 5001
    assert 0 < missing <= log.dropped


def test_the_thread_goes_on_when_a_file_can_not_be_rotated(tmp_path: Path) -> None:
    """Lines are lost and counted; closing still returns."""
    folder = tmp_path / "logs"
    path = folder / "a.jsonl"
    log = AuditLog(AuditSettings(str(path), max_bytes=64 * KIB, keep=1, queue_lines=100_000))
    (folder / "a.jsonl.1").mkdir()
    (folder / "a.jsonl.1" / "occupied").touch()
    for number in range(1000):
        log(rejected(number))
    log.close()
    assert log.dropped > 0
    assert sum(line["type"] == "RequestRejected" for line in lines(path)) + log.dropped == 1000


@pytest.mark.parametrize("wrong", [{"max_bytes": 1}, {"keep": 0}, {"queue_lines": 1}])
def test_settings_are_refused_when_out_of_range(wrong: dict[str, int]) -> None:
    """At load."""
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        AuditSettings("x", **wrong)


def test_starting_fails_when_the_file_can_not_be_opened(tmp_path: Path) -> None:
    """At start, not at the first line."""
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="can't be written"):
        AuditLog(AuditSettings(str(tmp_path / "file" / "a.jsonl")))
