"""Refusals per second of one core: what saying no costs the server, in CPU-seconds of its processes.

Four clients ask for what is refused, over keep-alive connections, closed loop; the server's CPU time is read from /proc, so
the clients' own cost does not matter. Header phase: an unknown key, nothing of the body is read. Body phase: a batch with too
many inputs, refused after the body was read and counted; and a body that is not JSON.
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ProcessPoolExecutor

from benches.client import Blocking
from benches.goodput import GOOD
from benches.load import request_bytes
from benches.report import Report
from benches.server import bench_server

CLIENTS = 4
REQUESTS = 5000


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
    rows = []
    with bench_server(GOOD) as server, ProcessPoolExecutor(CLIENTS) as pool:
        key = server.keys[GOOD[0]]
        many = json.dumps({"model": "all-MiniLM-L6-v2", "input": ["a"] * 65}).encode()
        large = json.dumps({"model": "all-MiniLM-L6-v2", "input": ["some words " * 900] * 65}).encode()
        cases = (
            ("header phase: unknown key, no body (401)", request_bytes("/v1/embeddings", b"", "wg-unknown"), 401),
            ("header phase: unknown route (404)", request_bytes("/v1/none", b"", key), 404),
            ("body phase: 65 inputs, 0.4 KB (413)", request_bytes("/v1/embeddings", many, key), 413),
            ("body phase: 65 inputs, 640 KB (413)", request_bytes("/v1/embeddings", large, key), 413),
            ("body phase: not JSON (400)", request_bytes("/v1/embeddings", b"{" * 400, key), 400),
        )
        for name, request, status in cases:
            before = server.cpu_s()
            futures = [pool.submit(ask_many, server.port, request, status) for _ in range(CLIENTS)]
            answered = sum(future.result() for future in futures)
            used = server.cpu_s() - before
            assert answered == CLIENTS * REQUESTS, f"{name}: {answered} answered with {status}"
            rows.append((name, f"{used / answered * 1e6:.0f} us", f"{answered / used:,.0f}"))
    report.table(
        f"{CLIENTS} clients x {REQUESTS} requests", ("case", "CPU per refusal", "refusals/s of one core"), rows
    )
    if options.write:
        report.write()


if __name__ == "__main__":
    main()
