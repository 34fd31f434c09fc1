"""The ablation: every policy against every attack, some seeds each, and the tables.

python -m benches.simulator [--seeds 5] [--policy P8] [--attack noisy] [--write]
"""

from __future__ import annotations

import argparse
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from random import Random

from benches.report import Report
from benches.simulator.attacks import ATTACKS, Attack, Span
from benches.simulator.measure import Measure, mean, measure
from benches.simulator.policies import POLICIES, Row
from benches.simulator.workload import KINDS, good_requests
from benches.simulator.world import World

CALM_S, ATTACK_S, AFTER_S = 20.0, 100.0, 10.0
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


def runs(row: Row, attacks: Iterable[Attack], seeds: Iterable[int], variation: float = 1.0) -> Results:
    """All runs of a policy, by attack."""
    return {attack.name: [run(row, attack, seed, variation) for seed in seeds] for attack in attacks}


def percent(found: Sequence[Measure], measured: Measured, digits: int = 0) -> str:
    """The mean over seeds as a percentage."""
    return f"{100 * mean(map(measured, found)):.{digits}f}"


def _of_class(name: str) -> Measured:
    return lambda one: one.classes[name]


def goodput_table(report: Report, results: dict[str, Results], attacks: Sequence[Attack]) -> None:
    """The table of overload.md section 0."""
    lines = []
    for attack in attacks:
        cells = [percent(by_attack[attack.name], lambda one: one.goodput) for by_attack in results.values()]
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
    results = {row.name: runs(row, attacks, seeds) for row in rows}
    goodput_table(report, results, attacks)
    last = rows[-1]
    class_table(report, f"{last.name} by class, and what else is measured", results[last.name])
    reasons_table(report, f"{last.name}: why good calls were not answered in time", results[last.name])
    bursty = runs(last, attacks, seeds, BURSTY)
    class_table(report, f"{last.name} when good tenants are bursty (gaps with a coefficient of variation of 5)", bursty)
    reasons_table(report, f"{last.name}, bursty: why good calls were not answered in time", bursty)
    if options.write:
        report.write()
