"""Fanout: hands each event to every listener.

Promises that a listener that fails never reaches the path: its error is counted, and the others still hear the event.
Listeners must return at once; whoever needs to wait (a disk) queues for itself. It must not know any listener.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from wickguard.telemetry.events import Event

Listener = Callable[[Event], None]


class Fanout:
    """Calls each listener in order."""

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self._listeners = tuple(listeners)
        self.failures = 0

    def __call__(self, event: Event) -> None:
        """Deliver `event`."""
        for listener in self._listeners:
            try:
                listener(event)
            except Exception:
                self.failures += 1
