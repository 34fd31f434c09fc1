"""The probe against the zoo: does it name every planted defect, and does it stay silent on every sound twin?

For each server of tests/zoo and each seed, the defect is probed with the cases that its manifest names, in the least
profile that runs them; it counts as found when one of them ends with a finding. The twin is probed with everything that the
profile `short` has, and every finding above a note is a false alarm. Exponents are those of the findings' fits, against the
planted ones. Latencies are never compared between runs.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
from dataclasses import dataclass, field

from tests.zoo import NAMES, manifest
from tests.zoo.manifest import Manifest
from tests.zoo.running import Running

from benches.report import Report
from wickguard.probe.case import Profile
from wickguard.probe.cases import CATALOGUE
from wickguard.probe.engine import Options, probe
from wickguard.probe.finding import Finding, Severity
from wickguard.probe.rails import HIGHEST_RISK, refuse_case
from wickguard.probe.result import Result
from wickguard.probe.target import Wanted

WITHIN = 0.15


@dataclass
class Row:
    """One server, over all seeds. found: oracles of the planted cases' findings, per seed. alarms: of the twin."""

    planted: Manifest
    found: list[list[Finding]] = field(default_factory=list)
    alarms: list[list[Finding]] = field(default_factory=list)

    def exponents(self) -> list[float]:
        """Of the fits in the findings of the planted cases."""
        return [item.fit.exponent for seed in self.found for item in seed if item.fit is not None]


def least_profile(planted: Manifest) -> Profile:
    """The least profile that runs all planted cases that are in the catalogue."""
    cases = [case for case in CATALOGUE if case.id in planted.cases and planted.dialect in case.dialects]
    for profile in HIGHEST_RISK:
        if all(not refuse_case(case, profile, planted.dialect) for case in cases):
            return profile
    return Profile.DEEP


async def run(planted: Manifest, *, sound: bool, seed: int) -> Result:
    """One run of the probe."""
    result = Result()
    with Running(planted.name, sound=sound) as server:
        wanted = Wanted(server.url + planted.path, planted.dialect)
        profile = Profile.SHORT if sound else least_profile(planted)
        only = () if sound else planted.cases
        async for event in probe(Options(wanted, profile, seed, server.process.pid, only=only), CATALOGUE):
            result.add(event)
    return result


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5, help="for the defects")
    parser.add_argument("--twin-seeds", type=int, default=5, help="for the sound twins, which take two minutes each")
    parser.add_argument("--names", nargs="*", default=NAMES)
    parser.add_argument("--write", action="store_true", help="write benches/results/probe.md")
    options = parser.parse_args()
    rows = []
    for name in options.names:
        row = Row(manifest(name))
        for seed in range(options.seeds):
            result = asyncio.run(run(row.planted, sound=False, seed=seed))
            row.found.append([item for item in result.findings if item.case in row.planted.cases])
            print(f"{name} defect {seed}: {_names(row.found[-1])}", file=sys.stderr, flush=True)
        for seed in range(options.twin_seeds):
            result = asyncio.run(run(row.planted, sound=True, seed=seed))
            row.alarms.append([item for item in result.findings if item.severity is not Severity.NOTE])
            took = result.ended.seconds if result.ended else 0.0
            print(f"{name} twin {seed}: {_names(row.alarms[-1])} ({took:.0f} s)", file=sys.stderr, flush=True)
            for item in row.alarms[-1]:
                print("   ", item.case, item.oracle, *item.evidence, file=sys.stderr, flush=True)
        rows.append(row)
    report = _report(rows, options.seeds, options.twin_seeds)
    if options.write:
        report.write()


def _report(rows: list[Row], seeds: int, twin_seeds: int) -> Report:
    report = Report("probe", "The probe against the zoo")
    hits = sum(bool(found) for row in rows for found in row.found)
    alarms = sum(bool(found) for row in rows for found in row.alarms)
    runs, twin_runs = seeds * len(rows), twin_seeds * len(rows)
    table = []
    close = planted = 0
    for row in rows:
        exponents = row.exponents()
        wanted = row.planted.exponent
        if wanted is not None and exponents:
            planted += 1
            close += abs(statistics.median(exponents) - wanted) <= WITHIN
        table.append(
            (
                row.planted.name,
                f"{sum(map(bool, row.found))} of {seeds}",
                _names([item for found in row.found for item in found]),
                "" if wanted is None else f"{wanted:g}",
                f"{statistics.median(exponents):.2f}" if wanted is not None and exponents else "",
                f"{sum(map(bool, row.alarms))} of {twin_seeds}",
            )
        )
    report.table(
        "Defects found, and false alarms on their sound twins",
        ("server", "found", "by", "planted exponent", "measured", "false alarms"),
        table,
    )
    report.note(
        f"Recall {hits} of {runs} ({hits / max(1, runs):.1%}); false alarms {alarms} of {twin_runs} runs on sound twins; "
        f"exponents within {WITHIN} of the planted ones: {close} of {planted}."
    )
    return report


def _names(findings: list[Finding]) -> str:
    return ", ".join(sorted({f"{item.case} {item.oracle}" for item in findings})) or "-"


if __name__ == "__main__":
    main()
