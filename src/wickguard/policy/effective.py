"""The effective policy: every key with its value, what a 0 stands for on this machine, and whether it differs from the default.

Decides what an operator is shown of a policy. Promises every key of every section, and of every tenant that the policy names.
It must not know terminals or files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from wickguard.policy.schema import Policy, sections
from wickguard.records import Lane
from wickguard.setting import Setting, settings_of
from wickguard.units import format_bytes


@dataclass(frozen=True, slots=True)
class Entry:
    """One key. table: its section, or section.tenant. here: what the value stands for on this machine, "" if for itself."""

    table: str
    setting: Setting
    value: Any
    here: str = ""

    @property
    def differs(self) -> bool:
        """Whether it is not the default."""
        return bool(self.value != self.setting.default)


def entries(policy: Policy) -> Iterator[Entry]:
    """All keys, in the order of the file."""
    for section in sections():
        chosen = getattr(policy, section.name)
        if section.named:
            for name, tenant in chosen.items():
                yield from _entries(policy, section.name, f"{section.name}.{name}", tenant)
        else:
            yield from _entries(policy, section.name, section.name, chosen)


def as_json(policy: Policy) -> dict[str, Any]:
    """Table to key to {value, default, differs}, and `here` where a 0 stands for something."""
    found: dict[str, Any] = {}
    for entry in entries(policy):
        row = {"value": entry.value, "default": entry.setting.default, "differs": entry.differs}
        found.setdefault(entry.table, {})[entry.setting.key] = row | ({"here": entry.here} if entry.here else {})
    return found


# What a 0 stands for. Keys of the policy, to a function of the policy and of the object that has the key.
_DERIVED: dict[str, Callable[[Policy, Any], str]] = {
    "edge.max_picture_bytes": lambda policy, edge: format_bytes(edge.picture_bytes),
    "server.memory_budget_bytes": lambda policy, server: format_bytes(server.memory_bytes()),
    "quota.capacity": lambda policy, quota: f"{policy.capacity:g} cores",
    "workers.slots": lambda policy, workers: f"{workers.calls(Lane.SHORT)}",
    "workers.long_slots": lambda policy, workers: f"{workers.calls(Lane.LONG)}",
    "tenants.rate": lambda policy, tenant: f"{tenant.plan(policy.capacity).rate:g}",
    "tenants.requests_per_minute": lambda policy, tenant: "not limited",
    "tenants.tokens_per_minute": lambda policy, tenant: "not limited",
    "tenants.concurrent_calls": lambda policy, tenant: "not limited",
}


def _entries(policy: Policy, section: str, table: str, chosen: Any) -> Iterator[Entry]:
    for setting in settings_of(type(chosen)):
        value = getattr(chosen, setting.key)
        derive = _DERIVED.get(f"{section}.{setting.key}")
        here = derive(policy, chosen) if derive is not None and value == 0 else ""
        yield Entry(table, setting, value, here)
