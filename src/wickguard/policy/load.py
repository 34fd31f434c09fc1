"""Loading a policy: TOML in, checked settings out, or an error that names file, line, key, what was seen and what is accepted.

Promises that an unknown section or key is an error (a limit that is misspelled is a limit that is off), and that sizes may be
written as "512M" wherever the key counts bytes. It must not know what any key means.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from wickguard.errors import ConfigError, SettingError
from wickguard.policy.position import line_of
from wickguard.policy.schema import TENANT_NAME, Policy, Section, sections
from wickguard.setting import Setting, settings_of
from wickguard.units import parse_bytes


def load(path: Path) -> Policy:
    """The policy in `path`. Raises ConfigError."""
    try:
        source = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"the policy {path} can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}:1: not valid TOML: it is not UTF-8 text") from error
    return parse(source, str(path))


def parse(source: str, name: str) -> Policy:
    """The policy in TOML text; `name` is used in messages. Raises ConfigError."""
    try:
        document = tomllib.loads(source)
    except tomllib.TOMLDecodeError as error:
        at = re.search(r"at line (\d+)", str(error))
        last = source.count("\n") + 1
        raise ConfigError(f"{name}:{at[1] if at else last}: not valid TOML: {error}") from error
    return _Text(source, name).policy(document)


@dataclass(frozen=True, slots=True)
class _Text:
    """A policy's text: where errors point."""

    source: str
    name: str

    def policy(self, document: dict[str, Any]) -> Policy:
        known = {section.name: section for section in sections()}
        made: dict[str, Any] = {}
        for name, table in document.items():
            if name not in known or not isinstance(table, dict):
                raise self._error([name], f"unknown section [{name}]; known: {', '.join(known)}")
            section = known[name]
            made[name] = self._named(section, table) if section.named else self._settings(section.kind, [name], table)
        try:
            return Policy(**made)
        except SettingError as error:
            raise self._points_at(error) from error

    def _named(self, section: Section, tables: dict[str, Any]) -> dict[str, Any]:
        made = {}
        for name, table in tables.items():
            path = [section.name, name]
            if not isinstance(table, dict):
                raise self._error(path, f"{section.name}.{name} must be a table: write [{section.name}.NAME] and keys")
            if not re.fullmatch(TENANT_NAME, name):
                raise self._error(path, f"[{section.name}.{name!r}]: a name is 1 to 64 letters, digits, or - _ . @")
            made[name] = self._settings(section.kind, path, table)
        return made

    def _settings(self, kind: type, path: Sequence[str], table: dict[str, Any]) -> Any:
        known = {setting.key: setting for setting in settings_of(kind)}
        place = ".".join(path)
        values: dict[str, Any] = {}
        for key, value in table.items():
            if key not in known:
                raise self._error([*path, key], f"unknown key {place}.{key}; known: {', '.join(known)}")
            try:
                values[key] = _convert(known[key], value)
            except SettingError as error:
                raise self._points_at(error.inside(place)) from error
        try:
            return kind(**values)
        except SettingError as error:
            raise self._points_at(error.inside(place)) from error

    def _points_at(self, error: SettingError) -> ConfigError:
        """The error with the line of the first of its keys that the text has; the others are at their defaults."""
        for key in error.keys:
            section, _, rest = key.partition(".")
            # A tenant's name may have dots; a section and a key never do.
            name, _, leaf = rest.rpartition(".")
            line = line_of(self.source, [section, *([name] if name else []), leaf])
            if line is not None:
                return ConfigError(f"{self.name}:{line}: {error}")
        return ConfigError(f"{self.name}:1: {error}")

    def _error(self, path: Sequence[str], says: str) -> ConfigError:
        return ConfigError(f"{self.name}:{line_of(self.source, path)}: {says}")


def _convert(setting: Setting, value: Any) -> Any:
    if setting.counts_bytes and isinstance(value, str):
        try:
            value = parse_bytes(value)
        except ValueError as error:
            raise SettingError(f"{{}} must be {setting.accepted}: {_literal(error)}", setting.key) from error
    try:
        return msgspec.convert(value, setting.kind)
    except msgspec.ValidationError as error:
        raise setting.refusal(value) from error


def _literal(error: ValueError) -> str:
    return str(error).replace("{", "{{").replace("}", "}}")
