"""The outbox: answers that are large, from before their calls are admitted until their readers have them.

An answer waits in the front for whoever reads it, and nobody has to read fast. Decides whether there is room for one more
answer of this size, of its caller and of all, before anything is computed for it: the same limits as for bodies, counted apart,
so that unread answers keep no body out. Promises that what is held for a request is given back once, when it is over. It must
not know stages or how answers are sent.
"""

from __future__ import annotations

from wickguard.guard.edge import EdgeSettings, InFlight
from wickguard.rejection import Rejection


class Outbox:
    """See the module. Lives on one event loop."""

    def __init__(self, settings: EdgeSettings) -> None:
        self._settings = settings
        self._bytes = InFlight(settings, "answers")
        self._held: dict[str, tuple[str, int]] = {}

    @property
    def bytes_held(self) -> int:
        """Of all answers that are awaited or on their way."""
        return self._bytes.bytes_held

    def adopt(self, settings: EdgeSettings) -> None:
        """Other limits from now on; what is held stays held."""
        self._settings = settings
        self._bytes.adopt(settings)

    def promise(self, request_id: str, tenant: str, size_bytes: int) -> Rejection | None:
        """Hold room for the answer to a request of `tenant`, or hold nothing and refuse. Of 0 bytes nothing is held.

        What is more than a caller may ever hold counts as all of that: it waits for the others, and is not refused for ever.
        """
        if not size_bytes:
            return None
        size_bytes = min(size_bytes, self._settings.max_bytes_per_caller)
        refusal = self._bytes.take(tenant, size_bytes)
        if refusal is None:
            self._held[request_id] = tenant, size_bytes
        return refusal

    def over(self, request_id: str) -> None:
        """The request has its answer, or will have none. Requests without a promise are ignored."""
        held = self._held.pop(request_id, None)
        if held is not None:
            self._bytes.give_back(*held)
