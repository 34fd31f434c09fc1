"""The ablation: every policy against every attack, some seeds each, and the tables.

python -m benches.simulator [--seeds 5] [--jobs 1] [--policy P8] [--attack noisy] [--write]
"""

from __future__ import annotations

import argparse
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from random import Random

from benches.report import Report
from benches.simulator.attacks import ATTACKS, Attack, Span
from benches.simulator.measure import Measure, mean, measure
from benches.simulator.policies import POLICIES, Row
from benches.simulator.workload import KINDS, good_requests
from benches.simulator.world import World

# Calm for long enough that guests have a record.
CALM_S, ATTACK_S, AFTER_S = 70.0, 60.0, 10.0
# overload.md section 0, policy P8, in the order of attacks.
RESEARCH = (100, 99, 100, 100, 99, 94, 99, 99, 88)
BURSTY = 5.0

Results = dict[str, list[Measure]]
Measured = Callable[[Measure], float]


def run(row: Row, attack: Attack, seed: int, variation: float = 1.0) -> Measure:
    """One run. The good requests depend on the seed only, so that every policy and attack meets the same ones."""
    begin, end = CALM_S, CALM_S + ATTACK_S
    requests = good_requests(Random(seed), end + AFTER_S, variation)
    requests += attack.requests(Span(Random(seed + 1000), begin, end))
    return measure(World(row.build(attack), requests).run(), begin, end)


def run_named(row: str, attack: str, seeds: Sequence[int], variation: float) -> list[Measure]:
    """The runs of one cell, by names, which can be sent to another process."""
    found = next(one for one in POLICIES if one.name == row), next(one for one in ATTACKS if one.name == attack)
    return [run(*found, seed, variation) for seed in seeds]


def runs(
    pool: Executor, rows: Sequence[Row], attacks: Sequence[Attack], seeds: Sequence[int], variation: float = 1.0
) -> dict[str, Results]:
    """All runs, by policy and attack."""
    cells = {
        (row.name, attack.name): pool.submit(run_named, row.name, attack.name, seeds, variation)
        for attack in attacks
        for row in rows
        if row.name not in attack.unless
    }
    return {
        row.name: {
            attack.name: cells[row.name, attack.name].result() for attack in attacks if row.name not in attack.unless
        }
        for row in rows
    }


def percent(found: Sequence[Measure], measured: Measured, digits: int = 0) -> str:
    """The mean over seeds as a percentage."""
    return f"{100 * mean(map(measured, found)):.{digits}f}"


def _of_class(name: str) -> Measured:
    return lambda one: one.classes[name]


def goodput_table(report: Report, results: dict[str, Results], attacks: Sequence[Attack]) -> None:
    """The table of overload.md section 0."""
    lines = []
    for attack in attacks:
        cells = [
            percent(by_attack[attack.name], lambda one: one.goodput) if attack.name in by_attack else "-"
            for by_attack in results.values()
        ]
        last = [100 * one.goodput for one in list(results.values())[-1][attack.name]]
        at = ATTACKS.index(attack)
        spread = f"{statistics.stdev(last):.1f}" if len(last) > 1 else "-"
        lines.append((attack.name, *cells, spread, str(RESEARCH[at]) if at < len(RESEARCH) else "-"))
    columns = ("attack", *results, "sd of the last", "research, P8")
    report.table("Goodput of good tenants in the attack window, % (mean of all seeds)", columns, lines)


def class_table(report: Report, title: str, results: Results) -> None:
    """Goodput by class, and the other measures, of one policy."""
    calm = results.get("none")
    lines = []
    for name, found in results.items():
        slow = mean(one.slowdown for one in found)
        lines.append((
            name, *(percent(found, _of_class(kind.name)) for kind in KINDS),
            percent(found, lambda one: one.worst_tenant), percent(found, lambda one: one.guests),
            f"{mean(one.jain for one in found):.3f}",
            f"{slow:.1f}" + (f" ({slow / mean(one.slowdown for one in calm):.1f} x calm)" if calm else ""),
            percent(found, lambda one: one.attackers), percent(found, lambda one: one.wasted, 1),
            percent(found, lambda one: one.refused, 1), str(sum(one.killed for one in found)),
        ))  # fmt: skip
    columns = (
        "attack", *(f"{kind.name}, %" for kind in KINDS), "worst tenant, %", "guests, %", "Jain", "p99 slowdown",
        "attackers' CPU, %", "wasted CPU, %", "good calls refused, %", "good calls killed",
    )  # fmt: skip
    report.table(title, columns, lines)


def reasons_table(report: Report, title: str, results: Results) -> None:
    """Why good calls were not answered in time."""
    lines = []
    for name, found in results.items():
        total: Counter[str] = Counter()
        for one in found:
            total += one.reasons
        lines.append((name, ", ".join(f"{count} {reason}" for reason, count in total.most_common(4)) or "none"))
    report.table(title, ("attack", "calls, all seeds"), lines)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--policy", default="", help="only policies whose name contains this")
    parser.add_argument("--attack", default="", help="only attacks whose name contains this")
    parser.add_argument("--write", action="store_true", help="write benches/results/ablation.md")
    options = parser.parse_args()
    rows = [row for row in POLICIES if options.policy in row.name]
    attacks = [attack for attack in ATTACKS if options.attack in attack.name]
    seeds = range(1, options.seeds + 1)
    report = Report("ablation", "What each part of admission is for")
    report.note(
        f"Simulated: virtual time, 4 cores, good tenants ask for half of them, {ATTACK_S:.0f} s of attack, {options.seeds} "
        "seeds; P4 to P8 are the server's own gate (benches/simulator says what is switched off in each). "
        + "; ".join(f"{row.name}: {row.title}" for row in rows)
        + "."
    )
    with ProcessPoolExecutor(options.jobs) as pool:
        results = runs(pool, rows, attacks, seeds)
        bursty = runs(pool, rows[-1:], attacks, seeds, BURSTY)
    goodput_table(report, results, attacks)
    last = rows[-1]
    class_table(report, f"{last.name} by class, and what else is measured", results[last.name])
    reasons_table(report, f"{last.name}: why good calls were not answered in time", results[last.name])
    class_table(
        report,
        f"{last.name} when good tenants are bursty (gaps with a coefficient of variation of 5)",
        bursty[last.name],
    )
    reasons_table(report, f"{last.name}, bursty: why good calls were not answered in time", bursty[last.name])
    if options.write:
        report.write()
