"""The template: a complete policy file, every key at its default under its explanation and what is accepted.

Decides how a value is written in TOML and how the file is laid out; every word and number comes from the settings classes.
Promises that what it writes loads as the default policy. It must not know what any key means.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from wickguard import __version__
from wickguard.policy.schema import Section, sections
from wickguard.setting import Setting, settings_of, summary_of

_HEAD = f"""\
# The policy of wickguard {__version__}: every key, at its default. All are optional: what you don't change, you may delete.
# Above each key: what it is, and what is accepted. Bytes may be written as "512M"; names that end in _s are seconds.
# Check it with `wickguard policy check FILE`; a running server takes it over on SIGHUP.
"""
_EXAMPLE_NAME = "alice"


def template() -> str:
    """The text of a policy file."""
    return "\n".join([_HEAD, *(line for section in sections() for line in _section(section))])


def literal(setting: Setting, value: Any) -> str:
    """`value` as TOML: sizes with their unit, text in quotes."""
    if setting.counts_bytes and not setting.spelled(value).isdigit():
        return f'"{setting.spelled(value)}"'
    if isinstance(value, float):
        # Always with a point or an exponent, so that it is seen to be no whole number.
        return repr(value)
    return msgspec.json.encode(value).decode()


def _section(section: Section) -> Iterator[str]:
    yield f"# {summary_of(section.kind)}"
    if not section.named:
        yield f"[{section.name}]"
        yield from _keys(section.kind)
    else:
        yield f"# One table for each, [{section.name}.NAME]; without one, the defaults hold. For example:"
        yield f"# [{section.name}.{_EXAMPLE_NAME}]"
        yield from (f"# {line}".rstrip() for line in _keys(section.kind))


def _keys(kind: type) -> Iterator[str]:
    for setting in settings_of(kind):
        yield f"# {setting.explanation.rstrip('.')} ({setting.accepted})"
        yield f"{setting.key} = {literal(setting, setting.default)}"
    yield ""
