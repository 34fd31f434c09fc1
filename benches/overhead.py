"""What the server adds to an in-process call: the same text through HTTP, cage and settlement, and straight into the engine.

Interleaved, one at a time, on an idle server, so that both see the same noise; the difference of medians is what the whole
pipeline costs a caller: HTTP both ways, decode, price, admission, two hops between processes, arming and disarming the
grant, formatting the vector, settlement.
"""

from __future__ import annotations

import argparse
import statistics
import time

import wickguard_engine as engine

from benches.client import Blocking
from benches.goodput import GOOD, SENTENCES, embeddings
from benches.report import Report
from benches.server import bench_server
from wickguard.models import demo_models

TEXTS = {
    "one sentence (12 tokens)": SENTENCES[0],
    "one paragraph (130 tokens)": (SENTENCES[0] + " ") * 10,
}
ROUNDS = 300


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write benches/results/overhead.md")
    options = parser.parse_args()
    report = Report("overhead", "What the server adds to an in-process call")
    model = engine.load(str(demo_models()[0].path))
    rows = []
    with bench_server(GOOD) as server:
        for name, text in TEXTS.items():
            request = embeddings(text, server.keys[GOOD[0]])
            rows.append(compare(name, model, text, Blocking(server.port), request))
    report.table(
        f"{ROUNDS} interleaved calls each",
        ("input", "in process, p50", "server, p50", "added, p50", "added, p90"),
        rows,
    )
    if options.write:
        report.write()


def compare(name: str, model: engine.Embedder, text: str, client: Blocking, request: bytes) -> tuple[str, ...]:
    """One row."""
    inside, outside = [], []
    for number in range(ROUNDS + 20):
        start = time.perf_counter()
        model.embed([text], truncate=True)
        middle = time.perf_counter()
        status = client.ask(request)
        end = time.perf_counter()
        assert status == 200, status
        if number >= 20:
            inside.append((middle - start) * 1e3)
            outside.append((end - middle) * 1e3)
    client.close()
    added = sorted(after - before for before, after in zip(inside, outside, strict=True))
    p50 = statistics.median(inside), statistics.median(outside)
    return (
        name, f"{p50[0]:.2f} ms", f"{p50[1]:.2f} ms", f"{p50[1] - p50[0]:.2f} ms", f"{added[int(0.9 * len(added))]:.2f} ms",
    )  # fmt: skip


if __name__ == "__main__":
    main()
