"""Reloading: every section says when it takes effect, and a policy is taken whole or not at all."""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec
import pytest

from wickguard.errors import ConfigError
from wickguard.policy.load import parse
from wickguard.policy.reload import TAKES, Takes, changes
from wickguard.policy.schema import Policy, sections
from wickguard.setting import Setting, settings_of

PLAIN = [(section.name, item) for section in sections() if not section.named for item in settings_of(section.kind)]


def test_every_section_says_when_it_takes_effect() -> None:
    """The table is total."""
    assert set(TAKES) == {section.name for section in sections()}


def _other(setting: Setting) -> Any:
    """A value that is not the default, and that agrees with everything else."""
    if setting.choices:
        return setting.choices[1]
    if setting.kind in (int, float):
        assert setting.high is not None
        step = setting.kind(1) if setting.kind is int else 1e-4
        return setting.default + step if setting.default + step <= setting.high else setting.default - step
    return {bool: not setting.default, str: "x"}.get(setting.kind, ("10.0.0.0/8",))


@pytest.mark.parametrize(("section", "setting"), PLAIN, ids=lambda item: getattr(item, "key", item))
def test_a_changed_key_is_taken_or_refused_when_the_policy_is_reloaded(section: str, setting: Setting) -> None:
    """Every key of every section; the refusal names the key, both values and what to do."""
    if setting.key in ("tls_cert", "tls_key", "memory_budget_bytes"):
        both = {"tls_cert": "a", "tls_key": "b", "memory_budget_bytes": 8 << 30}
        change = both if setting.key.startswith("tls") else {setting.key: both[setting.key]}
    else:
        change = {setting.key: _other(setting)}
    old = Policy()
    replace = msgspec.structs.replace if section == "workers" else dataclasses.replace
    made = replace(getattr(old, section), **change)
    new = dataclasses.replace(old, **{section: made})
    if TAKES[section] is Takes.RELOAD:
        assert [found.key for found in changes(old, new)] == [f"{section}.{setting.key}"]
    else:
        with pytest.raises(
            ConfigError, match=rf"{section}\.{setting.key}: .* -> .*restart the server, or put these back"
        ):
            changes(old, new)


def test_nothing_changes_when_the_policy_is_the_same() -> None:
    """However it is written."""
    assert changes(Policy(), parse('[edge]\nmax_body_bytes = "1M"\n', "p.toml")) == ()


def test_tenants_come_change_and_go_when_the_policy_is_reloaded() -> None:
    """Each by its name."""
    old = parse("[tenants.a]\nweight = 2\n[tenants.b]\n", "p.toml")
    new = parse("[tenants.b]\nrate = 0.5\n[tenants.c]\n", "p.toml")
    assert [str(change) for change in changes(old, new)] == [
        "tenants.a: its table -> none",
        "tenants.b.rate: 0.0 -> 0.5",
        "tenants.c: none -> its table",
    ]


def test_nothing_is_taken_when_one_key_needs_a_restart() -> None:
    """Also what could have been."""
    with pytest.raises(ConfigError) as caught:
        changes(Policy(), parse('[edge]\nmax_headers = 5\n[server]\nbacklog = 7\n[audit]\npath = "x"\n', "p.toml"))
    assert 'server.backlog: 1024 -> 7; audit.path: "" -> "x"; nothing of the new policy is in force' in str(
        caught.value
    )
