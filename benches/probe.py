"""The probe against the zoo: does it name every planted defect, and does it stay silent on every sound twin?

For each server of tests/zoo and each seed, the defect is probed with the cases that its manifest names, in the least
profile that runs them; it counts as found when one of them fails by an oracle that the manifest names. The twin is probed
with everything that the profile `short` has, and every finding above a note is a false alarm. Exponents are those of the
findings' fits, from latencies seen from outside; beside them the planted ones, and the server's own: of the CPU-seconds that
its process used for the same requests, one by one, by the kernel's account. A memory hierarchy adds to what was planted (a
megabyte is inflated in a cache, 64 are not), so the server's own is what the probe has to find. Latencies are never compared
between runs.

Every outcome is a line of benches/results/probe.jsonl, appended as it comes, so that a run of an hour may be done in parts
(`--names`, `--seeds`, `--only`); the table is of all that is there. `--fresh` begins anew.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from tests.zoo import NAMES, manifest
from tests.zoo.manifest import Manifest
from tests.zoo.running import Running

from benches.report import RESULTS, Report, commit
from wickguard.probe.case import Profile
from wickguard.probe.cases import CATALOGUE
from wickguard.probe.engine import Options, probe
from wickguard.probe.finding import Finding, Oracle, Severity
from wickguard.probe.fit import fit
from wickguard.probe.rails import HIGHEST_RISK, refuse_case
from wickguard.probe.result import Result
from wickguard.probe.target import Wanted, discover

WITHIN = 0.15
OUTCOMES = RESULTS / "probe.jsonl"


class Outcome(msgspec.Struct, frozen=True):
    """One run. findings: "case oracle" of those that count (for a twin: every one above a note). exponents: of the slopes."""

    name: str
    sound: bool
    seed: int
    findings: tuple[str, ...]
    exponents: tuple[float, ...]
    seconds: float
    ended: str
    commit: str


def least_profile(planted: Manifest) -> Profile:
    """The least profile that runs all planted cases that are in the catalogue."""
    cases = [case for case in CATALOGUE if case.id in planted.cases and planted.dialect in case.dialects]
    for profile in HIGHEST_RISK:
        if all(not refuse_case(case, profile, planted.dialect) for case in cases):
            return profile
    return Profile.DEEP


def own_exponent(planted: Manifest) -> float:
    """How the server's own CPU-seconds grow over the sizes of the first planted case that has a slope."""
    case = next(case for case in CATALOGUE if case.id in planted.cases and Oracle.SLOPE in case.oracles)
    with Running(planted.name, sound=False) as server:
        spelling = asyncio.run(discover(Wanted(server.url + planted.path, planted.dialect))).spelling
        costs = []
        for size in case.sizes:
            requests = [step.request for step in case.attack(spelling, size, random.Random(size)).steps]
            costs.append(sum(server.cost(one.path, one.body, dict(one.headers))[1] for one in requests))
    return fit(case.sizes, costs).exponent


async def run(planted: Manifest, *, sound: bool, seed: int) -> Outcome:
    """One run of the probe."""
    result = Result()
    with Running(planted.name, sound=sound) as server:
        wanted = Wanted(server.url + planted.path, planted.dialect)
        profile = Profile.SHORT if sound else least_profile(planted)
        only = () if sound else planted.cases
        async for event in probe(Options(wanted, profile, seed, server.process.pid, only=only), CATALOGUE):
            result.add(event)
    counted = [item for item in result.findings if _counts(item, planted, sound)]
    for item in counted if sound else ():
        print("   ", item.case, item.oracle, *item.evidence, file=sys.stderr, flush=True)
    return Outcome(
        name=planted.name,
        sound=sound,
        seed=seed,
        findings=tuple(f"{item.case} {item.oracle}" for item in counted),
        exponents=tuple(round(item.fit.exponent, 3) for item in counted if item.fit and item.oracle is Oracle.SLOPE),
        seconds=result.ended.seconds if result.ended else 0.0,
        ended=str(result.ended.reason) if result.ended else "cut off",
        commit=commit(),
    )


def _counts(finding: Finding, planted: Manifest, sound: bool) -> bool:
    if sound:
        return finding.severity is not Severity.NOTE
    return finding.case in planted.cases and str(finding.oracle) in planted.oracles


def main() -> None:
    """Run, append, and print the table of all outcomes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="*", default=list(range(5)))
    parser.add_argument("--names", nargs="*", default=list(NAMES))
    parser.add_argument("--only", choices=("defects", "twins"), help="half of it")
    parser.add_argument("--fresh", action="store_true", help="forget earlier outcomes")
    parser.add_argument("--write", action="store_true", help="write benches/results/probe.md")
    options = parser.parse_args()
    if options.fresh:
        OUTCOMES.unlink(missing_ok=True)
    for seed in options.seeds:
        for name in options.names:
            for sound in (False, True):
                if options.only != ("defects" if sound else "twins"):
                    outcome = asyncio.run(run(manifest(name), sound=sound, seed=seed))
                    with OUTCOMES.open("a") as file:
                        file.write(msgspec.json.encode(outcome).decode() + "\n")
                    kind, found = "twin" if sound else "defect", ", ".join(outcome.findings) or "-"
                    print(f"{name} {kind} {seed}: {found} ({outcome.seconds:.0f} s)", file=sys.stderr, flush=True)
    planted = [found for found in map(manifest, NAMES) if found.exponent]
    made = report(read(OUTCOMES), {found.name: own_exponent(found) for found in planted})
    if options.write:
        made.write()


def read(path: Path) -> list[Outcome]:
    """All outcomes; of one that was run again, the later."""
    lines = path.read_text().splitlines() if path.exists() else []
    outcomes = [msgspec.json.decode(line, type=Outcome) for line in lines if line]
    return list({(item.name, item.sound, item.seed): item for item in outcomes}.values())


def report(outcomes: Sequence[Outcome], own: Mapping[str, float]) -> Report:
    """The table. own: exponents of the servers' own CPU-seconds, by name."""
    made = Report("probe", "The probe against the zoo")
    made.table(
        "Defects found, and false alarms on their sound twins",
        (
            "server",
            "found",
            "by",
            "planted exponent",
            "the server's own",
            "probe: median (range)",
            "false alarms",
            "by",
        ),
        [_row(manifest(name), outcomes, own) for name in NAMES],
    )
    runs = [[item for item in outcomes if item.sound is sound] for sound in (False, True)]
    hits, alarms = (sum(bool(item.findings) for item in part) for part in runs)
    found = {name: statistics.median(seen) for name in NAMES if (seen := _exponents(manifest(name), outcomes))}
    planted = {name: manifest(name).exponent or 0.0 for name in found}
    close = [sum(abs(found[name] - goal[name]) <= WITHIN for name in found) for goal in (own, planted)]
    made.note(
        f"Recall {hits} of {len(runs[0])} ({hits / max(1, len(runs[0])):.1%}); false alarms in {alarms} of {len(runs[1])} "
        f"runs on sound twins; median exponents within {WITHIN} of the servers' own: {close[0]} of {len(found)}, of the "
        f"planted ones: {close[1]}."
    )
    took = [item.seconds for item in runs[1]]
    if took:
        made.note(
            f"A run on a sound twin (profile short) took {statistics.median(took):.0f} s, at most {max(took):.0f} s."
        )
    by = Counter(item.commit for item in outcomes)
    made.note(f"Runs by the commit of the probe: {', '.join(f'{name} {count}' for name, count in by.most_common())}.")
    return made


def _row(planted: Manifest, outcomes: Sequence[Outcome], own: Mapping[str, float]) -> tuple[str, ...]:
    defects, twins = ([item for item in _of(planted, outcomes) if item.sound is sound] for sound in (False, True))
    seen = _exponents(planted, outcomes)
    return (
        planted.name,
        f"{sum(bool(item.findings) for item in defects)} of {len(defects)}",
        _names(defects),
        f"{planted.exponent:g}" if planted.exponent else "",
        f"{own[planted.name]:.2f}" if planted.exponent else "",
        f"{statistics.median(seen):.2f} ({min(seen):.2f} to {max(seen):.2f})" if seen else "",
        f"{sum(bool(item.findings) for item in twins)} of {len(twins)}",
        _names(twins),
    )


def _of(planted: Manifest, outcomes: Sequence[Outcome]) -> list[Outcome]:
    return [item for item in outcomes if item.name == planted.name]


def _exponents(planted: Manifest, outcomes: Sequence[Outcome]) -> list[float]:
    """Of the slopes that were found; empty where none was planted."""
    defects = [item for item in _of(planted, outcomes) if not item.sound]
    return [exponent for item in defects for exponent in item.exponents] if planted.exponent else []


def _names(outcomes: Sequence[Outcome]) -> str:
    return ", ".join(sorted({finding for item in outcomes for finding in item.findings})) or "-"


if __name__ == "__main__":
    main()
