"""The command line: arguments -> calls, no logic.

Every error that an operator can cause ends as one line on stderr that says what to do, and exit code 2.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from wickguard import __version__
from wickguard.errors import WickguardError
from wickguard.guard.identity import add_key
from wickguard.models import demo_models, resolve
from wickguard.policy import command as policy_command
from wickguard.policy.load import load
from wickguard.policy.schema import Policy
from wickguard.probe import command as probe_command
from wickguard.serve import Options, Running, serve_until_signal
from wickguard.units import format_bytes

_CONSOLE = Console(stderr=True, highlight=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of the `wickguard` command; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        code: int = options.run(options)
    except WickguardError as error:
        _CONSOLE.print("[bold red]wickguard:[/]", escape(str(error)), soft_wrap=True)
        return 2
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="wickguard", description="Serve models to strangers.")
    parser.add_argument("--version", action="version", version=f"wickguard {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    serve = commands.add_parser("serve", help="serve models", formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    serve.add_argument("policy", nargs="?", type=Path, metavar="POLICY.toml", help="limits; safe defaults without it")
    serve.add_argument(
        "--model", action="append", default=[], metavar="PATH_OR_HUB_ID[=NAME]", help="a model; may be repeated"
    )
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on")
    serve.add_argument("--port", type=_port, default=8080, help="port to listen on")
    serve.add_argument("--keys", type=Path, metavar="FILE", help="API keys (made with `wickguard keys add`)")
    serve.set_defaults(run=_serve)
    keys = commands.add_parser("keys", help="API keys").add_subparsers(required=True, metavar="COMMAND")
    add = keys.add_parser("add", help="make a key, print it once, store its hash")
    add.add_argument("file", type=Path)
    add.add_argument("tenant")
    add.set_defaults(run=_add_key)
    probe = commands.add_parser("probe", help="find out what an endpoint can be made to spend")
    probe_command.add_arguments(probe)
    probe.set_defaults(run=probe_command.run)
    policy_command.add_commands(commands.add_parser("policy", help="write, check and show the limits"))
    return parser


def _port(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError("a port is 1 to 65535")
    return int(text)


def _add_key(options: argparse.Namespace) -> int:
    key = add_key(options.file, options.tenant)
    print(key)
    _CONSOLE.print(f"This is shown only once. Its hash is in {options.file}, for tenant {options.tenant}.")
    return 0


def _serve(options: argparse.Namespace) -> int:
    policy = load(options.policy) if options.policy else Policy()
    if options.keys:
        identity = dataclasses.replace(policy.identity, keys=str(options.keys))
        policy = dataclasses.replace(policy, identity=identity)
    models = [resolve(argument) for argument in options.model] or demo_models()
    names = ", ".join(model.name for model in models)
    chosen = Options(policy, models, options.host, options.port)
    with _CONSOLE.status(f"loading {names} and starting workers ...") as status:

        def announce(running: Running) -> None:
            status.stop()
            _welcome(running)

        asyncio.run(serve_until_signal(chosen, [announce]))
    _CONSOLE.print("stopped: every call settled, every process ended")
    return 0


def _welcome(running: Running) -> None:
    for spec in running.pool.models.values():
        _CONSOLE.print(
            f"[bold]{spec.name}[/]: {spec.architecture}, {spec.parameters / 1e6:.1f} M parameters, "
            f"{format_bytes(spec.weight_bytes)}, up to {spec.max_tokens} tokens"
        )
    _CONSOLE.print(f"cage: {running.pool.tier}", soft_wrap=True)
    _CONSOLE.print(f"listening on [bold]{running.url}[/]   metrics {running.url}/metrics   stop with Ctrl-C")
    name = next(iter(running.pool.models))
    body = f'{{"model": "{name}", "input": "The quick brown fox"}}'
    print(f"\ncurl {running.url}/v1/embeddings -H 'Content-Type: application/json' -d '{body}'\n", flush=True)


if __name__ == "__main__":
    sys.exit(main())
