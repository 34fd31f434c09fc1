"""`wickguard policy ...`: write, check and show policies.

Decides what these commands print and with which code they end: 0, or 2 by a ConfigError that says what to do. Results go to
stdout, so that they can be piped; advice and notes to stderr. It must not know how a server is made.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from wickguard.errors import ConfigError
from wickguard.policy.agree import warnings
from wickguard.policy.effective import Entry, as_json, entries
from wickguard.policy.json_schema import json_schema
from wickguard.policy.load import load
from wickguard.policy.schema import Policy
from wickguard.policy.template import literal, template
from wickguard.units import format_bytes


def add_commands(parser: argparse.ArgumentParser) -> Any:
    """The sub-commands of `wickguard policy`; returns where others can be added."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    init = commands.add_parser("init", help="write a complete policy file, every key explained and at its default")
    init.add_argument("file", nargs="?", type=Path, metavar="FILE", help="must not exist yet; stdout without it")
    init.set_defaults(run=write_template)
    check = commands.add_parser("check", help="say what is wrong with a policy, or what it amounts to")
    check.add_argument("file", type=Path, metavar="FILE")
    check.set_defaults(run=check_policy)
    show = commands.add_parser("show", help="every key with its value, and what differs from the default")
    show.add_argument("file", nargs="?", type=Path, metavar="FILE", help="the defaults without it")
    show.add_argument("--json", action="store_true", help="for programs")
    show.set_defaults(run=show_policy)
    schema = commands.add_parser("schema", help="print the JSON Schema of policy files, for editors")
    schema.set_defaults(run=print_schema)
    return commands


def write_template(options: argparse.Namespace) -> int:
    """`policy init [FILE]`. Raises ConfigError when the file exists or can't be written."""
    if options.file is None:
        sys.stdout.write(template())
        return 0
    try:
        with options.file.open("x", encoding="utf-8") as file:
            file.write(template())
    except FileExistsError as error:
        raise ConfigError(f"{options.file} exists; choose another name, or look at it with `policy show`") from error
    except OSError as error:
        raise ConfigError(f"the policy {options.file} can't be written: {error.strerror}") from error
    _note(f"wrote {options.file}; start with `wickguard serve {options.file}`")
    return 0


def check_policy(options: argparse.Namespace) -> int:
    """`policy check FILE`. Raises ConfigError with file, line, key, the value seen and what is accepted."""
    policy = load(options.file)
    differing = sum(entry.differs for entry in entries(policy))
    memory = policy.server.memory_bytes()
    share = format_bytes(memory * policy.admission.tenant_memory_share)
    print(
        f"{options.file}: good. Keys that differ from the default: {differing}; tenants with a table: {len(policy.tenants)}."
    )
    print(
        f"{policy.capacity:g} compute-seconds per second; {format_bytes(memory)} for calls, of which {share} for one tenant."
    )
    for text in warnings(policy):
        _note(f"advice: {text}")
    return 0


def show_policy(options: argparse.Namespace) -> int:
    """`policy show [FILE] [--json]`. Raises ConfigError as `check` does."""
    policy = load(options.file) if options.file else Policy()
    if options.json:
        print(json.dumps(as_json(policy), indent=2))
        return 0
    table = Table("key", "value", "default", "here", "accepted", box=None, header_style="bold")
    last = ""
    for entry in entries(policy):
        if entry.table != last:
            table.add_section()
            table.add_row(Text(f"[{entry.table}]", "bold"))
        last = entry.table
        table.add_row(*_row(entry))
    Console(highlight=False).print(table)
    return 0


def print_schema(options: argparse.Namespace) -> int:
    """`policy schema`."""
    print(json.dumps(json_schema(), indent=2))
    return 0


def _row(entry: Entry) -> tuple[Text, ...]:
    setting = entry.setting
    value, default = literal(setting, entry.value), literal(setting, setting.default)
    mark, style = ("* ", "bold") if entry.differs else ("  ", "")
    texts = (f"{mark}{setting.key}", value, default if entry.differs else "", entry.here, setting.accepted)
    # Not as markup: a value may have brackets.
    return tuple(Text(text, style) for text in texts)


def _note(text: str) -> None:
    Console(stderr=True, highlight=False).print(text, soft_wrap=True, markup=False)
