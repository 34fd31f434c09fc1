"""Inquiries: the small requests by which discovery learns what a target is.

Decides what an answer is worth: its status, its body, the JSON in it. Promises that every request goes to the target's own
address, on a connection of its own and byte for byte as the run will send it, that no redirect is followed, and that no answer
is read beyond a bound. It must not know dialects.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from wickguard.errors import ConfigError
from wickguard.probe.spelling import encode
from wickguard.probe.trace import Request
from wickguard.probe.wire import MAX_RESPONSE_BYTES, Address, send
from wickguard.units import format_bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """What was answered. status: 0 when nothing was; `error` then says why. body: all of it, when there is no error."""

    status: int
    body: bytes
    error: str

    @property
    def ok(self) -> bool:
        """Whether the request was served."""
        return not self.error and 200 <= self.status < 300


class Inquiry:
    """Asks one target. timeout_s: of one request and its answer."""

    def __init__(self, address: Address, key: str | None, timeout_s: float) -> None:
        self._address = address
        self._key = key
        self._timeout_s = timeout_s
        self._documents: dict[str, Any] = {}

    async def get(self, path: str) -> Reply:
        """GET."""
        return await self._ask(Request("GET", path))

    async def post(self, path: str, document: object) -> Reply:
        """POST of a JSON document."""
        return await self._ask(Request("POST", path, body=encode(document)))

    async def document(self, path: str) -> Any:
        """The JSON that is served at `path`, None when there is none. Asked for once. Raises ConfigError when it has no end."""
        if path not in self._documents:
            self._documents[path] = _decoded(await self.get(path))
        return self._documents[path]

    async def _ask(self, request: Request) -> Reply:
        pieces: list[bytes] = []
        answer = await send(self._address, request, self._key, self._timeout_s, pieces)
        if answer.response_bytes > MAX_RESPONSE_BYTES:
            raise ConfigError(
                f"{self._address.authority}{request.path}: its answer is larger than {format_bytes(MAX_RESPONSE_BYTES)}; "
                "give the URL of another route"
            )
        # Before any answer, what the system said is kept where the answer would have been: a refused certificate, for one.
        said = answer.head.decode("utf-8", "replace") if answer.error and not answer.status else ""
        return Reply(answer.status, b"".join(pieces), f"{answer.error}: {said}" if said else answer.error)


def _decoded(reply: Reply) -> Any:
    if reply.error or reply.status != 200:
        return None
    try:
        return msgspec.json.decode(reply.body.removeprefix(b"\xef\xbb\xbf"))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
