"""Memory reservation: the sum of all live grants never exceeds the budget, nor that of one tenant its share.

Decides whether a grant of some bytes fits now. Without the share, one tenant whose calls hold memory and little else would
keep everybody out. Promises law 3 (the sum never exceeds the budget, so that the server can't
be driven out of memory by what it admits) and that a hold is released exactly once: a second release is an error, because
it would let the sum drift. It must not know what the bytes are for, nor wait for any.
"""

from __future__ import annotations

from wickguard.errors import ConfigError, WickguardError


class MemoryReservation:
    """A ledger of holds, by id, in bytes. tenant_share: the most that one tenant may hold, as a part of the budget."""

    def __init__(self, budget_bytes: int, tenant_share: float = 1.0) -> None:
        if budget_bytes <= 0:
            raise ConfigError(f"the memory budget must be positive, not {budget_bytes} bytes")
        self._budget = budget_bytes
        self.adopt(tenant_share)
        self._held: dict[str, tuple[str, int]] = {}
        self._tenants: dict[str, int] = {}
        self._sum = 0

    def adopt(self, tenant_share: float) -> None:
        """Another share from now on; what is held stays held. Raises ConfigError."""
        if not 0 < tenant_share <= 1:
            raise ConfigError(f"tenant_share must be above 0 and at most 1, not {tenant_share}")
        self._share = int(self._budget * tenant_share)

    @property
    def budget_bytes(self) -> int:
        """The most that can be held at once."""
        return self._budget

    @property
    def held_bytes(self) -> int:
        """What is held now."""
        return self._sum

    @property
    def share_bytes(self) -> int:
        """The most that one tenant can hold at once."""
        return self._share

    def ever_fits(self, size_bytes: int) -> bool:
        """Whether a hold of this size could be granted on an idle server."""
        return size_bytes <= self._share

    def fits(self, size_bytes: int, tenant: str = "") -> bool:
        """Whether a hold of this size can be granted to `tenant` now."""
        return self._sum + size_bytes <= self._budget and self._tenants.get(tenant, 0) + size_bytes <= self._share

    def hold(self, hold_id: str, size_bytes: int, tenant: str = "") -> bool:
        """Take the hold, or take nothing and return False."""
        if hold_id in self._held:
            raise WickguardError(f"hold {hold_id} is already taken")
        if size_bytes < 0 or not self.fits(size_bytes, tenant):
            return False
        self._held[hold_id] = (tenant, size_bytes)
        self._tenants[tenant] = self._tenants.get(tenant, 0) + size_bytes
        self._sum += size_bytes
        return True

    def release(self, hold_id: str) -> int:
        """Give the hold back; returns its bytes. Raises WickguardError when it is not held (released twice)."""
        found = self._held.pop(hold_id, None)
        if found is None:
            raise WickguardError(f"hold {hold_id} is not held")
        tenant, size = found
        self._sum -= size
        left = self._tenants.get(tenant, 0) - size
        if left:
            self._tenants[tenant] = left
        else:
            # A tenant may hold nothing several times over.
            self._tenants.pop(tenant, None)
        return size
