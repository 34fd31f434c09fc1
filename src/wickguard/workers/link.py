"""Link: the front's end of one worker's job socket.

Cuts the stream into frames under a bound and hands each on as a message. It promises that nothing is delivered after
the end, that everything which arrived before the end is delivered first, and that a worker which says anything not
agreed is reported, not believed. It must not know calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import msgspec

from wickguard.errors import ProtocolError
from wickguard.workers.protocol import HEADER_BYTES, JobFrame, WorkerFrame, encode_frame, frame_length


class Link(asyncio.Protocol):
    """One connection. on_frame, on_end (the process or its socket is gone) and on_breach are called on the event loop."""

    def __init__(
        self,
        limit_bytes: int,
        on_frame: Callable[[WorkerFrame], None],
        on_end: Callable[[], None],
        on_breach: Callable[[ProtocolError], None],
    ) -> None:
        self._limit_bytes = limit_bytes
        self._on_frame, self._on_end, self._on_breach = on_frame, on_end, on_breach
        self._decoder: msgspec.msgpack.Decoder[WorkerFrame] = msgspec.msgpack.Decoder(WorkerFrame)
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._broken = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: the socket is ours."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes from the worker."""
        if self._broken:
            return
        self._buffer += data
        try:
            while len(self._buffer) >= HEADER_BYTES:
                end = HEADER_BYTES + frame_length(self._buffer[:HEADER_BYTES], self._limit_bytes)
                if len(self._buffer) < end:
                    return
                body = bytes(self._buffer[HEADER_BYTES:end])
                del self._buffer[:end]
                self._on_frame(self._decoder.decode(body))
        except (ProtocolError, msgspec.MsgspecError) as error:
            self._broken = True
            self._buffer.clear()
            self._on_breach(ProtocolError(str(error)))

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: the end."""
        self._transport = None
        self._on_end()

    def send(self, job: JobFrame, limit_bytes: int) -> None:
        """Send a job; a link that has ended swallows it (its end was or will be reported).

        Raises ProtocolError over the limit.
        """
        frame = encode_frame(job, limit_bytes)
        if self._transport is not None:
            self._transport.write(frame)

    def close(self) -> None:
        """Close our end; the worker takes that as leave to exit."""
        if self._transport is not None:
            self._transport.abort()
