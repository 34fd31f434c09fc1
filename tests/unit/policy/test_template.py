"""What is generated from the settings classes: the policy file, its schema, and what `show` says."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wickguard.control.terms import TenantSettings
from wickguard.errors import ConfigError
from wickguard.policy.effective import as_json, entries
from wickguard.policy.json_schema import json_schema
from wickguard.policy.load import parse
from wickguard.policy.schema import Policy, sections
from wickguard.policy.template import literal, template
from wickguard.setting import Setting, settings_of

ROOT = Path(__file__).parents[3]
VALIDATOR = jsonschema_rs.validator_for(json_schema())
PLAIN = [(section.name, item) for section in sections() if not section.named for item in settings_of(section.kind)]


def _with_example() -> str:
    text = template()
    start = text.index("# [tenants.alice]")
    return text[:start] + re.sub(r"^# ?", "", text[start:], flags=re.MULTILINE)


def test_template_is_the_default_policy_when_it_is_loaded() -> None:
    """Every key at its default."""
    assert parse(template(), "p.toml") == Policy()


def test_template_has_every_key_and_explanation_when_it_is_read() -> None:
    """Once, with its range; the example of a tenant too, when it is made live."""
    document = tomllib.loads(_with_example())
    for section in sections():
        table = document[section.name]["alice"] if section.named else document[section.name]
        assert list(table) == [item.key for item in settings_of(section.kind)]
        assert all(item.explanation.rstrip(".") in template() for item in settings_of(section.kind))
    assert parse(_with_example(), "p.toml").tenants == {"alice": TenantSettings()}


def test_schema_is_the_committed_one_when_settings_change() -> None:
    """docs/policy.schema.json is what `wickguard policy schema` prints."""
    committed = (ROOT / "docs" / "policy.schema.json").read_text()
    assert committed == json.dumps(json_schema(), indent=2) + "\n", "wickguard policy schema > docs/policy.schema.json"


def test_schema_is_valid_and_complete_when_it_is_read_by_a_validator() -> None:
    """Every key with type, description, default; every number with both bounds."""
    jsonschema_rs.meta.validate(json_schema())
    for _, key in _keys(json_schema()):
        assert key["description"]
        assert "default" in key
        assert key.get("enum") or key["type"]
        if key["type"] in ("integer", "number") or "integer" in key["type"]:
            assert key["minimum"] <= key["default"] <= key["maximum"]


def test_template_fits_the_schema_when_it_is_complete() -> None:
    """The example of a tenant included."""
    VALIDATOR.validate(tomllib.loads(_with_example()))


def _keys(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for section in schema["properties"].values():
        table = section if "properties" in section else section["additionalProperties"]
        yield from table["properties"].items()


def _value(setting: Setting) -> st.SearchStrategy[Any]:
    if setting.choices:
        return st.sampled_from([*setting.choices, "other", 1])
    if setting.kind in (int, float):
        numbers = st.one_of(st.integers(-2, 1 << 48), st.floats(allow_nan=False, allow_infinity=False, width=32))
        return st.one_of(numbers, st.sampled_from(["512M", "1 KiB", "x", "", "5t", True]))
    return st.one_of(
        st.booleans(), st.text(max_size=3), st.lists(st.sampled_from(["::1", "10.0.0.0/8", 1]), max_size=2)
    )


@given(st.data())
def test_what_the_schema_refuses_is_refused_by_the_loader(data: st.DataObject) -> None:
    """For any value of any key; the loader may also refuse what only it can know."""
    section, setting = data.draw(st.sampled_from(PLAIN))
    text = f"[{section}]\n{setting.key} = {json.dumps(data.draw(_value(setting)))}\n"
    try:
        parse(text, "p.toml")
    except ConfigError:
        return
    assert VALIDATOR.is_valid(tomllib.loads(text))


@pytest.mark.parametrize(("section", "setting"), PLAIN, ids=lambda item: getattr(item, "key", item))
def test_schema_refuses_a_value_when_it_is_outside_or_of_another_kind(section: str, setting: Setting) -> None:
    """So that an editor marks what the loader would."""
    wrong: list[Any] = [{}, 1 if setting.kind in (bool, str) or setting.low is None else "fast"]
    if setting.low is not None and setting.high is not None:
        wrong += [setting.low - 1, setting.high + 1]
    for value in wrong:
        assert not VALIDATOR.is_valid({section: {setting.key: value}})
    assert VALIDATOR.is_valid(
        {section: {setting.key: list(setting.default) if setting.default == () else setting.default}}
    )


@given(st.data())
def test_a_value_is_read_back_when_it_is_written_as_a_literal(data: st.DataObject) -> None:
    """For every value that a key may have."""
    _, setting = data.draw(st.sampled_from([item for item in PLAIN if item[1].low is not None]))
    bounds = {"min_value": setting.low, "max_value": setting.high}
    value = data.draw(st.integers(**bounds) if setting.kind is int else st.floats(**bounds))  # type: ignore[arg-type]
    found = tomllib.loads(f"x = {literal(setting, value)}")["x"]
    if isinstance(found, str):
        # A size, which the loader reads.
        assert setting.counts_bytes
        assert re.fullmatch(r"\d+[kMG]", found)
    else:
        assert found == value


def test_what_differs_is_marked_when_a_policy_is_shown() -> None:
    """And what a 0 stands for is said."""
    policy = parse('[edge]\nmax_headers = 5\n[quota]\ncapacity = 3\n[tenants."a.b"]\nweight = 2\n', "p.toml")
    assert {f"{entry.table}.{entry.setting.key}" for entry in entries(policy) if entry.differs} == {
        "edge.max_headers",
        "quota.capacity",
        "tenants.a.b.weight",
    }
    shown = as_json(policy)
    assert shown["edge"]["max_headers"] == {"value": 5, "default": 64, "differs": True}
    assert shown["tenants.a.b"]["rate"] == {"value": 0.0, "default": 0.0, "differs": False, "here": "1.5"}


@pytest.mark.parametrize(("section", "setting"), PLAIN, ids=lambda item: getattr(item, "key", item))
def test_every_zero_says_what_it_stands_for_when_it_is_shown(section: str, setting: Setting) -> None:
    """A key whose explanation says "0 = ..." shows it."""
    entry = next(item for item in entries(Policy()) if (item.table, item.setting) == (section, setting))
    assert bool(entry.here) == ("0 = " in setting.explanation)
