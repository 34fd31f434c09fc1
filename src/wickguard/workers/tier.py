"""Tier: which confinement mechanisms are in force, as a value that people and metrics can read.

A worker reports it after it has confined itself; the pool adds what the arbiter knows. It promises that a mechanism
is only named active when the kernel has accepted it in that process. It must not know how a mechanism is applied.
"""

from __future__ import annotations

import msgspec


class Tier(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One flag per mechanism. landlock_abi is the kernel's Landlock version, 0 without; missing says why, by name.

    timers: ITIMER_PROF and ITIMER_REAL. data_limit: RLIMIT_DATA. ledger: the engine's allocator keeps the shared page.
    """

    timers: bool = False
    data_limit: bool = False
    ledger: bool = False
    no_new_privs: bool = False
    capabilities_dropped: bool = False
    seccomp: bool = False
    landlock_abi: int = 0
    parent_death_signal: bool = False
    oom_score: bool = False
    descriptors_closed: bool = False
    scheduling: bool = False
    cgroup: bool = False
    missing: tuple[tuple[str, str], ...] = ()

    def active(self) -> tuple[str, ...]:
        """Names of the mechanisms in force, for a metric's label values."""
        return tuple(name for name in self.__struct_fields__ if name != "missing" and bool(getattr(self, name)))

    def __str__(self) -> str:
        """One line for the start-up banner."""
        labels = {"landlock_abi": f"landlock (ABI {self.landlock_abi})"}
        have = ", ".join(labels.get(name, name.replace("_", " ")) for name in self.active())
        lack = "; ".join(f"no {name}: {why}" for name, why in self.missing)
        return f"{have or 'no confinement'}" + (f" ({lack})" if lack else "")
