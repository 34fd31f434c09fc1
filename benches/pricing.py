"""Pricing: how near prices come to what calls cost, how many calls cost more than was reserved, and whether any is killed.

The demo model is calibrated as at its first start; then fresh samples of 2,000 calls run in the real cage, each under the
grant that its price gives, two at a time. The first is made like the calibration's own calls, with another seed: what the
method promises. A calibration is a sample too, and the machine is another one a minute later: all that is done several times,
or one run's luck would be the result. The last sample are excerpts found on this machine that nobody made for it: what a
calibration is worth.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import itertools
import math
import random
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec

from benches.found_texts import Corpus
from benches.report import Report
from wickguard import calibrate
from wickguard.backend import EmbedResult, Job, ModelSpec
from wickguard.calibrate import Prices, find_prices
from wickguard.control.drift import Drift, Watched, residual
from wickguard.cost.calibration import CalibrationSettings, plan
from wickguard.cost.text_sweep import payload_of, sweep_of
from wickguard.deadline import Deadline
from wickguard.guard.embedding import token_bound
from wickguard.guard.price import Pricer
from wickguard.modality.text import USUAL, Inputs, measure, synthesize_ids
from wickguard.models import demo_models
from wickguard.policy.schema import Policy
from wickguard.records import Call, Caller, Cost, Lane, OutcomeKind, Pool, Quote
from wickguard.workers.pool import Pool as WorkerPool
from wickguard.workers.settings import ZygoteSpec

SAMPLE = 2000
NOBODY = Caller("nobody", Pool.ANONYMOUS, "")
MOST_BYTES = 12_000


@dataclass(frozen=True, slots=True)
class Seen:
    """One call: where it came from, its price, what it cost and whether it was killed."""

    source: str
    quote: Quote
    usage: Cost
    kind: OutcomeKind
    tokens: int

    @property
    def error(self) -> float:
        """ln(actual / expected)."""
        return math.log(max(1e-6, self.usage.cpu_s) / self.quote.expected.cpu_s)


class Bench:
    """One pool, one calibration."""

    def __init__(self, pool: WorkerPool, policy: Policy, prices: Prices, spec: ModelSpec) -> None:
        self._pool = pool
        self._policy = policy
        self._spec = spec
        self._bound = token_bound(spec, prices.weights.get(spec.name, USUAL))
        self._pricer = Pricer(prices.priced, policy.price)

    def price(self, inputs: Inputs) -> Quote:
        """What the guard would quote."""
        features = measure(inputs, self._bound)
        found = self._pricer.price(Call("", "", NOBODY, self._spec.name, b"", features, Deadline(0.0)))
        assert isinstance(found, Quote)
        return found

    async def run(self, calls: Iterator[tuple[str, Inputs, bytes]]) -> list[Seen]:
        """Every call under its grant, two at a time."""
        seen: list[Seen] = []
        numbers = itertools.count()

        async def keep_busy() -> None:
            for source, inputs, payload in calls:
                quote = self.price(inputs)
                job = Job(f"call-{next(numbers)}", self._spec.name, payload, quote.ceiling, quote.lane)
                outcome = await self._pool.execute(job)
                tokens = 0
                if outcome.result is not None:
                    tokens = sum(msgspec.msgpack.decode(outcome.result, type=EmbedResult).tokens)
                seen.append(Seen(source, quote, outcome.usage, outcome.kind, tokens))

        await asyncio.gather(*(keep_busy() for _ in range(self._policy.workers.calls(Lane.SHORT))))
        return seen


def made(spec: ModelSpec, policy: Policy, speed: float) -> Iterator[tuple[str, Inputs, bytes]]:
    """Calls as the calibration makes them, with another seed, without its fixed one and its odd ones."""
    settings = CalibrationSettings(seed=policy.calibration.seed + 1)
    points = plan(sweep_of(spec, policy.text, speed, settings), settings)
    usual = (point for point in points if not point.anchor and point.weight > 0)
    for point in itertools.islice(usual, SAMPLE):
        yield ("texts" if isinstance(point.subject[0], str) else "ids"), point.subject, point.payload


def found(corpus: Corpus, spec: ModelSpec) -> Iterator[tuple[str, Inputs, bytes]]:
    """Calls of found texts: six of ten single, the others batches of 2 to 32 from one source; one in twelve is token ids."""
    order = random.Random(11)
    for number in range(SAMPLE):
        count = 1 if order.random() < 0.6 else round(math.exp(order.uniform(math.log(2), math.log(32))))
        if order.random() < 1 / 12:
            lengths = [round(math.exp(order.uniform(0, math.log(500)))) for _ in range(min(count, 8))]
            ids = synthesize_ids(lengths, spec.vocab, number)
            yield "ids", ids, payload_of(ids, order)
            continue
        source = corpus.draw(order)
        texts = [corpus.excerpt(source, order, max(60, min(2000, MOST_BYTES // count))) for _ in range(count)]
        yield source, texts, payload_of(texts, order)


def quality(report: Report, title: str, seen: Sequence[Seen]) -> None:
    """The table of one sample, by source and in all."""
    rows = []
    by_source: dict[str, list[Seen]] = {}
    for one in seen:
        by_source.setdefault(one.source.partition(",")[0], []).append(one)
    for name, some in [("all", list(seen)), *sorted(by_source.items())]:
        errors = sorted(one.error for one in some)
        covered = sum(one.usage.cpu_s <= one.quote.reserve.cpu_s for one in some) / len(some)
        killed = sum(one.kind is not OutcomeKind.COMPLETED for one in some)
        ratio = sorted(one.usage.cpu_s / one.quote.ceiling.cpu_s for one in some)[-1]
        rows.append(
            (
                name, f"{len(some):,}", f"{statistics.median(abs(error) for error in errors):.3f}",
                f"{statistics.median(errors):+.3f}", f"{covered:.1%}", f"{ratio:.2f}", str(killed),
            )
        )  # fmt: skip
    columns = (
        "calls",
        "number",
        "median |ln error|",
        "median ln error",
        "within reservation",
        "most of a grant",
        "killed",
    )
    report.table(title, columns, rows)
    reserved = sum(one.quote.reserve.cpu_s for one in seen) / sum(one.usage.cpu_s for one in seen)
    report.note(
        f"{sum(one.usage.cpu_s for one in seen):.0f} CPU-seconds in all; reserved was {reserved:.2f} times what was used; "
        f"expected {sum(one.quote.expected.cpu_s for one in seen) / sum(one.usage.cpu_s for one in seen):.2f} times. "
        f"Drift alarms: {alarms(seen, 1.0)} as it was, {alarms(seen, 1.35)} had every call cost 35 % more."
    )


def alarms(seen: Sequence[Seen], factor: float) -> int:
    """How often the drift detector of the model would have raised an alarm, had every call cost `factor` times as much."""
    drift, count = Drift(), 0
    for one in seen:
        z = residual(max(1e-6, one.usage.cpu_s) * factor, one.quote.expected.cpu_s, one.quote.spread)
        if drift.observe(Watched.MODEL, "m", one.quote.feature_class, z):
            count += 1
            drift.reset(Watched.MODEL, "m", one.quote.feature_class)
    return count


def speed_of_prices(report: Report, bench: Bench, corpus: Corpus) -> None:
    """The table of what a price itself costs."""
    order, rows = random.Random(3), []
    cases: list[tuple[str, Inputs]] = [
        ("one text of 60 bytes", ["The quick brown fox jumps over the lazy dog, and then again."]),
        ("one text of 2,000 bytes", [corpus.excerpt("language reference", order, 2001)[:2000].ljust(2000, "e")]),
        ("64 texts of 2,000 bytes", ["a word or two " * 143] * 64),
        ("one text of 64 KiB", ["a word or two " * 4681]),
        ("64 lists of 510 ids", [[1000] * 510] * 64),
    ]
    for name, inputs in cases:
        times = []
        for _ in range(2000 if len(inputs) == 1 else 200):
            begin = time.perf_counter_ns()
            bench.price(inputs)
            times.append((time.perf_counter_ns() - begin) / 1e3)
        times.sort()
        rows.append((name, f"{statistics.median(times):.0f} us", f"{times[int(0.99 * len(times))]:.0f} us"))
    report.table("What a price costs: features measured and priced", ("call", "median", "p99"), rows)


async def calibrated(report: Report, pool: WorkerPool, policy: Policy, number: int) -> tuple[Bench, list[Seen]]:
    """Calibrate anew, and run a fresh sample of the calibration's own kind."""
    source = demo_models()[0]
    begin, spent = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        calibration = dataclasses.replace(
            policy.calibration, cost_dir=folder, seed=policy.calibration.seed + 2 * number
        )
        policy = dataclasses.replace(policy, calibration=calibration)
        prices = await find_prices(pool, [source], policy)
    took, cpu = time.perf_counter() - begin, time.process_time() - spent
    spec = pool.models[source.name]
    report.note(
        f"Calibrated in {took:.0f} s ({cpu:.1f} CPU-seconds of the front): {prices.notes[0].partition(';')[0]}."
    )
    bench = Bench(pool, policy, prices, spec)
    speed = await calibrate.measure_speed(pool, spec)
    return bench, await bench.run(made(spec, policy, speed))


async def measure_all(report: Report, seconds: float, times: int) -> None:
    """Calibrate and run fresh samples, some times; then excerpts."""
    source, corpus = demo_models()[0], Corpus()
    policy = Policy(calibration=CalibrationSettings(seconds=seconds))
    pool = WorkerPool([ZygoteSpec(name=source.name, path=str(source.path))], policy.workers)
    await pool.start()
    try:
        fresh, by_calibration = list[Seen](), list[Seen]()
        for number in range(times):
            bench, seen = await calibrated(report, pool, policy, number)
            fresh += seen
            by_calibration += [dataclasses.replace(one, source=f"calibration {number + 1}") for one in seen]
        goals = "(goals: 95 +- 1 %, 0.10, none killed)"
        quality(report, f"Fresh calls of the calibrations' own kind {goals}", by_calibration)
        quality(report, "The same calls by what they hold", fresh)
        excerpts = await bench.run(found(corpus, pool.models[source.name]))
        quality(report, "Excerpts found on this machine, by the last of the calibrations (same goals)", excerpts)
        if corpus.missing:
            report.note(f"Not on this machine: {', '.join(corpus.missing)}.")
        speed_of_prices(report, bench, corpus)
    finally:
        await pool.close()


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write benches/results/pricing.md")
    parser.add_argument("--seconds", type=float, default=CalibrationSettings().seconds, help="for the calibration")
    parser.add_argument("--times", type=int, default=3, help="calibrations, each with a sample of its own")
    options = parser.parse_args()
    report = Report("pricing", "How near prices come to costs")
    asyncio.run(measure_all(report, options.seconds, options.times))
    if options.write:
        report.write()


if __name__ == "__main__":
    main()
