"""The siege, from the command line.

python -m benches.siege [--attacks a1,a5] [--as keys,addresses] [--seeds N] [--analytic] [--write]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Sequence

from benches.report import Report
from benches.siege.attacks import ATTACKS, Attack
from benches.siege.population import KINDS
from benches.siege.scene import AFTER_S, ATTACK_S, CALM_S, CORES, GOOD_LOAD, play
from benches.siege.verdict import Verdict, judge

TITLE = "The siege: attacks A1 to A12 against the running server"
COLUMNS = (
    "attack", "kept", "target", *(kind.name for kind in KINDS), "after", "p99 calm", "p99 attack", "in deadline", "Jain",
    "worst tenant", "wasted", "attackers", "others",
)  # fmt: skip
# Attacks of addresses with a history that no good address has either: among addresses they are A5 once more.
ONLY_KEYS = ("a7", "a11")
# Keys need no record to be known.
ONLY_ADDRESSES = ("a5k",)
EXPLAINED = (
    f"{CALM_S:g} s calm, {ATTACK_S:g} s attack, {AFTER_S:g} s after, a fresh server each time. Eight good tenants ask for "
    f"{GOOD_LOAD:.0%} of the machine: short sentences, batches of 16, documents of 250 words; half Poisson, half in bursts "
    "(CV 5). Good: 200 within 1, 3 and 10 s. Kept: good in the attack over good in the calm before it. Classes: good in the "
    "attack. Wasted: CPU-seconds of calls without a result. Attackers: their part of the cores. Others: cores that were used "
    "by what has nothing to do with the siege, of the two; what is above 0 makes the rest worse than it is. Good tenants by "
    "addresses: of a server whose policy vouches for strangers together (anonymous_rate half of the machine, anonymous_share "
    "0.9, alarmed_share 0.5; by default 0.1 of a core, 0.25, 0.1)."
)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benches.siege", description=__doc__)
    parser.add_argument("--attacks", default="", help="codes, e.g. a1,a5 (default: all)")
    parser.add_argument("--as", dest="modes", default="keys,addresses", help="good tenants are keys, addresses")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument(
        "--analytic", action="store_true", help="no calibration (on a busy machine it measures the others)"
    )
    parser.add_argument("--write", action="store_true", help="write benches/results/siege.md")
    options = parser.parse_args()
    wanted = [one for one in ATTACKS if not options.attacks or one.code in options.attacks.split(",")]
    report = Report("siege", TITLE)
    report.note(EXPLAINED)
    found: list[tuple[Attack, str, Verdict]] = []
    with tempfile.TemporaryDirectory() as costs:
        # A directory of our own: what was measured for other builds does not hold here.
        policy = f'[calibration]\ncost_dir = "{costs}"\n' + ("[price]\ncalibrate = false\n" if options.analytic else "")
        for mode in options.modes.split(","):
            found += besiege(report, mode, wanted, options.seeds, policy)
    conclude(report, found)
    if options.write:
        report.write()


def besiege(
    report: Report, mode: str, wanted: Sequence[Attack], seeds: int, policy: str
) -> list[tuple[Attack, str, Verdict]]:
    """One table."""
    rows, found, fates = [], list[tuple[Attack, str, Verdict]](), list[str]()
    for attack in wanted:
        if attack.code in (ONLY_ADDRESSES if mode == "keys" else ONLY_KEYS):
            continue
        verdicts = []
        for seed in range(seeds):
            began = time.monotonic()
            evidence = play(attack, keyed=mode == "keys", seed=seed, policy=policy)
            verdict = judge(evidence)
            verdicts.append(verdict)
            print(
                f"{mode} {attack.code} seed {seed}: kept {verdict.kept:.1%} in {time.monotonic() - began:.0f} s",
                flush=True,
            )
            fates.append(
                f"{attack.code}: {_counted(evidence.answers)}; ended: {_counted(verdict.fates)}; good ones refused: "
                f"{_counted(verdict.reasons)}; CPU-seconds of front {evidence.cpu_s['front']:.1f}, good clients "
                f"{evidence.cpu_s['good']:.1f}, attackers' clients {evidence.cpu_s['attack']:.1f}"
            )
        rows.append(_row(attack, verdicts, mode))
        found += [(attack, mode, verdict) for verdict in verdicts]
    report.table(f"good tenants by {mode}, {seeds} seeds (mean)", COLUMNS, rows)
    report.note(
        "Answers to attackers by status, how their calls ended, what good tenants were told:\n\n- " + "\n- ".join(fates)
    )
    return found


def conclude(report: Report, found: Sequence[tuple[Attack, str, Verdict]]) -> None:
    """What is counted over all scenes."""
    verdicts = [verdict for _, _, verdict in found]
    promised = [verdict for attack, mode, verdict in found if _promised(attack, mode)]
    refused, calm = (sum(one.calm_refused[index] for one in verdicts) for index in (0, 1))
    of_all, with_target = (", ".join(_timely(part)) for part in (verdicts, promised))
    report.note(
        f"Over all {len(verdicts)} scenes: of good calls that were let in {of_all}, were answered in their deadline (target "
        f"99.9 %; in scenes with a target {with_target}); {refused / max(1, calm):.2%} of {calm} good requests in calm got no "
        f"200 (target 1 %); {sum(one.false_kills for one in verdicts)} good calls were stopped by their own grant (target 0)."
    )


def _timely(verdicts: Sequence[Verdict]) -> tuple[str, str]:
    """Good calls that were let in and answered in their deadline: counted, and their share."""
    timely, let_in = (sum(one.in_deadline[index] for one in verdicts) for index in (0, 1))
    return f"{timely} of {let_in}", f"{timely / max(1, let_in):.2%}"


def _promised(attack: Attack, mode: str) -> bool:
    """Addresses that are many can't be told from good addresses without a record: no promise is made there."""
    return not attack.many or mode == "keys" or attack.history_s > 0


def _row(attack: Attack, verdicts: Sequence[Verdict], mode: str) -> tuple[str, ...]:
    def mean(pick: str) -> float:
        return statistics.fmean(getattr(one, pick) for one in verdicts)

    kinds = [statistics.fmean(one.kinds.get(kind.name, 1.0) for one in verdicts) for kind in KINDS]
    target = f"{attack.target:.0%}" if _promised(attack, mode) else "-"
    return (
        f"{attack.code} {attack.name}", f"{mean('kept'):.1%}", target, *(f"{kind:.1%}" for kind in kinds),
        f"{mean('after'):.1%}", f"{mean('p99_calm_s') * 1e3:.0f} ms", f"{mean('p99_s') * 1e3:.0f} ms",
        _timely(verdicts)[1], f"{mean('jain'):.3f}", f"{mean('worst'):.1%}",
        f"{mean('wasted_s'):.1f} s", f"{mean('attackers'):.0%}",
        f"{mean('others_s') / ATTACK_S:.1f} of {CORES}",
    )  # fmt: skip


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{count} x {name}" for name, count in counts.most_common()) or "none"


if __name__ == "__main__":
    main()
