"""The endpoint: what a service needs to be served: its requests become calls, its results become bodies.

One class for each service (embedding, generation, classification, ...); everything between decoding and rendering is the same
for all of them. It must not know any service.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from wickguard.records import Call, RawRequest
from wickguard.rejection import Rejection


@dataclass(frozen=True, slots=True)
class Body:
    """The body of a success."""

    data: bytes
    content_type: bytes = b"application/json"


class Endpoint(Protocol):
    """One service."""

    def decode(self, raw: RawRequest, dialect: str) -> Call | Rejection:
        """The call in `raw`, spelled in `dialect`: typed, measured, inside the envelope of a model that exists.

        Law 7: allocates at most a constant times the bytes received, opens nothing.
        """
        ...

    def render(self, call: Call, result: bytes, dialect: str) -> Body:
        """The worker's encoded result for `call` as the caller asked for it."""
        ...
