"""Admission: what one decision costs, what the limiter's memory is under a spray, and how soon drift is found.

The algorithms alone, in this process: no server. A decision of the quota is finding a stranger's six levels (everything, group,
newcomers, the /64 as tenant, its /56 and /48) and reserving at all of them, with 65,000 identities known. A passage through the
gate is a look at the head, arriving, its turn and its end, levels found included, on idle slots; or waiting and leaving while
three hundred others wait. The spray is ten million identities, each seen once, of which every tenth spends. Drift is simulated
with calm residuals of which 2 % are wild, and with a step of 35 %.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benches.report import Report
from wickguard.control.applicant import Applicant, Ending
from wickguard.control.breaker import Verdict
from wickguard.control.bucket import Limit
from wickguard.control.drift import Cusum
from wickguard.control.fair_queue import Ticket
from wickguard.control.gate import AdmissionSettings, Gate, Parts
from wickguard.control.ladder import Climber, Ladder, LadderSettings, Level, Scope, Trust
from wickguard.control.lease import Demand, Lease, Usage
from wickguard.control.memory import MemoryReservation
from wickguard.control.panel import Subject
from wickguard.control.quota import Quota
from wickguard.control.roll import Roll, RollSettings
from wickguard.control.slots import Slots
from wickguard.records import Lane

KNOWN = 65_000
DECISIONS = 20_000
SPRAYED = 10_000_000
CALM_CALLS = 10_000_000
STEPS = 2_000
SEED = b"benches/admission"
SIGMA = 0.12
LEVEL = Level(Scope.GLOBAL, "wide", Limit(1e6, 1e6))
LADDER = Ladder(LadderSettings(capacity=8.0, dearest_s=5.0, median_s=0.02))


def climber(number: int) -> Climber:
    """One of 2^32 subscribers; 256 of them share a /56, 65,536 a /48."""
    packed = b"\x20\x01\x0d\xb8" + number.to_bytes(4, "big") + b"\0" * 8
    return Climber(f"ip:2001:db8:{number >> 16:x}:{number & 0xFFFF:x}::/64", Trust.ANONYMOUS, address=packed)


def resident_bytes() -> int:
    """Memory of this process that is resident."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def known_quota() -> Quota:
    """A quota that knows 65,000 identities, all of them rested."""
    quota = Quota(SEED)
    for number in range(KNOWN):
        levels = LADDER.levels(climber(number))
        quota.reserve(0.0, "known", levels, Demand(0.001), 60.0)
        quota.cancel(0.0, "known")
    assert KNOWN < len(quota.roll) <= RollSettings().capacity
    return quota


def timed_us(act: Callable[[], object]) -> float:
    """Microseconds of CPU of one act (the time in which others had the core is not ours)."""
    begin = time.thread_time_ns()
    act()
    return (time.thread_time_ns() - begin) / 1e3


class Decider:
    """Makes decisions, each for another caller: a call every 20 ms, so that the group's share is never used up."""

    def __init__(self) -> None:
        self.quota = known_quota()
        self.now = 1000.0
        self.number = 0
        self.demand = Demand(0.01)
        self.usage = Usage(0.008)

    def turn(self) -> None:
        """The next caller, a little later."""
        self.number += 1
        self.now += 0.02

    def reserve(self) -> None:
        """Take at five levels."""
        levels = LADDER.levels(climber(self.number * 7919 % KNOWN))
        taken = self.quota.reserve(self.now, "call", levels, self.demand, self.now + 60)
        assert isinstance(taken, Lease)

    def settle(self) -> None:
        """Give back what was not used."""
        assert self.quota.settle(self.now, "call", self.usage).charged_s > 0

    def refuse(self) -> None:
        """Ask for more than a bucket holds, be refused, be charged for it."""
        levels = LADDER.levels(climber(self.number * 7919 % KNOWN))
        taken = self.quota.reserve(self.now, "refused", levels, Demand(20.0), self.now + 60)
        assert not isinstance(taken, Lease)
        self.quota.charge_refusal(self.now, levels)

    def meet(self) -> None:
        """Ask as a stranger when there is no account left."""
        self.quota.would(self.now, LADDER.levels(climber(KNOWN + 256 + self.number * 263)), self.demand)


def decisions(report: Report) -> None:
    """The table of decisions."""
    decider, rows = Decider(), []
    acts = {
        "reserve, six levels": decider.reserve,
        "settle": decider.settle,
        "refuse, and charge for it": decider.refuse,
        "ask as a stranger": decider.meet,
        "pass the whole gate": (idle := Passer(decider)).passage,
        "be refused by it on the head": idle.denial,
        "wait and leave, 300 others waiting": Passer(decider, 300).passage,
    }
    times: dict[str, list[float]] = {name: [] for name in acts}
    for _ in range(DECISIONS):
        decider.turn()
        for name, act in acts.items():
            times[name].append(timed_us(act))
    for name, taken in times.items():
        taken.sort()
        rows.append((name, f"{statistics.median(taken):.1f} us", f"{taken[int(0.99 * len(taken))]:.1f} us"))
    title = f"One decision, levels found included, {KNOWN:,} identities known (goal: 60 us)"
    report.table(title, ("act", "median", "p99"), rows)


class Passer:
    """Passes the whole gate, each time as another caller; `crowd` calls of others wait meanwhile, behind a full server."""

    def __init__(self, decider: Decider, crowd: int = 0) -> None:
        self.decider = decider
        parts = Parts(Slots(2, 1), MemoryReservation(2**30, 0.5), decider.quota)
        self.gate = Gate(parts, AdmissionSettings())
        for number in range(crowd + 2 * (crowd > 0)):
            assert self.gate.arrive(0.0, self.applicant(number, 0.03, (LEVEL,))) is None
        self.gate.turns(0.0)

    def applicant(self, number: int, price_s: float, levels: tuple[Level, ...]) -> Applicant:
        """A call of a stranger."""
        tenant, now = str(number), self.decider.now
        ticket = Ticket(f"call{number}-{now}", tenant, Lane.SHORT, price_s, 2**20, now + 1e5)
        subject = Subject(tenant, "model", "tokens:7", "anybody")
        return Applicant(ticket, subject, Trust.ANONYMOUS, levels, Demand(price_s), price_s, lambda: b"")

    def passage(self) -> None:
        """Head, arrival, turn, end."""
        decider, gate = self.decider, self.gate
        levels = LADDER.levels(climber(decider.number * 7919 % KNOWN))
        applicant = self.applicant(decider.number, 0.01, levels)
        now, call_id = decider.now, applicant.ticket.id
        assert gate.glance(now, levels, applicant.trust, 0.001) is None
        assert gate.arrive(now, applicant) is None
        gate.turns(now)
        if not gate.leave(now, call_id):
            gate.finish(now, call_id, Ending(0.008, 12, Verdict.GOOD))

    def denial(self) -> None:
        """Refused on the head: nothing is left for anybody of this address."""
        levels = LADDER.levels(climber(self.decider.number * 7919 % KNOWN))
        assert self.gate.glance(self.decider.now, levels, Trust.ANONYMOUS, 1e4) is not None


def spray(report: Report) -> None:
    """The table of memory."""
    before, limit, credit = resident_bytes(), Limit(0.1, 6.0), 0.02
    roll, rows, begin = Roll(RollSettings(), SEED), [], time.process_time()
    for number in range(1, SPRAYED + 1):
        now, name = number * 1e-3, f"ip:2001:db8:{number >> 16:x}:{number & 0xFFFF:x}::/64"
        account = roll.find(now, name, limit, credit)
        if number % 10 == 0 and account.reserve(now, limit, 0.0078125) == 0:
            roll.reserved(now, name, account, 0.0078125)
            account.settle(now, limit, 0.0078125, 0.0078125)
            roll.settled(now, name, account, 0.0)
        if number in (65_536, SPRAYED // 10, SPRAYED):
            spent_us = (time.process_time() - begin) / number * 1e6
            grown = (resident_bytes() - before) / 2**20
            rows.append((f"{number:,}", f"{len(roll):,}", f"{grown:.1f} MiB", f"{spent_us:.1f} us"))
    columns = ("identities sprayed", "exact accounts", "resident memory of the limiter", "CPU per identity")
    report.table("Memory under a spray, 1,000 new identities a second (goal: 32 MiB)", columns, rows)


def calm(order: np.random.Generator, count: int, wild: bool) -> NDArray[np.float64]:
    """Residuals of calls that cost what they should; wild: in 2 % of them Student's t with 3 degrees, tenfold."""
    found = order.standard_normal(count)
    if wild:
        chosen = order.random(count) < 0.02
        found[chosen] = 10 * order.standard_t(3, int(chosen.sum()))
    return found


def false_alarms(order: np.random.Generator, threshold: float, clip: float, wild: bool, calls: int) -> int:
    """Alarms among calm calls; after each the sum begins again."""
    alarms, cusum = 0, Cusum(threshold, clip=clip)
    for _ in range(calls // 100_000):
        for z in calm(order, 100_000, wild).tolist():
            if cusum.add(z):
                alarms, cusum = alarms + 1, Cusum(threshold, clip=clip)
    return alarms


def delays(order: np.random.Generator, threshold: float, factor: float) -> list[int]:
    """Calls until a step is found, after a hundred calm ones, 2 % wild."""
    found, shift = [], math.log(factor) / SIGMA
    for _ in range(STEPS):
        cusum = Cusum(threshold)
        for z in calm(order, 100, wild=True).tolist():
            cusum.add(z)
        for number, z in enumerate((calm(order, 1000, wild=True) + shift).tolist(), 1):
            if cusum.alarmed or cusum.add(z):
                found.append(number)
                break
    return sorted(found)


def drift(report: Report) -> None:
    """The tables of false alarms and of delays."""
    order, rows = np.random.default_rng(1), []
    cases = ((16.0, 3.0, False, CALM_CALLS), (16.0, 3.0, True, CALM_CALLS), (12.0, 3.0, True, CALM_CALLS // 10))
    for threshold, clip, wild, calls in (*cases, (16.0, math.inf, True, CALM_CALLS // 100)):
        alarms = false_alarms(order, threshold, clip, wild, calls)
        kind = "2 % wild" if wild else "normal"
        each = f"1 in {calls / alarms:,.0f}" if alarms else f"none in {calls:,}"
        rows.append((f"sum > {threshold:.0f}, clip {clip:.0f}, {kind}", f"{calls:,}", str(alarms), each))
    report.table("False alarms (goal: under 1 in 1,000,000)", ("detector", "calm calls", "alarms", "rate"), rows)
    rows = []
    for threshold, factor in ((16.0, 1.15), (16.0, 1.35), (16.0, 2.0), (12.0, 1.35)):
        found = delays(order, threshold, factor)
        row = (f"sum > {threshold:.0f}, +{factor - 1:.0%}", f"{statistics.mean(found):.1f}")
        within = sum(delay <= 10 for delay in found) / len(found)
        rows.append((*row, str(found[len(found) // 2]), str(found[int(0.95 * len(found))]), f"{within:.0%}"))
    columns = ("detector and step", "mean", "median", "p95", "within 10")
    report.table(
        f"Calls until a step is found, spread {SIGMA}, 2 % wild, {STEPS:,} runs (goal: 10 at +35 %)", columns, rows
    )
    report.note(
        "At +35 % the goal of ten calls holds for the mean and the median, not for every run: a residual of that step is 2.5 "
        "spreads, of which 2 count, so eight calls are the least on average, and one run in five needs eleven or more."
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=("spray", "decisions", "drift"), help="this part alone")
    parser.add_argument("--write", action="store_true", help="write benches/results/admission.md")
    options = parser.parse_args()
    report = Report("admission", "What admission costs, and what it finds")
    for part in (spray, decisions, drift):
        if options.only in (None, part.__name__):
            part(report)
    if options.write:
        report.write()


if __name__ == "__main__":
    main()
