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
# Between a name and its value, and after it.
_SEPARATORS = 4


class Head(msgspec.Struct, frozen=True):
    """method and path as sent; peer is the socket's address.

    named: the values of headers in order, by lower-case name, because every stage asks for some, and most for names that are
    not there. fields: how many headers came; size_bytes: of all their names and values, with separators.
    """

    method: str
    path: str
    query: bytes
    peer: str
    named: dict[bytes, list[bytes]]
    fields: int
    size_bytes: int

    @classmethod
    def of(cls, scope: Scope) -> Head:
        """The head of an ASGI http scope."""
        client = scope.get("client")
        named: dict[bytes, list[bytes]] = {}
        fields = size = 0
        for name, value in scope["headers"]:
            fields += 1
            size += len(name) + len(value) + _SEPARATORS
            known = named.get(name)
            if known is None:
                named[name] = [value]
            else:
                known.append(value)
        return cls(
            method=scope["method"],
            path=scope["path"],
            query=scope.get("query_string", b""),
            peer=client[0] if client else "",
            named=named,
            fields=fields,
            size_bytes=size,
        )

    def values(self, name: bytes) -> Sequence[bytes]:
        """All values of a header, in order."""
        return self.named.get(name, ())

    @property
    def media(self) -> bytes:
        """The media type of the body, without its parameters; empty when it is not said."""
        said = self.named.get(b"content-type")
        return said[0].partition(b";")[0].strip().lower() if said else b""

    def one(self, name: bytes) -> bytes | None:
        """The value of a header that may come once; None when it is absent."""
        found = self.named.get(name)
        return found[0] if found else None
