"""A setting: one key that an operator may choose, with its type, range, default and explanation, declared once.

A settings class is a frozen dataclass (or msgspec struct) whose fields are annotated: `Annotated[int, Meta(ge=1, le=64)]`
says what is accepted, and a line `key: why` of the class's docstring explains it. From that one declaration come the check
when an object is made, the error text, the policy file that is written for operators, and the JSON Schema for editors.
Promises: every number has both bounds, NaN is outside all of them, and a range is spelled the same wherever it is shown. It
must not know files, sections, or what any key means.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args, get_origin, get_type_hints

import msgspec

from wickguard.errors import SettingError
from wickguard.units import spell_bytes

_EXPLANATION = re.compile(r"^(\w+): (.*(?:\n[ \t]+\S.*)*)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Setting:
    """One key. kind: its type without the range. low, high: None unless it is a number. choices: when only these words are."""

    key: str
    kind: Any
    default: Any
    explanation: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()

    @property
    def counts_bytes(self) -> bool:
        """Whether the value may be written as "512M"."""
        return self.kind is int and "bytes" in self.key.split("_")

    @property
    def accepted(self) -> str:
        """What may stand there: "0.1 to 60", "1k to 64k", "loopback, never or always"."""
        if self.choices:
            return f"{', '.join(self.choices[:-1])} or {self.choices[-1]}"
        if self.kind in (int, float):
            return f"{self.spelled(self.low)} to {self.spelled(self.high)}"
        return {bool: "true or false", str: "text in quotes"}.get(self.kind, 'a list of texts: ["a", "b"]')

    def spelled(self, value: Any) -> str:
        """`value` for people: sizes with their unit, numbers without noise, other things as they are."""
        if self.counts_bytes and type(value) is int:
            return spell_bytes(value)
        return f"{value:.12g}" if type(value) is float else str(value)

    def refusal(self, seen: Any) -> SettingError:
        """The error that says what is accepted and what was seen."""
        shown = self.spelled(seen) if isinstance(seen, int | float) and self.low is not None else repr(seen)
        return SettingError(f"{{}} must be {self.accepted}", self.key, seen=shown)


def settings_of(kind: type) -> tuple[Setting, ...]:
    """The keys of a settings class, in the order in which they are declared."""
    # mypy takes the __hash__ of a class's instances for that of the class.
    return _declared(cast(Hashable, kind))


@functools.cache
def _declared(kind: Any) -> tuple[Setting, ...]:
    hints = get_type_hints(kind, include_extras=True)
    why = {name: " ".join(text.split()) for name, text in _EXPLANATION.findall(inspect.getdoc(kind) or "")}
    return tuple(_setting(name, hints[name], default, why.get(name, "")) for name, default in _defaults(kind))


def summary_of(kind: type) -> str:
    """The opening paragraph of a settings class's docstring, on one line."""
    return " ".join((inspect.getdoc(kind) or "").split("\n\n")[0].split())


def check(settings: Any) -> None:
    """Compare every value with its declared range. Raises SettingError."""
    for setting in settings_of(type(settings)):
        value = getattr(settings, setting.key)
        # Written so that NaN, for which every comparison is false, is outside.
        inside = setting.low is None or setting.high is None or setting.low <= value <= setting.high
        if not inside or (setting.choices and value not in setting.choices):
            raise setting.refusal(value)


def _setting(key: str, hint: Any, default: Any, why: str) -> Setting:
    kind, low, high = hint, None, None
    for extra in getattr(hint, "__metadata__", ()):
        if isinstance(extra, msgspec.Meta):
            low, high = extra.ge, extra.le
            kind = hint.__origin__
    choices = get_args(kind) if get_origin(kind) is Literal else ()
    return Setting(key, str if choices else kind, default, why, low, high, choices)


def _defaults(kind: Any) -> list[tuple[str, Any]]:
    fields = msgspec.structs.fields if issubclass(kind, msgspec.Struct) else dataclasses.fields
    return [(item.name, item.default) for item in fields(kind)]
