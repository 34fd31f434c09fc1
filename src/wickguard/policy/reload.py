"""Reloading a policy: what differs from the one in force, and whether a running server can take it over.

Decides by one table over the sections: settings that are asked anew for every request can change while the server runs, those
that sockets, processes and files were made from can't. A policy that changes any of the latter is refused whole, because half
a policy is one that nobody wrote. Promises that the table has every section (tests), and that a refusal names the keys and
what to do. Pure; it must not know how a server takes a policy over.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from wickguard.errors import ConfigError
from wickguard.policy.schema import Policy, Section, sections
from wickguard.policy.template import literal
from wickguard.setting import settings_of


class Takes(StrEnum):
    """When a changed section has its effect."""

    RELOAD = "reload"
    RESTART = "restart"


# Why a restart: listening sockets, the memory ledger and TLS; processes that live; an open file and its thread.
TAKES: dict[str, Takes] = {
    "server": Takes.RESTART,
    "edge": Takes.RELOAD,
    "identity": Takes.RELOAD,
    "text": Takes.RELOAD,
    "image": Takes.RELOAD,
    "series": Takes.RELOAD,
    "price": Takes.RELOAD,
    "calibration": Takes.RESTART,
    "learning": Takes.RESTART,
    "admission": Takes.RELOAD,
    "quota": Takes.RELOAD,
    "workers": Takes.RESTART,
    "audit": Takes.RESTART,
    "tenants": Takes.RELOAD,
}


@dataclass(frozen=True, slots=True)
class Change:
    """One key that differs: its full name and its values as TOML; "" for a tenant's table that is not there."""

    key: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.key}: {self.before or 'none'} -> {self.after or 'none'}"


def changes(old: Policy, new: Policy) -> tuple[Change, ...]:
    """What `new` changes in a server that runs under `old`. Raises ConfigError when any of it needs a restart."""
    found = {section.name: tuple(_changes(section, old, new)) for section in sections()}
    fixed = [change for name, some in found.items() if TAKES[name] is Takes.RESTART for change in some]
    if fixed:
        raise ConfigError(
            f"can't change while the server runs: {'; '.join(map(str, fixed))}; nothing of the new policy is in force; "
            "restart the server, or put these back"
        )
    return tuple(change for some in found.values() for change in some)


def _changes(section: Section, old: Policy, new: Policy) -> Iterator[Change]:
    before, after = getattr(old, section.name), getattr(new, section.name)
    if not section.named:
        yield from _differences(section.name, before, after)
        return
    for name in sorted({*before, *after}):
        table = f"{section.name}.{name}"
        if name in before and name in after:
            yield from _differences(table, before[name], after[name])
        else:
            yield Change(table, "its table" if name in before else "", "its table" if name in after else "")


def _differences(table: str, before: Any, after: Any) -> Iterator[Change]:
    for setting in settings_of(type(before)):
        was, becomes = getattr(before, setting.key), getattr(after, setting.key)
        if was != becomes:
            yield Change(f"{table}.{setting.key}", literal(setting, was), literal(setting, becomes))
