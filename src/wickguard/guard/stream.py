"""Streams: pieces of an answer on their way from a worker to a caller, while the call runs.

`Stream` is where they wait: it takes what it has room for and refuses the rest, so that a reader who does not read costs a
known number of bytes and never holds up a worker. `Teller` sends them, each under a write deadline, and begins the response
only with the first piece: until then a call can still fail with a status of its own. Promises that nobody waits for a reader
but the reader's own task. It must not know stages, prices or processes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

from wickguard.guard.head import Headers, Send
from wickguard.records import Call
from wickguard.units import KIB

# Of one answer that its reader has not taken yet: the text of some ten thousand tokens.
BUFFER_BYTES = 256 * KIB
EVENTS = b"text/event-stream; charset=utf-8"


class Stream:
    """See the module. Lives on one event loop; one reader."""

    def __init__(self, room_bytes: int = BUFFER_BYTES) -> None:
        self._room_bytes = room_bytes
        self._pieces: deque[bytes] = deque()
        self._ended = False
        self._changed = asyncio.Event()
        self.held_bytes = 0

    def put(self, piece: bytes) -> bool:
        """Take a piece; False when there is no room, or nobody will read it (see backend.Sink)."""
        if self._ended or self.held_bytes + len(piece) > self._room_bytes:
            return False
        self._pieces.append(piece)
        self.held_bytes += len(piece)
        self._changed.set()
        return True

    def end(self) -> None:
        """No more pieces come, or none is wanted. Idempotent."""
        self._ended = True
        self._changed.set()

    async def take(self) -> bytes:
        """All pieces that wait, joined; b"" at the end."""
        while not self._pieces:
            if self._ended:
                return b""
            self._changed.clear()
            await self._changed.wait()
        joined = b"".join(self._pieces)
        self._pieces.clear()
        self.held_bytes = 0
        return joined


class Spelled(Protocol):
    """How a stream is spelled."""

    def begin(self) -> bytes:
        """What comes before the first piece."""
        ...

    def piece(self, data: bytes) -> bytes:
        """A piece."""
        ...


class Teller:
    """Sends the answer of one request in pieces. begun: whether the response has; broken: whether its reader is lost.

    spell: how it is spelled. headers: what its head says beside that, asked for when it begins: the end comes after the head.
    """

    def __init__(
        self, send: Send, request_id: str, write_timeout_s: float, spell: Callable[[Call], Spelled],
        headers: Callable[[Call], Headers],
    ) -> None:  # fmt: skip
        self.send = send
        self._request_id = request_id
        self._write_timeout_s = write_timeout_s
        self._spell = spell
        self._headers = headers
        self.begun = False
        self.broken = False

    async def tell(self, call: Call, stream: Stream) -> bool:
        """Send the pieces of `stream` until its end. False when the reader does not read, or has left."""
        spelled = self._spell(call)
        while piece := await stream.take():
            try:
                if not self.begun:
                    await self.begin(call)
                    piece = spelled.begin() + spelled.piece(piece)
                else:
                    piece = spelled.piece(piece)
                await self._write(piece, more=True)
            except (TimeoutError, OSError, RuntimeError):
                self.broken = True
                return False
        return True

    async def begin(self, call: Call) -> None:
        """Send the head of the response."""
        self.begun = True
        head = [
            (b"content-type", EVENTS),
            (b"cache-control", b"no-store"),
            (b"x-request-id", self._request_id.encode()),
            *self._headers(call),
        ]
        await self.send({"type": "http.response.start", "status": 200, "headers": head})

    async def end(self, data: bytes) -> None:
        """Send the last bytes. Raises TimeoutError when they are not taken in time."""
        await self._write(data, more=False)

    async def _write(self, data: bytes, *, more: bool) -> None:
        async with asyncio.timeout(self._write_timeout_s):
            await self.send({"type": "http.response.body", "body": data, "more_body": more})
