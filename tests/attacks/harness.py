"""The attack harness: raw connections, and a siege that is measured.

A siege runs an attack while a client of another tenant keeps asking for an embedding. It asserts three things that no attack
may change: that client got only 200s; the server's processes, front and workers, spent at most so much CPU time; the front's
memory grew by at most so many bytes at its peak.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from tests.e2e.server import MODEL, Server

from wickguard.units import MIB

ATTACKER = "127.0.0.2"
NEIGHBOUR = "127.0.0.3"
# What one call of the neighbour may cost the server at most, whatever else the machine does.
NEIGHBOUR_CALL_S = 0.06
# The front's allocator keeps some of what it freed, and the neighbour's calls need some.
NOISE_BYTES = 12 * MIB


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back on a connection: statuses of all responses, the last one's head and body, and whether it was closed."""

    statuses: tuple[int, ...]
    head: bytes
    body: bytes
    closed: bool

    @property
    def status(self) -> int | None:
        """Status of the only response; None when the connection ended without one."""
        assert len(self.statuses) <= 1, self.statuses
        return self.statuses[0] if self.statuses else None

    @property
    def code(self) -> str:
        """The machine code of an error."""
        document = json.loads(self.body)
        code: str = document["error"]["code"] if isinstance(document.get("error"), dict) else document["code"]
        return code


@dataclass(frozen=True, slots=True)
class Target:
    """A server, and the keys of an attacker and of a neighbour."""

    server: Server
    key: str
    neighbours_key: str

    def connect(self, source: str = ATTACKER) -> socket.socket:
        """A connection from an address of the attacker's own."""
        return socket.create_connection(("127.0.0.1", self.server.port), 10, (source, 0))

    def head(self, *headers: str, line: str = "POST /v1/embeddings HTTP/1.1", key: str | None = None) -> bytes:
        """A request head with a key and a media type; `headers` follow."""
        first = [line, "host: x", "content-type: application/json", f"authorization: Bearer {key or self.key}"]
        return ("\r\n".join([*first, *headers]) + "\r\n\r\n").encode("latin-1")

    def request(self, body: bytes, *headers: str, path: str = "/v1/embeddings") -> bytes:
        """A whole request."""
        return self.head(*headers, f"content-length: {len(body)}", line=f"POST {path} HTTP/1.1") + body

    def talk(self, data: bytes, wait_s: float = 0.1, *, source: str = ATTACKER) -> Reply:
        """Send bytes, read what comes until the server closes or says nothing more for `wait_s` after a response."""
        with self.connect(source) as connection:
            return converse(connection, data, wait_s)

    def post(self, body: bytes, *headers: str, path: str = "/v1/embeddings") -> Reply:
        """Send one request."""
        return self.talk(self.request(body, *headers, path=path))


def at_once(count: int, ask: Callable[[], Reply]) -> list[Reply]:
    """So many callers ask at the same time; their replies."""
    with ThreadPoolExecutor(count) as callers:
        return [asked.result() for asked in [callers.submit(ask) for _ in range(count)]]


def converse(connection: socket.socket, data: bytes, wait_s: float = 0.1) -> Reply:
    """Send bytes on an open connection and read the answer."""
    sender = threading.Thread(target=_send, args=(connection, data))
    sender.start()
    received, closed = bytearray(), False
    try:
        while True:
            connection.settimeout(wait_s if split(bytes(received))[0] else 30.0)
            piece = connection.recv(65536)
            if not piece:
                closed = True
                break
            received += piece
    except TimeoutError:
        pass
    except OSError:
        closed = True
    if sender.is_alive():
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
    sender.join()
    connection.settimeout(10)
    statuses, head, body = split(bytes(received))
    return Reply(tuple(statuses), head, body, closed)


def _send(connection: socket.socket, data: bytes) -> None:
    # The server may well close before it has all: that is what many attacks provoke.
    with contextlib.suppress(OSError):
        connection.sendall(data)


def split(received: bytes) -> tuple[list[int], bytes, bytes]:
    """Statuses of the complete responses in `received`, and head and body of the last."""
    statuses, head, body = list[int](), b"", b""
    while (end := received.find(b"\r\n\r\n")) >= 0:
        found = received[:end]
        length = 0
        for line in found.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        if len(received) < end + 4 + length:
            break
        statuses.append(int(found.split(b" ", 2)[1]))
        head, body = found, received[end + 4 : end + 4 + length]
        received = received[end + 4 + length :]
    return statuses, head, body


@dataclass(slots=True)
class Neighbour:
    """A client of another tenant that asks all the time, on fresh and on kept connections."""

    target: Target
    statuses: list[int] = field(default_factory=list)
    fault: BaseException | None = None
    done: threading.Event = field(default_factory=threading.Event)

    def ask(self) -> None:
        """Ask until told to stop; at least three times."""
        body = json.dumps({"model": MODEL, "input": "good morning"})
        headers = {"authorization": f"Bearer {self.target.neighbours_key}", "content-type": "application/json"}
        try:
            while len(self.statuses) < 3 or not self.done.is_set():
                connection = http.client.HTTPConnection(
                    "127.0.0.1", self.target.server.port, timeout=20, source_address=(NEIGHBOUR, 0)
                )
                try:
                    for _ in range(2):
                        connection.request("POST", "/v1/embeddings", body, headers)
                        answer = connection.getresponse()
                        answer.read()
                        self.statuses.append(answer.status)
                finally:
                    connection.close()
                self.done.wait(0.04)
        except (OSError, http.client.HTTPException) as error:
            self.fault = error


@contextlib.contextmanager
def siege(target: Target, cpu_s: float, front_bytes: int) -> Iterator[None]:
    """An attack that may cost the server at most `cpu_s` CPU-seconds and the front `front_bytes` at its peak."""
    server, neighbour = target.server, Neighbour(target)
    server.forget_peak()
    before_s, before_bytes = server.cpu_s(), server.status_bytes("VmHWM")
    asking = threading.Thread(target=neighbour.ask)
    asking.start()
    try:
        yield
    finally:
        neighbour.done.set()
        asking.join()
    used_s, grown = server.cpu_s() - before_s, server.status_bytes("VmHWM") - before_bytes
    assert neighbour.fault is None, f"the neighbour was not served: {neighbour.fault!r}"
    assert set(neighbour.statuses) == {200}, neighbour.statuses
    allowed_s = cpu_s + NEIGHBOUR_CALL_S * len(neighbour.statuses)
    assert used_s <= allowed_s, f"{used_s:.2f} CPU-seconds, {allowed_s:.2f} allowed"
    assert grown <= front_bytes + NOISE_BYTES, f"the front grew by {grown / MIB:.1f} MiB"
    assert server.process.poll() is None
