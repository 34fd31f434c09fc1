"""The command line: arguments -> calls, no logic.

Every error that an operator can cause ends as one line on stderr that says what to do, and exit code 2.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import functools
import logging
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import uvloop
from rich.console import Console
from rich.markup import escape

from wickguard import __version__
from wickguard.backend import ModelSpec, Task
from wickguard.backtest import command as backtest
from wickguard.calibrate import calibrate_alone, summary
from wickguard.errors import WickguardError
from wickguard.guard.identity import add_key
from wickguard.models import ModelSource, demo_models, resolve
from wickguard.policy import command as policy_command
from wickguard.policy.agree import warnings
from wickguard.policy.load import load
from wickguard.policy.schema import Policy
from wickguard.probe import command as probe_command
from wickguard.serve import Options, Running, serve_until_signal
from wickguard.units import format_bytes
from wickguard.wait import Wait

_CONSOLE = Console(stderr=True, highlight=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of the `wickguard` command; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        code: int = options.run(options)
    except WickguardError as error:
        _CONSOLE.print("[bold red]wickguard:[/]", escape(str(error)), soft_wrap=True)
        return 2
    except KeyboardInterrupt:
        return 130
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
    _cost_arguments(serve)
    serve.add_argument("--keys", type=Path, metavar="FILE", help="API keys (made with `wickguard keys add`)")
    serve.set_defaults(run=_serve)
    measure = commands.add_parser("calibrate", help="measure what the calls of a model cost on this machine")
    measure.add_argument("policy", nargs="?", type=Path, metavar="POLICY.toml", help="limits; safe defaults without it")
    measure.add_argument("--model", metavar="PATH_OR_HUB_ID[=NAME]", help="the model; the demo model without it")
    measure.add_argument("--out", type=Path, metavar="FILE", help="the cost file to write, instead of the usual place")
    measure.set_defaults(run=_calibrate)
    keys = commands.add_parser("keys", help="API keys").add_subparsers(required=True, metavar="COMMAND")
    add = keys.add_parser("add", help="make a key, print it once, store its hash")
    add.add_argument("file", type=Path)
    add.add_argument("tenant")
    add.set_defaults(run=_add_key)
    probe = commands.add_parser("probe", help="find out what an endpoint can be made to spend")
    probe_command.add_arguments(probe)
    probe.set_defaults(run=probe_command.run)
    policy = commands.add_parser("policy", help="write, check, show and try out the limits")
    backtest.add_command(policy_command.add_commands(policy))
    return parser


def _cost_arguments(serve: argparse.ArgumentParser) -> None:
    serve.add_argument(
        "--cost-file", action="append", default=[], type=Path, metavar="FILE", help="a calibration; may be repeated"
    )
    serve.add_argument(
        "--no-calibrate",
        action="store_true",
        help="price an uncalibrated model analytically instead of measuring it first",
    )


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
    read = functools.partial(_read_policy, options.policy, options.keys)
    # Whoever has no file to change expects SIGHUP to end the server, as when a terminal is closed.
    reread = read if options.policy or options.keys else None
    policy = read()
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("wickguard").setLevel(logging.INFO)
    models = [resolve(argument) for argument in options.model] or demo_models()
    for text in warnings(policy):
        _CONSOLE.print(f"advice: {text}", soft_wrap=True, markup=False)
    if options.no_calibrate:
        policy = dataclasses.replace(policy, price=dataclasses.replace(policy.price, calibrate=False))
    with Wait(_CONSOLE, f"loading {', '.join(model.name for model in models)} and starting workers") as wait:
        chosen = Options(policy, models, options.host, options.port, reread, options.cost_file, wait.calibrating)

        def announce(running: Running) -> None:
            wait.stop()
            _welcome(running, models)

        uvloop.run(serve_until_signal(chosen, [announce]))
    _CONSOLE.print("stopped: every call settled, every process ended")
    return 0


def _calibrate(options: argparse.Namespace) -> int:
    policy = load(options.policy) if options.policy else Policy()
    source = resolve(options.model) if options.model else demo_models()[0]
    with Wait(_CONSOLE, f"loading {source.name} and starting workers") as wait:
        path, content = asyncio.run(calibrate_alone(source, policy, options.out, wait.calibrating))
    _CONSOLE.print(f"[bold]{source.name}[/]: {summary(content)}", soft_wrap=True)
    print(path)
    return 0


def _read_policy(path: Path | None, keys: Path | None) -> Policy:
    policy = load(path) if path else Policy()
    if keys is None:
        return policy
    return dataclasses.replace(policy, identity=dataclasses.replace(policy.identity, keys=str(keys)))


def _welcome(running: Running, models: Sequence[ModelSource]) -> None:
    for spec in running.pool.models.values():
        _CONSOLE.print(
            f"[bold]{spec.name}[/]: {spec.architecture}, {spec.parameters / 1e6:.1f} M parameters, "
            f"{format_bytes(spec.weight_bytes)}, {_reach(spec)}"
        )
    for note in running.notes:
        _CONSOLE.print(escape(note), soft_wrap=True)
    _CONSOLE.print(f"cage: {running.pool.tier}", soft_wrap=True)
    _CONSOLE.print(f"listening on [bold]{running.url}[/]   metrics {running.url}/metrics   stop with Ctrl-C")
    folders = {model.name: model.path for model in models}
    curls = {spec.task: _curl(running.url, spec, folders[spec.name]) for spec in running.pool.models.values()}
    print("\n" + "\n".join(curls.values()) + "\n", flush=True)


def _reach(spec: ModelSpec) -> str:
    if spec.image is not None:
        return f"{spec.image.width} x {spec.image.height} pixels, {len(spec.image.labels)} classes"
    if spec.series is not None:
        return f"{spec.series.context} points, {spec.series.piece} steps at once"
    return f"up to {spec.max_tokens} tokens"


def _curl(url: str, spec: ModelSpec, folder: Path) -> str:
    match spec.task:
        case Task.CLASSIFY:
            example = folder / "example.png"
            file = shlex.quote(f"@{example}") if example.is_file() else "@YOUR_PICTURE.png"
            return f"curl '{url}/v1/classify?model={spec.name}' -H 'Content-Type: image/png' --data-binary {file}"
        case Task.GENERATE:
            path = "chat/completions"
            body = f'{{"model": "{spec.name}", "messages": [{{"role": "user", "content": "Tell me a story"}}]}}'
        case Task.FORECAST:
            path, body = "forecast", f'{{"model": "{spec.name}", "series": [1, 2, null, 4, 5], "horizon": 8}}'
        case _:
            path, body = "embeddings", f'{{"model": "{spec.name}", "input": "The quick brown fox"}}'
    return f"curl {url}/v1/{path} -H 'Content-Type: application/json' -d '{body}'"


if __name__ == "__main__":
    sys.exit(main())
