"""Wires: HTTP/1.1 connections that cost next to nothing: prepared bytes out, a status in.

One asyncio protocol without streams. A siege shares two cores with the server it measures, so whatever the generator uses is
taken from the result. Decides nothing; answers are counted, not read.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket

HOST = "127.0.0.1"


class Wire(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[int] | None = None
        self._head = b""
        self._left = -1
        self._status = 0
        self.open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.open = True

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self.open = False
        self._resolve(0)

    def data_received(self, data: bytes) -> None:
        """Count until the answer is complete."""
        if self._left < 0:
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return
            lower = self._head[:end].lower()
            start = lower.find(b"content-length:")
            length = int(lower[start + 15 :].split(b"\r\n", 1)[0]) if start >= 0 else 0
            self._status = int(lower[9:12])
            if b"connection: close" in lower:
                self.open = False
            self._left = length - (len(self._head) - end - 4)
        else:
            self._left -= len(data)
        if self._left <= 0:
            self._resolve(self._status)

    async def ask(self, request: bytes) -> int:
        """Send a request; its status, or 0 when the connection broke."""
        assert self.transport is not None
        self._head, self._left, self._status = b"", -1, 0
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self._answer

    def send(self, data: bytes) -> None:
        """Send bytes and expect nothing."""
        assert self.transport is not None
        self.transport.write(data)

    def close(self) -> None:
        """End the connection at once."""
        self.open = False
        if self.transport is not None:
            self.transport.abort()

    def _resolve(self, status: int) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(status)


async def connect(port: int, source: str, receive_bytes: int = 0) -> Wire:
    """A new connection from `source`. receive_bytes: a small window, for who reads slowly. Raises OSError."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive_bytes:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        sock.bind((source, 0))
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, (HOST, port))
        _, wire = await loop.create_connection(Wire, sock=sock)
    except BaseException:
        sock.close()
        raise
    return wire


class Wires:
    """Idle connections of one source, reused as clients do."""

    def __init__(self, port: int, source: str) -> None:
        self._port, self._source = port, source
        self._idle: list[Wire] = []

    async def ask(self, request: bytes, patience_s: float) -> int:
        """The status of a request; 0 when the connection broke or nothing came in time."""
        wire: Wire | None = None
        try:
            async with asyncio.timeout(patience_s):
                while self._idle and wire is None:
                    wire = self._idle.pop()
                    wire = wire if wire.open else None
                wire = wire or await connect(self._port, self._source)
                status = await wire.ask(request)
        except (OSError, TimeoutError):
            status = 0
        if wire is not None:
            if status and wire.open:
                self._idle.append(wire)
            else:
                wire.close()
        return status

    def close(self) -> None:
        """Close what is idle."""
        for wire in self._idle:
            with contextlib.suppress(OSError):
                wire.close()
