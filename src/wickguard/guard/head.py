"""The head of a request: what the HTTP server hands over before any body byte is read.

A thin, frozen view of an ASGI scope with the few lookups that the stages need. Decides nothing. It must not know limits.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

Scope = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Head:
    """method and path as sent; headers as (lower-case name, value) pairs in order; peer is the socket's address."""

    method: str
    path: str
    query: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    peer: str

    @classmethod
    def of(cls, scope: Scope) -> Head:
        """The head of an ASGI http scope."""
        client = scope.get("client")
        headers: Iterable[tuple[bytes, bytes]] = scope["headers"]
        return cls(
            method=scope["method"],
            path=scope["path"],
            query=scope.get("query_string", b""),
            headers=tuple(headers),
            peer=client[0] if client else "",
        )

    def values(self, name: bytes) -> list[bytes]:
        """All values of a header, in order."""
        return [value for key, value in self.headers if key == name]

    def one(self, name: bytes) -> bytes | None:
        """The value of a header that may come once; None when it is absent."""
        for key, value in self.headers:
            if key == name:
                return value
        return None
