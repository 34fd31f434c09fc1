"""Load: open-loop good tenants and closed-loop attackers over raw sockets, from prepared bytes.

Every request is bytes that exist before the clock starts, and answers are only counted, so that the generator uses next to
no CPU beside the server on a small machine. Good requests are sent at Poisson instants whatever happened to earlier ones
(closed-loop clients hide overload). Runs in a process of its own; results are plain lists.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Sample:
    """One good request: seconds after the start at which it was due, status (0: no answer), seconds until its answer."""

    due_s: float
    status: int
    latency_s: float
    tenant: str


@dataclass
class AttackTally:
    """What the attackers got: answers by status."""

    answers: dict[int, int] = field(default_factory=dict)

    def count(self, status: int) -> None:
        """Add one."""
        self.answers[status] = self.answers.get(status, 0) + 1


def told(tallies: Iterable[dict[int, int]]) -> str:
    """Answers by status of all runs together, for a table."""
    answers = sum((Counter(tally) for tally in tallies), Counter[int]())
    return ", ".join(f"{count} x {status}" for status, count in sorted(answers.items()))


def request_bytes(path: str, body: bytes, key: str | None, host: str = "127.0.0.1") -> bytes:
    """A complete HTTP/1.1 POST."""
    auth = f"Authorization: Bearer {key}\r\n" if key else ""
    common = f"Host: {host}\r\nContent-Type: application/json\r\n{auth}"
    head = f"POST {path} HTTP/1.1\r\n{common}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Connection:
    """A keep-alive connection that is reopened when it was closed."""

    def __init__(self, port: int, source: str = "127.0.0.1") -> None:
        self._port = port
        self._source = source
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: bytes) -> int:
        """Send `request`, read the answer to its end, return its status; 0 when the connection broke."""
        try:
            if self._streams is not None and self._streams[0].at_eof():
                # The server has closed it while it was idle; every HTTP client looks before it asks.
                self.close()
            if self._streams is None:
                self._streams = await asyncio.open_connection(
                    "127.0.0.1", self._port, local_addr=(self._source, 0), limit=1 << 20
                )
            reader, writer = self._streams
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            lower = head.lower()
            start = lower.find(b"content-length:")
            if start >= 0:
                await reader.readexactly(int(lower[start + 15 : lower.index(b"\r\n", start)]))
            if b"connection: close" in lower or start < 0:
                self.close()
            return int(head[9:12])
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            self.close()
            return 0

    def close(self) -> None:
        """Close it; the next ask opens a new one."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


class Connections:
    """Idle keep-alive connections, reused so that a good request costs no handshake."""

    def __init__(self, port: int, source: str = "127.0.0.1") -> None:
        self._port, self._source = port, source
        self._idle: list[Connection] = []

    async def ask(self, request: bytes) -> int:
        """Send over an idle connection, or a new one."""
        connection = self._idle.pop() if self._idle else Connection(self._port, self._source)
        status = await connection.ask(request)
        self._idle.append(connection)
        return status

    def close(self) -> None:
        """Close all."""
        for connection in self._idle:
            connection.close()


async def good_tenant(
    port: int, tenant: str, requests: list[bytes], rate_s: float, duration_s: float, seed: int
) -> list[Sample]:
    """Send `requests` in turn at Poisson instants, `rate_s` a second; 10 s without an answer is no answer."""
    rng = random.Random(seed)
    connections = Connections(port)
    start = time.monotonic()
    samples: list[Sample] = []
    tasks: list[asyncio.Task[None]] = []

    async def one(due: float, request: bytes) -> None:
        try:
            async with asyncio.timeout(10):
                status = await connections.ask(request)
        except TimeoutError:
            status = 0
        samples.append(Sample(due, status, time.monotonic() - start - due, tenant))

    due, number = rng.expovariate(rate_s), 0
    while due < duration_s:
        await asyncio.sleep(max(0.0, start + due - time.monotonic()))
        tasks.append(asyncio.create_task(one(due, requests[number % len(requests)])))
        number += 1
        due += rng.expovariate(rate_s)
    await asyncio.gather(*tasks)
    connections.close()
    return samples


async def attacker(port: int, request: bytes, window: tuple[float, float], tally: AttackTally) -> None:
    """Closed loop inside `window` (seconds from now): send again when answered, at most ten times a second."""
    start = time.monotonic()
    await asyncio.sleep(window[0])
    connection = Connection(port)
    while time.monotonic() - start < window[1]:
        sent = time.monotonic()
        try:
            async with asyncio.timeout(max(0.05, start + window[1] + 5 - sent)):
                tally.count(await connection.ask(request))
        except TimeoutError:
            tally.count(0)
            connection.close()
        await asyncio.sleep(max(0.0, sent + 0.1 - time.monotonic()))
    connection.close()
