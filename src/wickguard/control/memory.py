"""Memory reservation: the sum of all live grants never exceeds the budget.

Decides whether a grant of some bytes fits now. Promises law 3 (the sum never exceeds the budget, so that the server can't
be driven out of memory by what it admits) and that a hold is released exactly once: a second release is an error, because
it would let the sum drift. It must not know what the bytes are for, nor wait for any.
"""

from __future__ import annotations

from wickguard.errors import ConfigError, WickguardError


class MemoryReservation:
    """A ledger of holds, by id, in bytes."""

    def __init__(self, budget_bytes: int) -> None:
        if budget_bytes <= 0:
            raise ConfigError(f"the memory budget must be positive, not {budget_bytes} bytes")
        self._budget = budget_bytes
        self._held: dict[str, int] = {}
        self._sum = 0

    @property
    def budget_bytes(self) -> int:
        """The most that can be held at once."""
        return self._budget

    @property
    def held_bytes(self) -> int:
        """What is held now."""
        return self._sum

    def ever_fits(self, size_bytes: int) -> bool:
        """Whether a hold of this size could be granted on an idle server."""
        return size_bytes <= self._budget

    def fits(self, size_bytes: int) -> bool:
        """Whether a hold of this size can be granted now."""
        return self._sum + size_bytes <= self._budget

    def hold(self, hold_id: str, size_bytes: int) -> bool:
        """Take the hold, or take nothing and return False."""
        if hold_id in self._held:
            raise WickguardError(f"hold {hold_id} is already taken")
        if size_bytes < 0 or not self.fits(size_bytes):
            return False
        self._held[hold_id] = size_bytes
        self._sum += size_bytes
        return True

    def release(self, hold_id: str) -> int:
        """Give the hold back; returns its bytes. Raises WickguardError when it is not held (released twice)."""
        size = self._held.pop(hold_id, None)
        if size is None:
            raise WickguardError(f"hold {hold_id} is not held")
        self._sum -= size
        return size
