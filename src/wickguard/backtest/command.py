"""`wickguard policy backtest`: an audit log against another policy, as a table or as JSON.

Decides what is printed, and what a policy's zeros stand for when it is not in force: what they stood for where the log was
written. Raises ConfigError with file and line for a wrong log or policy. It must not know how requests are replayed.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from wickguard.assembly import Site
from wickguard.backtest.comparison import Row, by_lane, by_size, compare
from wickguard.backtest.recording import Recording, read
from wickguard.backtest.replay import Replay
from wickguard.control.applicant import scalar_price
from wickguard.policy.load import load
from wickguard.policy.schema import Policy
from wickguard.records import Lane, Pool
from wickguard.units import format_seconds

# Tenants in the table; all of them are in the JSON. Addresses may be very many.
_MOST_ROWS = 60


def add_command(commands: Any) -> None:
    """`backtest`, beside the other sub-commands of `wickguard policy`."""
    backtest = commands.add_parser(
        "backtest", help="what this policy would have done with the requests of an audit log"
    )
    backtest.add_argument(
        "log", nargs="+", type=Path, metavar="AUDIT.jsonl", help="with its rotated parts, if you like"
    )
    backtest.add_argument("--policy", type=Path, required=True, metavar="NEW.toml")
    backtest.add_argument(
        "--by-size", action="store_true", help="classes by the size of calls, not only short and long"
    )
    backtest.add_argument("--json", action="store_true", help="for programs")
    backtest.set_defaults(run=run_backtest)


def run_backtest(options: argparse.Namespace) -> int:
    """`policy backtest AUDIT.jsonl ... --policy NEW.toml [--by-size] [--json]`."""
    policy, recording = load(options.policy), read(options.log)
    fates = Replay(policy, site_of(policy, recording)).run(recording.requests)
    rows, everything = compare(fates, by_size if options.by_size else by_lane)
    notes = list(_notes(recording, everything))
    if options.json:
        found = {"rows": [row.as_json() for row in rows], "all": everything.as_json(), "notes": notes}
        print(json.dumps(found, indent=2))
        return 0
    _print(rows, everything)
    console = Console(stderr=True, highlight=False)
    for note in notes:
        console.print(note, soft_wrap=True, markup=False)
    return 0


def site_of(policy: Policy, recording: Recording) -> Site:
    """What `policy` means where the log was written; guessed from this machine and the requests when the log doesn't say."""
    if not recording.policies:
        return _guessed_site(policy, recording)
    found, workers = recording.policies[-1], policy.workers
    # As many long ones as there were, unless the policy says how many slots there are.
    long_slots = workers.long_slots or (0 if workers.slots else found.long_slots)
    workers = msgspec.structs.replace(workers, slots=workers.slots or found.slots, long_slots=long_slots)
    return Site(
        capacity=policy.quota.capacity or found.capacity,
        memory_bytes=policy.server.memory_budget_bytes or found.memory_bytes,
        slots=workers.calls(Lane.SHORT),
        long_slots=workers.calls(Lane.LONG),
        dearest_s=found.dearest_s,
        median_s=found.median_s,
        tenants=found.tenants,
    )


def _guessed_site(policy: Policy, recording: Recording) -> Site:
    memory_bytes = policy.server.memory_bytes()
    quotes = [request.quote for request in recording.requests if request.quote is not None]
    reserves = [scalar_price(quote.reserve, policy.capacity, memory_bytes) for quote in quotes] or [
        policy.price.max_cpu_s
    ]
    return Site(
        capacity=policy.capacity,
        memory_bytes=memory_bytes,
        slots=policy.workers.calls(Lane.SHORT),
        long_slots=policy.workers.calls(Lane.LONG),
        dearest_s=max(reserves),
        median_s=statistics.median(reserves),
        tenants=len({request.caller.tenant for request in recording.requests if request.caller.pool is Pool.KEYED}),
    )


def _notes(recording: Recording, everything: Row) -> Iterator[str]:
    requests = recording.requests
    fixed = Counter(request.happened.reason for request in requests if request.quote is None)
    if requests:
        span = requests[-1].at - requests[0].at
        yield f"{len(requests)} requests in {span:.0f} s; a refused caller's later requests are replayed as they were made."
    if fixed:
        reasons = ", ".join(f"{count} {reason}" for reason, count in fixed.most_common())
        yield f"Refused before they had a price, and so again: {reasons}."
    if everything.guessed:
        yield f"Refused on their heads, and replayed as typical requests of their tenants: {everything.guessed}."
    if not recording.policies:
        yield "The log does not say which machine it is from: capacity and memory are this one's."
    if recording.dropped:
        yield f"Lines that the log lost: {recording.dropped}."
    if recording.unpriced:
        yield f"Calls left out, because an older version did not record their prices: {recording.unpriced}."


def _print(rows: Sequence[Row], everything: Row) -> None:
    table = Table(box=None, header_style="bold")
    for name, justify in (
        ("tenant", "left"),
        ("class", "left"),
        ("requests", "right"),
        ("admitted", "right"),
        ("refused", "left"),
        ("waited p95", "right"),
        ("spent s", "right"),
    ):
        table.add_column(name, justify=justify, overflow="fold")  # type: ignore[arg-type]
    # Those with the most requests, in the order of their names.
    most = sorted(rows, key=lambda row: -_requests(row))[:_MOST_ROWS]
    for row in [row for row in rows if row in most]:
        table.add_row(*_cells(row))
    if len(rows) > len(most):
        table.add_row(Text(f"... and {len(rows) - len(most)} more; see --json"))
    table.add_section()
    table.add_row(*_cells(everything), style="bold")
    Console(highlight=False).print(table)


def _requests(row: Row) -> int:
    return row.was.admitted + row.was.refused.total()


def _cells(row: Row) -> tuple[Text, ...]:
    was, would = row.was, row.would
    reasons = sorted({*was.refused, *would.refused})
    refused = "\n".join(
        f"{reason} {_change(str(was.refused[reason]), str(would.refused[reason]))}" for reason in reasons
    )
    return (
        Text(row.tenant),
        Text(row.kind),
        Text(str(_requests(row))),
        Text(_change(str(was.admitted), str(would.admitted))),
        Text(refused),
        Text(_change(format_seconds(was.waited_s), format_seconds(would.waited_s))),
        Text(_change(f"{was.spent_s:.2f}", f"{would.spent_s:.2f}")),
    )


def _change(was: str, would: str) -> str:
    return was if was == would else f"{was} -> {would}"
