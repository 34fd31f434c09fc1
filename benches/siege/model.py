"""MiniLM with two planted faults: a text with a hidden word never ends, one with another ends its process.

The word costs what any word costs, so the price knows nothing: this is what a wrong price looks like, whatever made it wrong.
Runs in workers only, under their grants.
"""

from __future__ import annotations

import os
import time

import wickguard_engine as engine

from wickguard.records import Cost
from wickguard.workers.prepare import EngineModel

SPIN = "qzspinqz"
ABORT = "qzabortqz"
SPIN_S = 10.0


class Faulty(EngineModel):
    """The model, and what it does when it meets its words."""

    def run(self, payload: bytes, limits: Cost) -> bytes:
        """As the real one, unless a hidden word is in the payload."""
        if SPIN.encode() in payload:
            end = time.process_time() + SPIN_S
            while time.process_time() < end:
                pass
        if ABORT.encode() in payload:
            os.abort()
        return super().run(payload, limits)


def load(path: str, memory_limit_bytes: int | None) -> Faulty:
    """The loader."""
    return Faulty(engine.load(path, memory_limit=memory_limit_bytes))
