"""Work: what a model would cost, as real CPU time that is exactly linear in tokens.

Promises that the interpreter lock is not held (so that a sound server stays responsive while it computes) and that work
ends within a slice of the moment it is told to stop.
"""

from __future__ import annotations

import hashlib
import threading

# PBKDF2 is the one function of the standard library that burns CPU time in a given amount without the interpreter lock.
ROUNDS_PER_TOKEN = 25
TOKENS_PER_SLICE = 200
OVERHEAD_TOKENS = 100


class Stopped(Exception):  # noqa: N818 -- a fact, not an error
    """Nobody waits for the result any more."""


class Stop:
    """A flag that whoever works looks at now and then."""

    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """From now on `check` raises."""
        self._event.set()

    def check(self) -> None:
        """Raises Stopped when the flag is set."""
        if self._event.is_set():
            raise Stopped


def burn(tokens: int, stop: Stop) -> bytes:
    """About 5 microseconds of one core per token (on a core with SHA instructions); a digest that depends on `tokens`."""
    digest = b"zoo"
    while tokens > 0:
        stop.check()
        slice_tokens = min(tokens, TOKENS_PER_SLICE)
        digest = hashlib.pbkdf2_hmac("sha256", digest, b"work", slice_tokens * ROUNDS_PER_TOKEN)
        tokens -= slice_tokens
    return digest
