"""Channel: one control connection: whole messages, with file descriptors, never more than agreed.

Wraps a SOCK_SEQPACKET socket end. Promises that a message arrives whole or raises, that descriptors that come with it
are owned by the receiver and close-on-exec, and that a full peer is never waited for when non-blocking: messages then
queue here, in order, up to a bound. It must not know what the messages mean.
"""

from __future__ import annotations

import array
import os
import socket
from collections import deque
from collections.abc import Sequence
from typing import Generic, TypeVar

import msgspec

from wickguard.errors import ProtocolError
from wickguard.workers.protocol import CONTROL_BYTES, Message, encode_control

MAX_DESCRIPTORS = 4
MAX_QUEUED = 100_000
_BUFFER_BYTES = 4 * CONTROL_BYTES

Incoming = TypeVar("Incoming")


class ChannelClosedError(ProtocolError):
    """The other side has gone."""


def control_pair() -> tuple[socket.socket, socket.socket]:
    """Two connected ends, close-on-exec."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in ends:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
    return ends


class Channel(Generic[Incoming]):
    """One end. `decoder` reads what arrives: a tagged union of messages."""

    def __init__(self, end: socket.socket, decoder: msgspec.msgpack.Decoder[Incoming]) -> None:
        self.end = end
        self._decoder = decoder
        self._queue: deque[tuple[bytes, tuple[int, ...]]] = deque()

    def fileno(self) -> int:
        """The descriptor, for pollers."""
        return self.end.fileno()

    @property
    def pending(self) -> bool:
        """Whether messages wait for the peer to read; call `flush` when the socket is writable."""
        return bool(self._queue)

    def send(self, message: Message, descriptors: Sequence[int] = ()) -> None:
        """Send or queue. Descriptors are duplicated while queued, so the caller may close its own at once.

        Raises ChannelClosedError when the peer has gone, ProtocolError when it reads nothing for MAX_QUEUED messages.
        """
        data = encode_control(message)
        if not self._queue and self._write(data, descriptors):
            return
        if len(self._queue) >= MAX_QUEUED:
            raise ProtocolError("the peer does not read its control messages")
        self._queue.append((data, tuple(os.dup(fd) for fd in descriptors)))

    def flush(self) -> None:
        """Write queued messages until the peer is full again. Raises ChannelClosedError."""
        while self._queue and self._write(*self._queue[0]):
            _, descriptors = self._queue.popleft()
            for fd in descriptors:
                os.close(fd)

    def receive(self) -> tuple[Incoming, list[int]] | None:
        """The next message and its descriptors; None when there is none now (non-blocking sockets only).

        Raises ChannelClosedError at the end of the stream, ProtocolError for anything not agreed.
        """
        space = socket.CMSG_SPACE(MAX_DESCRIPTORS * 4)
        try:
            data, ancillary, flags, _ = self.end.recvmsg(CONTROL_BYTES, space, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return None
        except ConnectionError as error:
            raise ChannelClosedError(str(error)) from error
        descriptors = _descriptors(ancillary)
        if not data:
            _close_all(descriptors)
            raise ChannelClosedError("end of stream")
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            _close_all(descriptors)
            raise ProtocolError(f"control message over {CONTROL_BYTES} bytes or {MAX_DESCRIPTORS} descriptors")
        try:
            return self._decoder.decode(data), descriptors
        except msgspec.MsgspecError as error:
            _close_all(descriptors)
            raise ProtocolError(f"control message not understood: {error}") from error

    def close(self) -> None:
        """Close the socket and whatever is still queued. Idempotent."""
        while self._queue:
            _close_all(self._queue.popleft()[1])
        self.end.close()

    def _write(self, data: bytes, descriptors: Sequence[int]) -> bool:
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        try:
            self.end.sendmsg([data], ancillary, socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return False
        except (ConnectionError, OSError) as error:
            raise ChannelClosedError(str(error)) from error
        return True


def _descriptors(ancillary: Sequence[tuple[int, int, bytes]]) -> list[int]:
    found = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            found.frombytes(data[: len(data) - len(data) % found.itemsize])
    return list(found)


def _close_all(descriptors: Sequence[int]) -> None:
    for fd in descriptors:
        os.close(fd)
