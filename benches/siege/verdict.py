"""The verdict: what an attack cost good tenants, from what they saw and what the server wrote down.

All of requests that were due in the attack. Good: 200 within the class's deadline. Kept: good in the attack over good in the
calm before. Jain's index over tenants of the part of their requests that was good. Wasted: CPU-seconds of calls that ended
without a result. Attackers' share: their CPU-seconds of what the cores could do. In deadline: of good tenants' calls that were
let into the queue. False kills: good calls that were stopped by their own grant.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from benches.siege.population import KINDS, Sample
from benches.siege.scene import AFTER_S, ATTACK_S, CALM_S, CORES, Evidence

_DEADLINES = {kind.name: kind.deadline_s for kind in KINDS}
_STOPPED = ("expired_cpu", "out_of_memory", "crashed")


@dataclass(frozen=True, slots=True)
class Verdict:
    """Of one scene. Shares are 0 to 1; p99 in seconds; others: CPU-seconds of the window that belonged to none of us."""

    good: float
    calm: float
    after: float
    kinds: dict[str, float]
    p99_s: float
    p99_calm_s: float
    jain: float
    worst: float
    wasted_s: float
    attackers: float
    in_deadline: tuple[int, int]
    calm_refused: tuple[int, int]
    false_kills: int
    reasons: Counter[str]
    fates: Counter[str]
    others_s: float

    @property
    def kept(self) -> float:
        """Good in the attack over good in the calm."""
        return self.good / self.calm if self.calm else 0.0


def is_good(sample: Sample) -> bool:
    """200 within the class's deadline."""
    return sample.status == 200 and sample.latency_s <= _DEADLINES[sample.kind]


def judge(evidence: Evidence) -> Verdict:
    """The verdict on one scene."""
    end = CALM_S + ATTACK_S
    calm, attack, after = (
        [one for one in evidence.samples if low <= one.due_s < high]
        for low, high in ((0.0, CALM_S), (CALM_S, end), (end, end + AFTER_S))
    )
    window = [entry for entry in evidence.audit if CALM_S <= entry["at"] < end]
    settled = [entry for entry in window if entry["type"] == "CallSettled"]
    bad = [entry for entry in settled if entry["tenant"] not in evidence.tenants]
    cpu = evidence.cpu_s
    tenants = list(_shares(attack, lambda one: one.tenant).values())
    return Verdict(
        good=_share(attack), calm=_share(calm), after=_share(after), kinds=_shares(attack, lambda one: one.kind),
        p99_s=_p99(attack), p99_calm_s=_p99(calm), jain=_jain(tenants), worst=min(tenants, default=0.0),
        wasted_s=sum(entry["cpu_s"] for entry in settled if entry["outcome"] != "completed"),
        attackers=sum(entry["cpu_s"] for entry in bad) / (ATTACK_S * CORES),
        in_deadline=_in_deadline(evidence),
        calm_refused=(sum(one.status != 200 for one in calm), len(calm)),
        false_kills=sum(_was_killed(entry, evidence) for entry in _of_good(evidence, "CallSettled")),
        reasons=Counter(
            entry["reason"] for entry in _of_good(evidence, "RequestRejected") if CALM_S <= entry["at"] < end
        ),
        fates=Counter(entry["outcome"] for entry in bad),
        others_s=cpu["machine"] - cpu["server"] - cpu["good"] - cpu["attack"],
    )  # fmt: skip


def _of_good(evidence: Evidence, kind: str) -> Iterable[dict[str, Any]]:
    return (entry for entry in evidence.audit if entry["type"] == kind and entry["tenant"] in evidence.tenants)


def _was_killed(entry: dict[str, Any], evidence: Evidence) -> bool:
    """Whether a good call was stopped by its grant, not by its own deadline (which counts as late)."""
    deadline_s = evidence.tenants[entry["tenant"]].kind.deadline_s
    early = entry["outcome"] == "expired_wall" and entry["elapsed_s"] < deadline_s
    return early or entry["outcome"] in _STOPPED


def _in_deadline(evidence: Evidence) -> tuple[int, int]:
    """Good tenants' calls that were let in, and how many of them were answered in time."""
    timely = total = 0
    for entry in _of_good(evidence, "CallSettled"):
        total += 1
        deadline_s = evidence.tenants[entry["tenant"]].kind.deadline_s
        timely += entry["outcome"] == "completed" and entry["elapsed_s"] <= deadline_s
    late = sum(entry["reason"] == "deadline_exceeded" for entry in _of_good(evidence, "RequestRejected"))
    return timely, total + late


def _share(samples: Sequence[Sample]) -> float:
    return sum(is_good(one) for one in samples) / len(samples) if samples else 1.0


def _shares(samples: Sequence[Sample], key: Callable[[Sample], str]) -> dict[str, float]:
    groups = defaultdict[str, list[Sample]](list)
    for one in samples:
        groups[key(one)].append(one)
    return {name: _share(group) for name, group in groups.items()}


def _p99(samples: Sequence[Sample]) -> float:
    values = sorted(one.latency_s for one in samples if one.status == 200)
    return values[min(len(values) - 1, int(0.99 * len(values)))] if values else 0.0


def _jain(shares: Sequence[float]) -> float:
    return sum(shares) ** 2 / (len(shares) * sum(share * share for share in shares)) if any(shares) else 0.0
