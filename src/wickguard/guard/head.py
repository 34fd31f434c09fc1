"""The head of a request: what the HTTP server hands over before any body byte is read.

A thin, frozen view of an ASGI scope with the few lookups that the stages need. Decides nothing. It must not know limits.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

Scope = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]


class Head(msgspec.Struct, frozen=True):
    """method and path as sent; headers as (lower-case name, value) pairs in order; peer is the socket's address.

    named: the same values by name, because every stage asks for some, and most for names that are not there.
    """

    method: str
    path: str
    query: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    peer: str
    named: dict[bytes, list[bytes]]

    @classmethod
    def of(cls, scope: Scope) -> Head:
        """The head of an ASGI http scope."""
        client = scope.get("client")
        headers: tuple[tuple[bytes, bytes], ...] = tuple(scope["headers"])
        named: dict[bytes, list[bytes]] = {}
        for name, value in headers:
            named.setdefault(name, []).append(value)
        return cls(
            method=scope["method"],
            path=scope["path"],
            query=scope.get("query_string", b""),
            headers=headers,
            peer=client[0] if client else "",
            named=named,
        )

    def values(self, name: bytes) -> Sequence[bytes]:
        """All values of a header, in order."""
        return self.named.get(name, ())

    def one(self, name: bytes) -> bytes | None:
        """The value of a header that may come once; None when it is absent."""
        found = self.named.get(name)
        return found[0] if found else None
