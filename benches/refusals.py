"""Refusals per second of one core: what saying no costs the server, in CPU-seconds of its processes.

Four clients ask for what is refused, over keep-alive connections, closed loop; the server's CPU time is read from /proc, so
the clients' own cost does not matter. Nor does the machine's mood: the least that an ASGI application can do on the same
HTTP server is measured in the same run, and costs are given as multiples of it; also in the server's own protocol (RSGI), which
is what a change of protocol could gain at most. Header phase: a caller that has used up its quota, and an unknown key; nothing
of the body is read. Body phase: a batch with too many inputs, refused after the body was read and counted; and a body that is
not JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor

from benches.client import Blocking
from benches.goodput import GOOD
from benches.load import request_bytes
from benches.report import Report
from benches.server import await_port, bench_server, free_port, tree_cpu_s

# A quota that is soon used up and comes back slowly; and refusals that cost nothing, or they would use up the quota.
SPENT = "spent"
SHALLOW = "max_cpu_s = 0.5\n[quota]\nburst_s = 1.0\n[tenants.spent]\nrate = 0.0001\n"
FREE = "[quota]\nrefusal_s = 0.0\n"
DEAR = {"model": "all-MiniLM-L6-v2", "input": ["some words " * 200] * 2, "encoding_format": "base64"}
LEFT_MS = 400
CLIENTS = 4
REQUESTS = 2000
ROUNDS = 5
# Workers that the calls before have used up are replaced meanwhile.
PAUSE_S = 2.0


def ask_many(port: int, request: bytes, expected: int) -> int:
    """Send `request` again and again; returns how many were answered as expected."""
    client = Blocking(port)
    answered = sum(client.ask(request) == expected for _ in range(REQUESTS))
    client.close()
    return answered


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write benches/results/refusals.md")
    options = parser.parse_args()
    report = Report("refusals", "Refusals per second of one core")
    with ProcessPoolExecutor(CLIENTS) as pool:
        bare, other = bare_costs(pool, "asgi"), bare_costs(pool, "rsgi")
        rows = [row(f"bare application, {phase} phase (401)", cost, cost) for phase, cost in bare.items()]
        rows += [row(f"the same by RSGI, {phase} phase (401)", cost, bare[phase]) for phase, cost in other.items()]
        with tempfile.TemporaryDirectory() as costs:
            analytic = f'[calibration]\ncost_dir = "{costs}"\n[price]\ncalibrate = false\n'
            with bench_server((SPENT,), analytic + SHALLOW) as server:
                use_up(server.port, server.keys[SPENT])
                # No body comes with this head: that it is answered at once shows that none was waited for.
                spent = (request_bytes("/v1/embeddings", b"", server.keys[SPENT]), 429)
                cost = cost_s(pool, server.port, server.process.pid, spent)
                rows.append(row("header phase: quota used up (429)", cost, bare["header"]))
            with bench_server(GOOD, analytic + FREE) as server:
                for name, request, status in cases(server.keys[GOOD[0]]):
                    cost = cost_s(pool, server.port, server.process.pid, (request, status))
                    rows.append(row(name, cost, bare[name.split()[0]]))
    report.table(
        f"{CLIENTS} clients x {REQUESTS} requests, median of {ROUNDS} rounds",
        ("case", "CPU per refusal", "refusals/s of one core", "of a bare application"),
        rows,
    )
    if options.write:
        report.write()


def row(name: str, cost: float, bare: float) -> tuple[str, ...]:
    """One line of the table; costs in seconds."""
    return (name, f"{cost * 1e6:.0f} us", f"{1 / cost:,.0f}", f"{cost / bare:.1f}x")


def use_up(port: int, key: str) -> None:
    """Make calls until the next is refused on its head: it announces a body and sends none."""
    client, dear = Blocking(port), request_bytes("/v1/embeddings", json.dumps(DEAR).encode(), key)
    while client.ask(dear) == 200:
        pass
    # What is left is used up by refusals, which cost a millisecond each.
    while any(client.ask(dear) == 200 for _ in range(LEFT_MS)):
        pass
    client.close()
    time.sleep(PAUSE_S)


def cases(key: str) -> list[tuple[str, bytes, int]]:
    """Name, request, and the status that refuses it."""
    many = json.dumps({"model": "all-MiniLM-L6-v2", "input": ["a"] * 65}).encode()
    large = json.dumps({"model": "all-MiniLM-L6-v2", "input": ["some words " * 900] * 65}).encode()
    return [
        ("header phase: unknown key, no body (401)", request_bytes("/v1/embeddings", b"", "wg-unknown"), 401),
        ("header phase: unknown route (404)", request_bytes("/v1/none", b"", key), 404),
        ("body phase: 65 inputs, 0.4 KB (413)", request_bytes("/v1/embeddings", many, key), 413),
        ("body phase: 65 inputs, 640 KB (413)", request_bytes("/v1/embeddings", large, key), 413),
        ("body phase: not JSON (400)", request_bytes("/v1/embeddings", b"{" * 400, key), 400),
    ]


def cost_s(pool: ProcessPoolExecutor, port: int, pid: int, case: tuple[bytes, int]) -> float:
    """CPU-seconds of the process tree `pid` per refused request, the median of some rounds."""
    return statistics.median(_cost_s(pool, port, pid, case) for _ in range(ROUNDS))


def _cost_s(pool: ProcessPoolExecutor, port: int, pid: int, case: tuple[bytes, int]) -> float:
    before = tree_cpu_s(pid)
    futures = [pool.submit(ask_many, port, *case) for _ in range(CLIENTS)]
    answered = sum(future.result() for future in futures)
    assert answered == CLIENTS * REQUESTS, f"{answered} answered with {case[1]}"
    return (tree_cpu_s(pid) - before) / answered


def bare_costs(pool: ProcessPoolExecutor, interface: str) -> dict[str, float]:
    """CPU-seconds per answer of the least that an application can do, without and with a body."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "benches.bare", str(port), interface])
    try:
        await_port(port)
        return {
            "header": cost_s(pool, port, process.pid, (request_bytes("/", b"", None), 401)),
            "body": cost_s(pool, port, process.pid, (request_bytes("/body", b"{" * 400, None), 401)),
        }
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    main()
