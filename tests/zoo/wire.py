"""Wire: a small strict HTTP/1.1 server on asyncio, sound by itself, so that a planted defect is the only one.

Promises an absolute deadline for the head, for the body and for writing an answer; bounded heads, bodies, chunks and
connections; refusals before a byte of the body is read; one answer at a time per connection, the next request being read
only when the answer has left; and that work is cancelled when the client has gone. It must not know any API.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Protocol

KIB = 1024
TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
METHODS = ("GET", "POST", "HEAD")


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one connection; times in seconds, each absolute."""

    target_bytes: int = 4 * KIB
    head_bytes: int = 16 * KIB
    headers: int = 64
    chunks: int = 4096
    head_s: float = 8.0
    idle_s: float = 60.0
    body_s: float = 8.0
    write_s: float = 5.0
    connections: int = 500


@dataclass(slots=True)
class Request:
    """A request: the head, and the body once it is read. Header names are lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes = b""


@dataclass(slots=True)
class Answer:
    """A response. `close` ends the connection after it."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    close: bool = False

    def encode(self) -> bytes:
        """Head and body."""
        fields = {"content-type": "application/json", "content-length": str(len(self.body)), **self.headers}
        if self.close:
            fields["connection"] = "close"
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        return f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}\r\n{lines}\r\n".encode() + self.body


class Service(Protocol):
    """What answers."""

    def admit(self, head: Request) -> int | Answer:
        """On the head alone: the most bytes that the body may have, or the refusal."""

    async def answer(self, request: Request) -> Answer:
        """The answer to a whole request. Cancelled when the client leaves."""


class Malformed(Exception):  # noqa: N818 -- it becomes an answer
    """The request breaks the protocol or a limit; the connection ends."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Connection(asyncio.StreamReaderProtocol):
    """One connection; `gone` is set when the peer has closed or broken it."""

    def __init__(self, server: Server) -> None:
        super().__init__(asyncio.StreamReader(limit=server.limits.head_bytes), self._serve)
        self.server = server
        self.gone = asyncio.Event()

    def eof_received(self) -> bool:
        """The peer will send no more: it has left."""
        self.gone.set()
        return bool(super().eof_received())

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed or broken."""
        self.gone.set()
        super().connection_lost(exc)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.server.open >= self.server.limits.connections:
            writer.transport.abort()
            return
        self.server.open += 1
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, TimeoutError):
                await self._converse(reader, writer)
        finally:
            self.server.open -= 1
            writer.transport.abort() if self.gone.is_set() else writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server = self.server
        fresh = True
        while True:
            try:
                answer = await self._one(reader, writer, fresh)
            except Malformed as fault:
                answer = Answer(fault.status, close=True)
            if answer is None:
                return
            fresh = False
            writer.write(answer.encode())
            await server.flush(writer)
            if answer.close:
                await _linger(reader, writer)
                return

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fresh: bool) -> Answer | None:
        server = self.server
        head = await read_head(reader, server.limits, fresh)
        allowed = server.service.admit(head)
        if isinstance(allowed, Answer):
            allowed.close = True
            return allowed
        head.body = await read_body(reader, writer, head, allowed, server.limits)
        work = asyncio.ensure_future(server.service.answer(head))
        left = asyncio.ensure_future(self.gone.wait())
        try:
            await asyncio.wait({work, left}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                return None
            answer = Answer(500, close=True) if work.exception() else work.result()
        finally:
            left.cancel()
            work.cancel()
        answer.close = answer.close or head.headers.get("connection", "").lower() == "close"
        return answer


@dataclass(slots=True)
class Server:
    """Listens on loopback and hands requests to a service."""

    service: Service
    limits: Limits = field(default_factory=Limits)
    open: int = 0

    async def flush(self, writer: asyncio.StreamWriter) -> None:
        """Return when the answer has left, or raise TimeoutError."""
        async with asyncio.timeout(self.limits.write_s):
            await writer.drain()

    def connection(self) -> Connection:
        """A protocol for one connection."""
        return Connection(self)


@asynccontextmanager
async def listening(factory: Callable[[], Connection], port: int) -> AsyncIterator[None]:
    """A server on loopback `port` for the time of the block."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(factory, "127.0.0.1", port, backlog=512)
    async with server:
        yield


async def read_head(reader: asyncio.StreamReader, limits: Limits, fresh: bool) -> Request:
    """The head of the next request. Raises Malformed, or IncompleteReadError when the peer closed."""
    async with asyncio.timeout(limits.head_s if fresh else limits.idle_s):
        # The first byte may be long in coming on a connection that is kept alive; what follows may not.
        first = await reader.readexactly(1)
    try:
        async with asyncio.timeout(limits.head_s):
            return _parse_head(first + await _line(reader, limits.target_bytes, 414), await _fields(reader, limits))
    except TimeoutError:
        raise Malformed(408) from None


async def _line(reader: asyncio.StreamReader, most: int, status: int) -> bytes:
    try:
        line = await reader.readuntil(b"\n")
    except asyncio.LimitOverrunError:
        raise Malformed(status) from None
    if len(line) > most:
        raise Malformed(status)
    if not line.endswith(b"\r\n"):
        raise Malformed(400)
    return line[:-2]


async def _fields(reader: asyncio.StreamReader, limits: Limits) -> dict[str, str]:
    found: dict[str, str] = {}
    left, count = limits.head_bytes, 0
    while line := await _line(reader, left, 431):
        left -= len(line) + 2
        count += 1
        if count > limits.headers:
            raise Malformed(431)
        name, colon, value = line.partition(b":")
        if not colon or not TOKEN.fullmatch(name) or b"\0" in value or b"\r" in value:
            raise Malformed(400)
        key = name.decode().lower()
        if key in found and key in ("content-length", "transfer-encoding", "host", "content-encoding"):
            raise Malformed(400)
        found[key] = value.decode("latin-1").strip(" \t")
    return found


def _parse_head(line: bytes, fields: dict[str, str]) -> Request:
    words = line.split(b" ")
    if len(words) != 3 or not TOKEN.fullmatch(words[0]) or not words[1].startswith(b"/"):
        raise Malformed(400)
    if words[2] not in (b"HTTP/1.1", b"HTTP/1.0"):
        raise Malformed(505)
    if b"\0" in words[1] or (words[2] == b"HTTP/1.1" and "host" not in fields):
        raise Malformed(400)
    if "content-length" in fields and "transfer-encoding" in fields:
        raise Malformed(400)
    method = words[0].decode()
    if method not in METHODS:
        raise Malformed(405)
    return Request(method, words[1].decode("latin-1").partition("?")[0], fields)


async def read_body(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: Request, most: int, limits: Limits
) -> bytes:
    """The body, of at most `most` bytes. Raises Malformed before reading what is not wanted."""
    coding = head.headers.get("transfer-encoding")
    length = head.headers.get("content-length", "0")
    if coding is not None and coding.lower() != "chunked":
        raise Malformed(501)
    if not re.fullmatch(r"[0-9]{1,20}", length):
        raise Malformed(400)
    if int(length) > most:
        raise Malformed(413)
    expect = head.headers.get("expect")
    if expect is not None and expect.lower() != "100-continue":
        raise Malformed(417)
    if expect is not None:
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    try:
        async with asyncio.timeout(limits.body_s):
            return await _chunks(reader, most, limits.chunks) if coding else await reader.readexactly(int(length))
    except TimeoutError:
        raise Malformed(408) from None


async def _chunks(reader: asyncio.StreamReader, most: int, count: int) -> bytes:
    body = bytearray()
    for _ in range(count):
        size = await _line(reader, 64, 400)
        if not re.fullmatch(rb"[0-9A-Fa-f]{1,8}", size):
            raise Malformed(400)
        if len(body) + int(size, 16) > most:
            raise Malformed(413)
        body += await reader.readexactly(int(size, 16))
        if await _line(reader, 64, 400) != b"":
            raise Malformed(400)
        if int(size, 16) == 0:
            return bytes(body)
    raise Malformed(413)


async def _linger(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    # Closing with unread bytes resets the connection, and the answer with it: read a little before.
    with suppress(TimeoutError, ConnectionError, OSError):
        writer.write_eof()
        async with asyncio.timeout(0.5):
            for _ in range(16):
                if not await reader.read(64 * KIB):
                    return
