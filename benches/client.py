"""A blocking HTTP/1.1 client of one keep-alive connection: prepared bytes out, status in. As little CPU as Python allows."""

from __future__ import annotations

import socket


class Blocking:
    """One connection; reopened when the server closed it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None

    def ask(self, request: bytes) -> int:
        """Send `request` and read its answer to the end; returns the status."""
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port))
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(request)
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._receive()
        head, _, rest = data.partition(b"\r\n\r\n")
        lower = head.lower()
        left = int(lower.partition(b"content-length:")[2].split(b"\r\n")[0]) - len(rest)
        while left > 0:
            left -= len(self._receive())
        if b"connection: close" in lower:
            self.close()
        return int(head[9:12])

    def close(self) -> None:
        """Close the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _receive(self) -> bytes:
        if self._socket is None:
            raise ConnectionError("closed")
        data = self._socket.recv(1 << 18)
        if not data:
            raise ConnectionError("the server closed the connection")
        return data
