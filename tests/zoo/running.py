"""Running: a server of the zoo as a process, for tests and benches, and what it costs: CPU-seconds and bytes, from /proc."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.e2e.server import free_port, processes

ROOT = Path(__file__).parents[2]
START_S = 30.0


class Running:
    """A context manager; the server is killed at its end."""

    def __init__(self, name: str, *, sound: bool) -> None:
        self.port = free_port()
        command = [sys.executable, "-m", f"tests.zoo.{name}", "--port", str(self.port)]
        self.process = subprocess.Popen(command + ["--sound"] * sound, cwd=ROOT, stdin=subprocess.DEVNULL)

    def __enter__(self) -> Self:
        give_up = time.monotonic() + START_S
        while time.monotonic() < give_up:
            if self.answers():
                return self
            time.sleep(0.02)
        self.close()
        raise RuntimeError("the server does not answer on /health")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the server, and a supervised child with it."""
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def pids(self) -> list[int]:
        """The process and its children."""
        own = self.process.pid
        return [own, *(pid for pid, process in processes().items() if process.parent == own)]

    def cpu_s(self) -> float:
        """CPU-seconds of the process and its children, in nanosecond resolution."""
        return sum(_schedule_ns(pid) for pid in self.pids()) / 1e9

    def resident_bytes(self) -> int:
        """Resident memory of the process and its children."""
        pages = (int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self.pids())
        return sum(pages) * os.sysconf("SC_PAGE_SIZE")

    def peak_bytes(self) -> int:
        """The high-water mark of the process's resident memory."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024
        raise RuntimeError("no VmHWM")

    def settle(self, true: Callable[[], bool], most_s: float) -> bool:
        """Whether `true` becomes so within `most_s`."""
        give_up = time.monotonic() + most_s
        while time.monotonic() < give_up:
            if true():
                return True
            time.sleep(0.02)
        return true()

    def answers(self) -> bool:
        """Whether health says 200."""
        try:
            return self.get("/health")[0] == 200
        except OSError:
            return False

    def get(self, path: str) -> tuple[int, bytes]:
        """Status and body of a GET."""
        return self._ask("GET", path, None, {})

    def post(self, path: str, body: object, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
        """Status and body of a POST of JSON, or of bytes as they are."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self._ask("POST", path, raw, headers or {})

    def cost(self, path: str, body: object, headers: dict[str, str] | None = None) -> tuple[int, float]:
        """Status of a POST, and the CPU-seconds that the server used for it (the least of three)."""
        status, least = 0, float("inf")
        for _ in range(3):
            before = self.cpu_s()
            status = self.post(path, body, headers)[0]
            least = min(least, self.cpu_s() - before)
        return status, least

    def socket(self) -> socket.socket:
        """A raw connection."""
        return socket.create_connection(("127.0.0.1", self.port), 10)

    def _ask(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


def _schedule_ns(pid: int) -> int:
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        total += int(Path(f"/proc/{pid}/task/{task}/schedstat").read_text().split()[0])
    return total
