"""The real server as a subprocess, and what its processes cost: CPU-seconds and bytes of the whole tree, from /proc.

Used by the end-to-end tests and by the attacks. Nothing in here knows wickguard's code: it starts the command that people
start, waits until /health/ready says so, and ends it with SIGTERM.
"""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

WICKGUARD = Path(sys.executable).with_name("wickguard")
MODEL = "all-MiniLM-L6-v2"
START_S = 60.0
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def add_key(path: Path, tenant: str) -> str:
    """A new key, made by the command."""
    made = subprocess.run([WICKGUARD, "keys", "add", path, tenant], capture_output=True, text=True, check=True)
    return made.stdout.strip()


@dataclass(frozen=True, slots=True)
class Process:
    """A process at an instant: parent and CPU-seconds, of itself and of the children that it has reaped."""

    pid: int
    parent: int
    started: int
    cpu_s: float


def processes() -> dict[int, Process]:
    """Every process of the machine, without zombies."""
    found: dict[int, Process] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                words = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if words[0] != "Z":
                ticks = sum(int(word) for word in words[11:15])
                found[int(entry)] = Process(int(entry), int(words[1]), int(words[19]), ticks * TICK_S)
    return found


class Server:
    """A running `wickguard serve`; or, of a subclass, another program that takes the same arguments.

    Without a calibration, unless a subclass wants one: half a minute for each model would be spent at every start.
    """

    program: ClassVar[tuple[str | Path, ...]] = (WICKGUARD, "serve")
    calibrates: ClassVar[bool] = False

    def __init__(
        self, folder: Path, policy: str = "", *, keys: Path | None = None, tls: bool = False, max_files: int = 0,
        arguments: Sequence[str] = (),
    ) -> None:  # fmt: skip
        self.port = free_port()
        self.tls = tls
        (folder / "policy.toml").write_text(policy)
        command = [*self.program, folder / "policy.toml", "--port", str(self.port), *arguments]
        if not self.calibrates:
            command.append("--no-calibrate")
        if keys is not None:
            command += ["--keys", keys]
        if max_files:
            # The hard limit: what a process can't raise by itself.
            command = ["prlimit", f"--nofile={max_files}:{max_files}", "--", *command]
        self.log = folder / "server.log"
        with self.log.open("wb") as log:
            # Cost files of whoever runs the tests are no business of theirs.
            environment = {**os.environ, "XDG_STATE_HOME": str(folder)}
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment)
        self._seen: dict[int, Process] = {}
        self.stopped = False

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    @contextmanager
    def running(self) -> Iterator[None]:
        """Ready inside the block; at its end SIGTERM must end it with 0 and leave no process (see close)."""
        try:
            self.wait_ready()
            yield
            self.close()
        finally:
            self.process.kill()
            self.process.wait()

    def wait_ready(self) -> None:
        """Return when it is ready to serve."""
        give_up = time.monotonic() + START_S
        while time.monotonic() < give_up:
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended with {self.process.returncode}:\n{self.log.read_text()}")
            try:
                if self.tls:
                    socket.create_connection(("127.0.0.1", self.port), 1).close()
                    return
                if self.get("/health/ready") == 200:
                    return
            except OSError:
                pass
            time.sleep(0.05)
        raise RuntimeError(f"the server is not ready after {START_S:g} s:\n{self.log.read_text()}")

    def get(self, path: str) -> int:
        """Status of a GET."""
        return self.fetch(path)[0]

    def fetch(self, path: str, headers: dict[str, str] | None = None) -> tuple[int, str]:
        """Status and body of a GET."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def metric(self, sample: str) -> float:
        """One sample of /metrics; 0 when it is not there yet."""
        for line in self.fetch("/metrics")[1].splitlines():
            name, _, value = line.rpartition(" ")
            if name == sample:
                return float(value)
        return 0.0

    def tree(self) -> dict[int, Process]:
        """The front and everything below it."""
        everything, found = processes(), dict[int, Process]()
        waiting = [self.process.pid]
        while waiting:
            pid = waiting.pop()
            if pid in everything and pid not in found:
                found[pid] = everything[pid]
                waiting += [other.pid for other in everything.values() if other.parent == pid]
        self._seen.update(found)
        return found

    def cpu_s(self) -> float:
        """CPU-seconds that the front, the workers, and all that have been reaped have used."""
        return sum(process.cpu_s for process in self.tree().values())

    def status_bytes(self, field: str, pid: int | None = None) -> int:
        """VmRSS, VmHWM ... of the front (or another process), in bytes."""
        for line in Path(f"/proc/{pid or self.process.pid}/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name == field:
                return int(value.split()[0]) * 1024
        raise KeyError(field)

    def forget_peak(self) -> None:
        """Start the front's high-water mark anew."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def stop(self) -> int:
        """SIGTERM; the exit code. Idempotent."""
        self.tree()
        self.process.send_signal(signal.SIGTERM)
        self.stopped = True
        return self.process.wait(60)

    def left_over(self) -> list[int]:
        """Processes of the tree that still exist after `stop`."""
        now = processes()
        return [pid for pid, old in self._seen.items() if pid in now and now[pid].started == old.started]

    def close(self) -> None:
        """What every server must do at its end: exit with 0, and leave nothing behind."""
        if not self.stopped:
            code = self.stop()
            assert code == 0, f"exit code {code}:\n{self.log.read_text()}"
            assert self.left_over() == []
