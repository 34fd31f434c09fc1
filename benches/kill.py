"""From over-grant to stopped, and to the next worker ready: 200 kills each, with MiniLM and with a synthetic 4 GB model.

Three kinds of kill on a real pool: a call that spends its CPU grant (ITIMER_PROF), one that outlives its wall grant
(ITIMER_REAL), and kill -9 from outside. Over-grant is what was used beyond the grant until the pool had the reaped process's
outcome. Next ready is from the news of the death to the hello of the replacement (fork, confinement, hello); the spare that
takes the next call meanwhile needs none of it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import shutil
import signal
import statistics
import struct
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from benches.report import Report
from wickguard.backend import EmbedPayload, Job
from wickguard.models import demo_models
from wickguard.records import Cost, Lane, Outcome, OutcomeKind
from wickguard.units import GIB, MIB
from wickguard.workers.events import WorkerBorn, WorkerDied, WorkerEvent
from wickguard.workers.pool import Pool
from wickguard.workers.settings import WorkerSettings, ZygoteSpec

KILLS = 200
GRANT_S = 0.05
BIG_LAYERS, BIG_HIDDEN, BIG_INTERMEDIATE, BIG_HEADS = 20, 2048, 8192, 32


class Watched:
    """A pool with one slot and one spare, and the time of each of its events (perf_counter seconds)."""

    def __init__(self, path: Path) -> None:
        self.events: list[tuple[float, WorkerEvent]] = []
        settings = WorkerSettings(slots=1, long_slots=1, spares=1, start_timeout_s=600)
        self.pool = Pool([ZygoteSpec("m", str(path))], settings, self._on_event)
        self._calls = 0
        self._news = asyncio.Event()

    def _on_event(self, event: WorkerEvent) -> None:
        self.events.append((time.perf_counter(), event))
        self._news.set()

    async def call(self, limits: Cost) -> Outcome:
        """A call that would take seconds."""
        self._calls += 1
        payload = msgspec.msgpack.encode(EmbedPayload(["word " * 400] * 64, True, True, "base64"))
        return await self.pool.execute(Job(str(self._calls), "m", payload, limits, Lane.SHORT))

    async def full(self) -> None:
        """Wait until all four workers are idle."""
        while sum(n for (_, _, state), n in self.pool.snapshot().workers.items() if state == "idle") < 4:
            await self.news()

    async def news(self) -> None:
        """Wait for the next event."""
        self._news.clear()
        await self._news.wait()

    def replacements(self) -> tuple[list[float], list[float]]:
        """Seconds from each death to the hello of its replacement, and the part of it from first news to hello."""
        waits, births = [], []
        deaths = [at for at, event in self.events if isinstance(event, WorkerDied)]
        born = [(at, event) for at, event in self.events if isinstance(event, WorkerBorn)][4:]
        for died_at, (born_at, event) in zip(deaths, born, strict=True):
            waits.append(born_at - died_at)
            births.append(event.birth_s)
        return waits, births


@asynccontextmanager
async def watched(path: Path) -> AsyncIterator[Watched]:
    """A started pool."""
    bench = Watched(path)
    await bench.pool.start()
    try:
        yield bench
    finally:
        await bench.pool.close()


async def expire(path: Path, limits: Cost, kind: OutcomeKind) -> tuple[list[float], list[float], list[float]]:
    """KILLS calls that exceed `limits`: over-grant, death to next ready, birth; seconds."""
    over = []
    async with watched(path) as bench:
        for _ in range(KILLS):
            outcome = await bench.call(limits)
            assert outcome.kind is kind, outcome
            used = outcome.usage.cpu_s if kind is OutcomeKind.EXPIRED_CPU else outcome.usage.wall_s
            over.append(used - GRANT_S)
            await bench.full()
        return over, *bench.replacements()


async def murder(path: Path) -> tuple[list[float], list[float], list[float]]:
    """KILLS times kill -9 of an idle worker: kill to reaped and told, death to next ready, birth; seconds."""
    reaped = []
    async with watched(path) as bench:
        for _ in range(KILLS):
            victim = next(event.pid for _, event in reversed(bench.events) if isinstance(event, WorkerBorn))
            known = len(bench.events)
            start = time.perf_counter()
            os.kill(victim, signal.SIGKILL)
            while not any(isinstance(event, WorkerDied) for _, event in bench.events[known:]):
                await bench.news()
            died_at = next(at for at, event in bench.events[known:] if isinstance(event, WorkerDied))
            reaped.append(died_at - start)
            await bench.full()
        return reaped, *bench.replacements()


def big_model(directory: Path, like: Path) -> int:
    """A BERT of 4 GB with real (pseudo-random) bytes, the tokenizer of `like`. Returns the bytes of its weights."""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(like / name, directory / name)
    config = json.loads((like / "config.json").read_text())
    sizes = {config["hidden_size"]: BIG_HIDDEN, config["intermediate_size"]: BIG_INTERMEDIATE}
    with (like / "model.safetensors").open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        small = json.loads(file.read(length))
    shapes: dict[str, list[int]] = {}
    for name, tensor in small.items():
        if name == "__metadata__" or tensor["dtype"] != "F32":
            continue
        shape = [sizes.get(size, size) for size in tensor["shape"]]
        for layer in range(BIG_LAYERS if "layer.0." in name else 0):
            shapes[name.replace("layer.0.", f"layer.{layer}.")] = shape
        if ".layer." not in name:
            shapes[name] = shape
    config |= {
        "hidden_size": BIG_HIDDEN,
        "intermediate_size": BIG_INTERMEDIATE,
        "num_hidden_layers": BIG_LAYERS,
        "num_attention_heads": BIG_HEADS,
    }
    (directory / "config.json").write_text(json.dumps(config))
    return write_safetensors(directory / "model.safetensors", shapes)


def write_safetensors(path: Path, shapes: dict[str, list[int]]) -> int:
    """Small float32 values, the same 16 MiB again and again. Returns the bytes of data."""
    header, at = {}, 0
    for name, shape in shapes.items():
        size = 4 * math.prod(shape)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    block = struct.pack("<4096f", *((number * 2654435761 % 4096 - 2048) / 2e5 for number in range(4096))) * 1024
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for start in range(0, at, len(block)):
            file.write(block[: min(len(block), at - start)])
    return at


def milliseconds(values: Sequence[float]) -> str:
    """Median and 99th percentile."""
    ordered = sorted(values)
    p99 = ordered[min(len(ordered) - 1, math.ceil(0.99 * len(ordered)) - 1)]
    return f"{1e3 * statistics.median(ordered):.1f} / {1e3 * p99:.1f}"


def rows(path: Path) -> list[tuple[str, str, str, str]]:
    """The three kinds of kill on one model."""
    cpu = asyncio.run(expire(path, Cost(GRANT_S, 60.0, 2 * GIB), OutcomeKind.EXPIRED_CPU))
    wall = asyncio.run(expire(path, Cost(60.0, GRANT_S, 2 * GIB), OutcomeKind.EXPIRED_WALL))
    killed = asyncio.run(murder(path))
    names = (
        "CPU grant spent (CPU beyond it)",
        "wall grant spent (time beyond it)",
        "kill -9 while idle (kill to reaped)",
    )
    return [
        (name, *(milliseconds(part) for part in parts)) for name, parts in zip(names, (cpu, wall, killed), strict=True)
    ]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write benches/results/kill.md")
    options = parser.parse_args()
    report = Report("kill", "From over-grant to stopped, and to the next worker")
    columns = (
        f"{KILLS} kills, grant {GRANT_S * 1e3:.0f} ms",
        "over-grant to stopped",
        "to next worker ready",
        "of it: birth",
    )
    minilm = demo_models()[0].path
    report.note(
        "All times in milliseconds, median / 99th percentile. To reach: stopped <= 30, next worker ready <= 10."
    )
    report.note(
        f"Load average of the minute before: {os.getloadavg()[0]:.1f} (other work on the machine is in the tails)."
    )
    report.table("MiniLM", columns, rows(Path(minilm)))
    with tempfile.TemporaryDirectory(prefix="wickguard-kill-") as directory:
        size = big_model(Path(directory), Path(minilm))
        report.table(f"Synthetic BERT, {size / MIB:.0f} MiB of weights", columns, rows(Path(directory)))
    if options.write:
        report.write()


if __name__ == "__main__":
    main()
