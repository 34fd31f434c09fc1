"""The runner: one case from its first size to its verdict.

Decides the order of measuring: sizes ascend, each beside its benign twin and followed by a control, and stop at the first
sign of trouble; then repeats in random order; then, where neighbours matter, the same beside a canary. What an oracle then
suspects is measured once more from the beginning, and only what shows again is a finding. Promises that the target is
left alone as soon as controls fail three times in a row. It must not know what oracles look for.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator

from wickguard.clock import now
from wickguard.probe import oracles
from wickguard.probe.case import Case
from wickguard.probe.events import Arm, CaseFinished, CurveFitted, Event, Found, Sampled, Verdict
from wickguard.probe.finding import Finding, Oracle, Reproducer, Severity
from wickguard.probe.fit import fit
from wickguard.probe.observe import Observation, Observer
from wickguard.probe.oracles.cost import comparable
from wickguard.probe.oracles.suspicion import Suspicion
from wickguard.probe.oracles.verdict import liveness
from wickguard.probe.printable import printable
from wickguard.probe.series import CHANNELS, Series
from wickguard.probe.storm import raise_storm, sampled_canaries
from wickguard.probe.trace import Trace, single
from wickguard.probe.wellbeing import Wellbeing
from wickguard.units import format_seconds

_STORMY = frozenset({Oracle.COLLATERAL, Oracle.RECOVERY})
# These judge refusals, so sizes that are refused are theirs to see.
_OF_REFUSALS = frozenset(
    {Oracle.EARLY, Oracle.EQUIVALENCE, Oracle.STATUS, Oracle.RETRY, Oracle.MEMORY, Oracle.CONNECTION}
)
_REFUSED_SIZES = 2
# Of a storm.
_WINDOWS = 4
# A trace that takes this long is not repeated, only confirmed.
_LONG_TRACE_S = 3.0
_MOST_WAIT_S = 5.0
_EXCERPT = 160
# One caller alone hurts everybody: whatever the case says, this is an error.
_ERRORS = frozenset({Oracle.LIVENESS, Oracle.STALL, Oracle.COLLATERAL, Oracle.RECOVERY})


class Runner:
    """Runs cases, one after the other. `seed` decides every random choice; `case_s` is the most that one case may take."""

    def __init__(self, observer: Observer, wellbeing: Wellbeing, seed: int, case_s: float) -> None:
        self._observer = observer
        self._wellbeing = wellbeing
        self._seed = seed
        self._case_s = case_s
        self._built = 0
        self._limits = observer.allowance.limits

    async def run(self, case: Case) -> AsyncIterator[Event]:
        """Everything that happens while `case` runs. Raises RunOver when the run must end; the case is then unfinished."""
        allowance = self._observer.allowance
        began, requests, sent = now(), allowance.requests, allowance.bytes
        series = Series()
        async for event in self._measure(case, series, case.sizes, stormy=bool(case.oracles & _STORMY)):
            yield event
        suspicions = oracles.judge(case, series)
        confirmed, last = suspicions, series
        if suspicions and not series.down:
            again = Series(floor_bytes=series.least_bytes)
            # A storm takes longest of all, so it is raised again only when it was what was suspicious.
            stormy = any(suspicion.oracle in _STORMY for suspicion in suspicions)
            async for event in self._measure(case, again, tuple(series.sizes), stormy=stormy):
                yield event
            seen = {suspicion.oracle for suspicion in oracles.judge(case, again)}
            both = pool(series, again)
            details = {suspicion.oracle: suspicion for suspicion in oracles.judge(case, both)}
            confirmed = [details.get(item.oracle, item) for item in suspicions if item.oracle in seen]
            last = again
            for curve in self._curves(case, both):
                yield curve
        else:
            for curve in self._curves(case, series):
                yield curve
        if last.down:
            confirmed = [*confirmed, *self._left_behind(case, last, confirmed)]
        for suspicion in confirmed:
            yield Found(self._at(), self._finding(case, series, suspicion))
        yield CaseFinished(
            at_s=self._at(),
            case=case.id,
            verdict=_verdict(series, suspicions, confirmed),
            reason=_reason(series, suspicions, confirmed),
            requests=allowance.requests - requests,
            bytes=allowance.bytes - sent,
            seconds=round(now() - began, 3),
            sizes=tuple(series.sizes),
        )
        if last.down:
            await self._wellbeing.recover(f"case {case.id}")

    async def _measure(
        self, case: Case, series: Series, sizes: tuple[int, ...], *, stormy: bool
    ) -> AsyncIterator[Event]:
        began = now()
        chance = random.Random(f"{self._seed}:{case.id}")
        async for event in self._ascend(case, series, sizes):
            yield event
        for _ in range(self._limits.repeats - 1):
            reached = [size for size in series.sizes if self._worth_repeating(case, series, size)]
            chance.shuffle(reached)
            for size in reached:
                if series.down or now() - began > self._case_s:
                    return
                async for event in self._both(case, series, size):
                    yield event
        if stormy and series.sizes and not series.down:
            self._wellbeing.check_allowance(_WINDOWS * self._limits.storm_s)
            size = max(series.accepted or series.sizes)
            attack, twin = self._traces(case, size)
            series.storm = await raise_storm(self._observer, self._wellbeing, size, attack, twin)
            series.limited = series.limited or series.storm.limited
            for sample in sampled_canaries(case.id, series.storm, self._at()):
                yield sample
            if not await self._wellbeing.well():
                await self._leave_alone(series, size)

    async def _ascend(self, case: Case, series: Series, sizes: tuple[int, ...]) -> AsyncIterator[Event]:
        began, refused = now(), 0
        for size in sizes:
            async for event in self._both(case, series, size):
                yield event
            latest = series.attack[size][-1] if size in series.attack else None
            if latest is None or series.down or series.limited:
                return
            if not latest.alive:
                series.stopped = f"stopped at {size}: another process answers"
                return
            refused += latest.status >= 400
            if latest.timed_out or latest.latency_s > self._limits.stop_s:
                series.stopped = f"stopped at {size}: one request took {latest.latency_s:.1f} s"
                return
            if refused >= _REFUSED_SIZES and not case.oracles & _OF_REFUSALS:
                series.stopped = f"refused from {size} on"
                return
            if now() - began > self._case_s:
                series.stopped = f"stopped at {size}: out of the case's time"
                return

    async def _both(self, case: Case, series: Series, size: int) -> AsyncIterator[Event]:
        """The twin, the attack, a control: one more repeat of `size`."""
        attack, twin = self._traces(case, size)
        self._wellbeing.check_allowance(_length_s(attack))
        memory = Oracle.MEMORY in case.oracles
        calm = await self._unlimited(twin, memory)
        if calm is None:
            series.limited = True
            # Limited is one thing; what serves nobody any more has to be left alone.
            await self._wellbeing.guard(f"case {case.id}")
            return
        series.twin.setdefault(size, []).append(calm)
        yield self._sampled(case, Arm.TWIN, size, calm)
        observed = await self._observer.observe(attack, memory)
        if len(attack.steps) == 1 and (wait_s := _asked_to_wait_s(observed)):
            # The twin may have used up what the target's own rate limit allows; told twice, it is about this request.
            await asyncio.sleep(min(_MOST_WAIT_S, wait_s))
            observed = await self._observer.observe(attack, memory)
        await asyncio.sleep(case.pause_s)
        series.attack.setdefault(size, []).append(observed)
        yield self._sampled(case, Arm.ATTACK, size, observed)
        if not await self._wellbeing.well() or (not observed.alive and self._observer.tree is not None):
            await self._leave_alone(series, size)

    async def _unlimited(self, twin: Trace, memory: bool) -> Observation | None:
        """The twin, waited for where the target's own rate limit is in the way; None when it stays there."""
        for _ in range(4):
            observed = await self._observer.observe(twin, memory)
            if observed.status not in (429, 503):
                return observed
            await asyncio.sleep(min(_MOST_WAIT_S, _asked_to_wait_s(observed) or 1.0))
        return None

    async def _leave_alone(self, series: Series, size: int) -> None:
        series.down, series.lives = True, await self._wellbeing.lives()
        series.stopped = f"stopped at {size}: ordinary requests {'suffer' if series.lives else 'fail'}"

    def _left_behind(self, case: Case, series: Series, confirmed: list[Suspicion]) -> list[Suspicion]:
        """What a case is accused of that the target did not survive well, whatever the case was made for."""
        if any(suspicion.oracle is Oracle.LIVENESS for suspicion in confirmed):
            return []
        death = liveness(case, series)
        return [death] if death is not None else [self._suffering(case, series)] if series.lives else []

    def _suffering(self, case: Case, series: Series) -> Suspicion:
        size, count = max(series.sizes), self._limits.canary_failures
        evidence = (
            f"after the attack at {size} of {case.feature or 'its only size'}, {count} ordinary requests in a row failed or "
            f"took over {format_seconds(self._wellbeing.bound_s)}; something still answered",
        )
        return Suspicion(Oracle.RECOVERY, count, 0, "canaries", evidence, size)

    def _worth_repeating(self, case: Case, series: Series, size: int) -> bool:
        latest = series.attack[size][-1]
        return (
            latest.alive
            and not latest.timed_out
            and latest.latency_s <= self._limits.stop_s
            and _length_s(latest.trace) + case.pause_s < _LONG_TRACE_S
        )

    def _traces(self, case: Case, size: int) -> tuple[Trace, Trace]:
        # The same bytes whenever a size is built: repeats repeat, and a reproducer can be made again from the seed. A fresh
        # case is counted on, so that the target has not seen its requests before.
        spelling = self._observer.target.spelling
        self._built += case.fresh
        seed = f"{self._seed}:{case.id}:{size}" + (f":{self._built}" if case.fresh else "")
        attack = case.attack(spelling, size, random.Random(seed))
        if case.twin is None:
            return attack, single(spelling.request(("the river was quiet",)))
        return attack, case.twin(spelling, size, random.Random(f"{seed}:twin"))

    def _at(self) -> float:
        return round(now() - self._observer.allowance.began, 4)

    def _sampled(self, case: Case, arm: Arm, size: int, seen: Observation) -> Sampled:
        growth = seen.memory.peak - seen.memory.before if seen.memory else seen.peak_told
        return Sampled(
            at_s=self._at(),
            case=case.id,
            arm=arm,
            size=size,
            status=seen.status,
            latency_s=round(seen.latency_s, 6),
            request_bytes=seen.trace.payload_bytes,
            response_bytes=seen.response_bytes,
            cpu_s=None if seen.cpu_s is None else round(seen.cpu_s, 6),
            memory_bytes=growth,
            tokens=seen.tokens,
        )

    def _curves(self, case: Case, series: Series) -> list[CurveFitted]:
        found = []
        for channel, read in CHANNELS.items():
            sizes = comparable(series)
            points = [point for point in series.points(sizes, read) if point.value > 0]
            if len(points) >= 4:
                fitted = fit([point.size for point in points], [point.value for point in points])
                twin = tuple(series.points(sizes, read, twin=True)) if case.twin is not None else ()
                found.append(CurveFitted(self._at(), case.id, case.feature, channel, fitted, tuple(points), twin))
        return found

    def _finding(self, case: Case, series: Series, suspicion: Suspicion) -> Finding:
        severity = Severity.ERROR if suspicion.oracle in _ERRORS else case.severity
        return Finding(
            case=case.id,
            oracle=suspicion.oracle,
            severity=severity,
            title=case.title,
            evidence=suspicion.evidence,
            measured=suspicion.measured,
            bound=suspicion.bound,
            unit=suspicion.unit,
            feature=case.feature,
            fit=suspicion.fit,
            taxonomy=case.taxonomy,
            reproducer=self._reproducer(case, suspicion),
            remedy=case.remedy,
        )

    def _reproducer(self, case: Case, suspicion: Suspicion) -> Reproducer | None:
        trace, _ = self._traces(case, suspicion.size)
        steps = [step for step in trace.steps if not suspicion.step or step.label == suspicion.step] or list(
            trace.steps
        )
        if not steps:
            return None
        request = steps[0].request
        data = request.body if request.raw is None else request.raw
        text = data[:_EXCERPT].decode("utf-8", "replace")
        return Reproducer(
            recipe=f"case {case.id} at size {suspicion.size}, seed {self._seed}, {len(trace.steps)} requests",
            path=request.path,
            size=suspicion.size,
            request_bytes=request.size_bytes,
            digest=hashlib.sha256(data).hexdigest(),
            excerpt=printable(text),
            effect=suspicion.measured if suspicion.unit == "times" else None,
        )


def _length_s(trace: Trace) -> float:
    """How long a trace takes at least: what it waits for before its steps and what it holds."""
    return max((step.at_s + step.hold_s for step in trace.steps), default=0.0)


def _asked_to_wait_s(observed: Observation) -> float:
    """The longest Retry-After among refusals that a rate limit or an overload may have caused; 0 when there is none."""
    waits = [answer.headers.get("retry-after", "") for answer in observed.answers if answer.status in (429, 503)]
    return max((float(wait) for wait in waits if wait.isascii() and wait.isdigit()), default=0.0)


def pool(first: Series, second: Series) -> Series:
    """Both series as one: what a finding says comes from all that was measured."""
    both = Series(storm=second.storm or first.storm, stopped=first.stopped, down=first.down or second.down)
    both.lives = second.lives if second.down else first.lives
    for series in (first, second):
        for size, items in series.attack.items():
            both.attack.setdefault(size, []).extend(items)
        for size, items in series.twin.items():
            both.twin.setdefault(size, []).extend(items)
    return both


def _verdict(series: Series, suspicions: list[Suspicion], confirmed: list[Suspicion]) -> Verdict:
    if confirmed:
        return Verdict.FINDING
    if suspicions or series.limited or not series.attack:
        return Verdict.UNCLEAR
    return Verdict.SOUND


def _reason(series: Series, suspicions: list[Suspicion], confirmed: list[Suspicion]) -> str:
    if suspicions and not confirmed:
        return "seen once and not again: " + "; ".join(item.evidence[0] for item in suspicions)
    if series.limited:
        return "the target refused ordinary requests and said when to come back; run the probe under a key with a larger quota"
    return series.stopped
