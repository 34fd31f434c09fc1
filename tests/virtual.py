"""Virtual time: an event loop that jumps to its next timer instead of waiting, and the guard's clock set by it.

So that the real pipeline can be run through hours of traffic in milliseconds, with every wait exact.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

# An ordinary wall-clock time, with the precision that a log has today.
EPOCH = 1_790_000_000.0


class _Jump(selectors.DefaultSelector):
    """Waits for nothing: what the loop would have slept is added to its time."""

    jumped_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready now; else time has passed."""
        found = super().select(0)
        if not found:
            if timeout is None:
                raise AssertionError("everybody waits, and nothing will ever happen")
            self.jumped_s += max(0.0, timeout)
        return found


class VirtualLoop(asyncio.SelectorEventLoop):
    """See the module."""

    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)

    def time(self) -> float:
        """Virtual seconds."""
        return self._jump.jumped_s


def run_virtually(main: Coroutine[Any, Any, None]) -> None:
    """Run `main` on a virtual loop, with the guard's clock set by it."""
    loop = VirtualLoop()
    try:
        with _clock_of(loop):
            loop.run_until_complete(main)
    finally:
        loop.close()


@contextmanager
def _clock_of(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    with mock.patch("wickguard.clock.now", loop.time), mock.patch("wickguard.clock.utc", lambda: EPOCH + loop.time()):
        yield
