"""The experiment of the README: what is left of two good tenants while eight clients attack.

all-MiniLM-L6-v2. Two tenants, by key, send short sentences, ten a second together, open loop with Poisson arrivals; good means
answered with 200 within one second. From second 12 to 24, eight clients send again when answered, at most ten times a second:
`batch` posts 16 texts of 5,000 words each (the server is told to truncate, so that nothing can be refused for its length),
`max` posts 8 texts at the model's own limit. The attackers hold valid keys, one tenant each. Prints good before, during and
after (12 s each), good in the first second after, and p50/p99 of latency.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
from concurrent.futures import ProcessPoolExecutor

from benches.load import AttackTally, Sample, attacker, good_tenant, request_bytes, told
from benches.report import Report
from benches.server import bench_server

PHASE_S = 12.0
POLICY = "[text]\ntruncate = true\n"
GOOD = ("alice", "bob")
ATTACKERS = tuple(f"mallory{number}" for number in range(8))
SENTENCES = [
    "The old clock on the wall struck nine before anyone spoke.",
    "How do I reset the password of my account?",
    "Rain is expected in the north until Thursday evening.",
    "She sold her bicycle and bought a small wooden boat.",
    "Where can I find the nearest train station with parking?",
    "The committee postponed its decision until the next meeting.",
    "Fresh bread and coffee are served from six in the morning.",
    "A short note on keeping tomatoes alive through the winter.",
]
WORD_CYCLE = (
    "river stone market window silver garden morning paper winter candle bridge forest doctor music kitchen number "
)


def embeddings(texts: str | list[str], key: str) -> bytes:
    """A prepared POST /v1/embeddings."""
    body = json.dumps({"model": "all-MiniLM-L6-v2", "input": texts, "encoding_format": "base64"}).encode()
    return request_bytes("/v1/embeddings", body, key)


def attack_texts(kind: str) -> list[str]:
    """The texts of one attacking request."""
    if kind == "batch":
        return [" ".join((WORD_CYCLE * 313).split()[:5000])] * 16
    # 510 words of one token each, and the two special tokens: exactly the model's limit.
    return [" ".join((WORD_CYCLE * 32).split()[:510])] * 8


def run_load(port: int, keys: dict[str, str], kind: str, seed: int) -> tuple[list[Sample], dict[int, int]]:
    """The whole timeline against a running server; runs in a process of its own."""

    async def timeline() -> tuple[list[Sample], dict[int, int]]:
        tally = AttackTally()
        jobs = [
            good_tenant(
                port, name, [embeddings(text, keys[name]) for text in SENTENCES], 5.0, 3 * PHASE_S, seed + index
            )
            for index, name in enumerate(GOOD)
        ]
        attacks = []
        if kind != "none":
            attacks = [
                attacker(port, embeddings(attack_texts(kind), keys[name]), (PHASE_S, 2 * PHASE_S), tally)
                for name in ATTACKERS
            ]
        results = await asyncio.gather(*jobs, *attacks)
        samples = [sample for result in results[: len(jobs)] for sample in result]
        return samples, tally.answers

    return asyncio.run(timeline())


def good_share(samples: list[Sample], start_s: float, end_s: float) -> float:
    """Share of the requests due in [start_s, end_s) that were answered with 200 within one second."""
    due = [sample for sample in samples if start_s <= sample.due_s < end_s]
    return sum(sample.status == 200 and sample.latency_s <= 1.0 for sample in due) / len(due) if due else 1.0


def quantile_ms(samples: list[Sample], start_s: float, end_s: float, share: float) -> float:
    """Quantile of latency, unanswered ones counted at their time-out, in milliseconds."""
    values = sorted(sample.latency_s for sample in samples if start_s <= sample.due_s < end_s)
    return values[min(len(values) - 1, int(share * len(values)))] * 1e3


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write benches/results/goodput.md")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    report = Report("goodput", "Good requests of two tenants while eight clients attack")
    rows = []
    for kind in ("batch", "max"):
        runs = [one_run(kind, seed) for seed in range(options.seeds)]
        rows.append(summarise(kind, runs))
    report.table(
        f"{options.seeds} seeds, 12 s calm, 12 s attack, 12 s after; medians of the runs, worst run in parentheses",
        ("attack", "good, calm", "good, attack", "good, 1 s after", "good, 12 s after", "p50 calm", "p50 attack",
         "p99 calm", "p99 attack", "p99 ratio", "attack answers"),
        rows,
    )  # fmt: skip
    if options.write:
        report.write()


def one_run(kind: str, seed: int) -> tuple[list[Sample], dict[int, int]]:
    """One timeline against a fresh server."""
    with bench_server([*GOOD, *ATTACKERS], POLICY) as server, ProcessPoolExecutor(1) as pool:
        # A first call of each tenant, so that the calm phase does not pay for cold caches.
        pool.submit(run_load_briefly, server.port, server.keys).result()
        return pool.submit(run_load, server.port, server.keys, kind, seed * 100).result()


def run_load_briefly(port: int, keys: dict[str, str]) -> None:
    """A second of good load."""
    asyncio.run(good_tenant(port, GOOD[0], [embeddings(SENTENCES[0], keys[GOOD[0]])], 20.0, 1.0, 7))


def summarise(kind: str, runs: list[tuple[list[Sample], dict[int, int]]]) -> tuple[str, ...]:
    """One row."""
    spans = {"calm": (0, PHASE_S), "attack": (PHASE_S, 2 * PHASE_S), "after": (2 * PHASE_S, 3 * PHASE_S)}
    good = {name: [good_share(samples, *span) for samples, _ in runs] for name, span in spans.items()}
    soon = [good_share(samples, 2 * PHASE_S + 1, 2 * PHASE_S + 2) for samples, _ in runs]
    p50 = {name: [quantile_ms(samples, *span, 0.5) for samples, _ in runs] for name, span in spans.items()}
    p99 = {name: [quantile_ms(samples, *span, 0.99) for samples, _ in runs] for name, span in spans.items()}
    ratios = [attack / calm for attack, calm in zip(p99["attack"], p99["calm"], strict=True)]

    def share(values: list[float]) -> str:
        return f"{statistics.median(values):.1%} ({min(values):.1%})"

    def high(values: list[float], unit: str) -> str:
        return f"{statistics.median(values):.1f}{unit} ({max(values):.1f})"

    return (
        kind, share(good["calm"]), share(good["attack"]), share(soon), share(good["after"]), high(p50["calm"], " ms"),
        high(p50["attack"], " ms"), high(p99["calm"], " ms"), high(p99["attack"], " ms"), high(ratios, "x"),
        told(tally for _, tally in runs),
    )  # fmt: skip


if __name__ == "__main__":
    main()
