"""Loading a policy: TOML in, checked settings out, or an error that names file, line and what is accepted.

Promises that an unknown section or key is an error (a limit that is misspelled is a limit that is off), and that sizes may be
written as "512M" wherever the key counts bytes. It must not know what any key means.
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec

from wickguard.errors import ConfigError
from wickguard.policy.schema import Policy
from wickguard.units import parse_bytes


def load(path: Path) -> Policy:
    """The policy in `path`. Raises ConfigError."""
    try:
        source = path.read_text()
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
    sections = {item.name: item for item in dataclasses.fields(Policy)}
    made: dict[str, Any] = {}
    for section, table in document.items():
        if section not in sections or not isinstance(table, dict):
            place = _line(source, None, section)
            raise ConfigError(f"{name}:{place}: unknown section [{section}]; known: {', '.join(sections)}")
        factory = sections[section].default_factory
        if factory is dataclasses.MISSING:
            raise AssertionError("every section has a default")
        made[section] = _make(type(factory()), section, table, (source, name))
    try:
        return Policy(**made)
    except ConfigError as error:
        # Two sections disagree; the message names the key that is too large.
        named = re.search(r"(\w+)\.(\w+)", str(error))
        line = _line(source, named[1], named[2]) if named else 1
        raise ConfigError(f"{name}:{line}: {error}") from error


def _make(kind: type, section: str, table: dict[str, Any], where: tuple[str, str]) -> Any:
    source, name = where
    known = _keys(kind)
    for key, value in table.items():
        if key not in known:
            place = _line(source, section, key)
            raise ConfigError(f"{name}:{place}: unknown key {section}.{key}; known: {', '.join(known)}")
        if isinstance(value, str) and key.endswith(("_bytes", "bytes_in_flight")):
            try:
                table[key] = parse_bytes(value)
            except ValueError as error:
                raise ConfigError(f"{name}:{_line(source, section, key)}: {section}.{key}: {error}") from error
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as error:
        match = re.search(r"\$\.(\w+)", str(error))
        place = _line(source, section, match[1] if match else None)
        raise ConfigError(f"{name}:{place}: [{section}] {error}") from error
    except ConfigError as error:
        keys = [key for key in table if key in str(error)]
        raise ConfigError(f"{name}:{_line(source, section, keys[0] if keys else None)}: [{section}] {error}") from error


def _keys(kind: type) -> tuple[str, ...]:
    if dataclasses.is_dataclass(kind):
        return tuple(item.name for item in dataclasses.fields(kind))
    return tuple(item.name for item in msgspec.structs.fields(kind))


def _line(source: str, section: str | None, key: str | None) -> int:
    """The 1-based line of a key of a section, or of the section's own header."""
    current: str | None = None
    for number, line in enumerate(source.splitlines(), 1):
        header = re.match(r"\s*\[+\s*([\w.-]+)", line)
        if header:
            current = header[1]
            if current == (section if key is None else key) and (key is None or section is None):
                return number
        elif key is not None and current == section and re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=", line):
            return number
    return 1
