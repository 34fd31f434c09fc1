"""The ablation: every policy against every attack, some seeds each, and the tables.

python -m benches.simulator [--seeds 5] [--policy P8] [--attack noisy] [--write]
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from random import Random

from benches.report import Report
from benches.simulator.attacks import ATTACKS, Attack, Span
from benches.simulator.measure import Measure, mean, measure
from benches.simulator.policies import POLICIES, Row
from benches.simulator.workload import KINDS, good_requests
from benches.simulator.world import World

CALM_S, ATTACK_S, AFTER_S = 20.0, 100.0, 10.0
# overload.md section 0, policy P8, by the same names of attacks.
RESEARCH = (100, 99, 100, 100, 99, 94, 99, 99, 88)
BURSTY = 5.0

Results = dict[tuple[str, str], list[Measure]]


def run(row: Row, attack: Attack, seed: int, variation: float = 1.0) -> Measure:
    """One run. The good requests depend on the seed only, so that every policy and attack meets the same ones."""
    begin, end = CALM_S, CALM_S + ATTACK_S
    requests = good_requests(Random(seed), end + AFTER_S, variation)
    requests += attack.requests(Span(Random(seed + 1000), begin, end))
    return measure(World(row.build(attack), requests).run(), begin, end)


def percent(values: Sequence[float]) -> str:
    """The mean as a percentage."""
    return f"{100 * mean(values):.0f}"


def goodput_table(report: Report, results: Results, attacks: Sequence[Attack], rows: Sequence[Row]) -> None:
    """The table of overload.md section 0."""
    lines = []
    for attack in attacks:
        cells = [percent([one.goodput for one in results[row.name, attack.name]]) for row in rows]
        at = ATTACKS.index(attack)
        lines.append((attack.name, *cells, str(RESEARCH[at]) if at < len(RESEARCH) else "-"))
    columns = ("attack", *(f"{row.name} {row.title}" for row in rows), "research, P8")
    report.table("Goodput of good tenants in the attack window, % (mean of all seeds)", columns, lines)


def class_table(report: Report, results: Results, attacks: Sequence[Attack], row: Row) -> None:
    """Goodput by class, and the other measures, of one policy."""
    lines = []
    for attack in attacks:
        found = results[row.name, attack.name]
        lines.append((
            attack.name, *(percent([one.classes[kind.name] for one in found]) for kind in KINDS),
            percent([one.worst_tenant for one in found]), f"{mean([one.jain for one in found]):.3f}",
            f"{mean([one.slowdown for one in found]):.1f}", percent([one.attackers for one in found]),
            f"{100 * mean([one.wasted for one in found]):.1f}", str(sum(one.killed for one in found)),
        ))  # fmt: skip
    columns = (
        "attack", *(f"{kind.name}, %" for kind in KINDS), "worst tenant, %", "Jain", "p99 slowdown", "attackers' CPU, %",
        "wasted CPU, %", "good calls killed",
    )  # fmt: skip
    report.table(f"{row.name} ({row.title}) by class, and what else is measured", columns, lines)


def reasons_note(report: Report, results: Results, attacks: Sequence[Attack], row: Row) -> None:
    """Why good calls were not answered in time."""
    lines = []
    for attack in attacks:
        total: Counter[str] = Counter()
        for one in results[row.name, attack.name]:
            total += one.reasons
        lines.append((attack.name, ", ".join(f"{count} {reason}" for reason, count in total.most_common(4)) or "-"))
    report.table(f"{row.name}: why good calls were not answered in time", ("attack", "calls"), lines)


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
    results = {
        (row.name, attack.name): [run(row, attack, seed) for seed in seeds] for attack in attacks for row in rows
    }
    report = Report("ablation", "What each part of admission is for")
    goodput_table(report, results, attacks, rows)
    class_table(report, results, attacks, rows[-1])
    reasons_note(report, results, attacks, rows[-1])
    if options.write:
        report.write()
