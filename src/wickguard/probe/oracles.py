"""Oracles: what is wrong with what was observed of a case.

Decides by bounds on ratios, medians and exponents, never on one reading; an effect must also be large enough to matter
(`MATTERS_S`, `MATTERS_BYTES`). What an oracle returns is a suspicion: whoever called measures again before it becomes a
finding. Pure: observations in, suspicions out. It must not know sockets, time or reports.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from wickguard.probe.case import Case
from wickguard.probe.finding import Oracle
from wickguard.probe.fit import Family, Fit, fit
from wickguard.probe.observe import Observation
from wickguard.probe.series import Reader, Series, cpu, growth, latency, told_peak, tree_cpu
from wickguard.probe.trace import Step
from wickguard.probe.wire import Answer
from wickguard.units import MIB, format_bytes, format_seconds

# Cost below these is nobody's trouble, whatever its shape.
MATTERS_S = 0.025
MATTERS_BYTES = 8 * MIB
# The lower end of an exponent's interval has to exceed this, beside the exponent itself exceeding the case's bound.
_SURELY_SUPERLINEAR = 1.15
_CLIFF = 3.0
_STALL_S = 0.25
_COLLATERAL_RATIO = 3.0
_COLLATERAL_S = 0.1
_RECOVERY_RATIO = 2.0
# A leak keeps at least this share of what was sent, or this many bytes a request, every time.
_LEAK_SHARE = 0.25
_LEAK_BYTES_PER_STEP = 4096
_LATE_RATIO = 5.0
_RETRYABLE = frozenset({429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Suspicion:
    """What an oracle holds against a case; see Finding. size: where it showed. step: the label of the step, if one."""

    oracle: Oracle
    measured: float
    bound: float
    unit: str
    evidence: tuple[str, ...]
    size: int
    fit: Fit | None = None
    step: str = ""


Judge = Callable[[Case, Series], Suspicion | None]


def judge(case: Case, series: Series) -> list[Suspicion]:
    """Every suspicion of the case's oracles, in the order of the table."""
    return [
        suspicion
        for oracle, ask in JUDGES.items()
        if oracle in case.oracles and (suspicion := ask(case, series)) is not None
    ]


def cost_reader(series: Series) -> Reader:
    """The channel that says most about cost: CPU-seconds from the answers themselves, else latency."""
    observations = [item for items in series.attack.values() for item in items if item.accepted]
    return cpu if observations and all(item.exact for item in observations) else latency


def curve(series: Series, read: Reader) -> Fit | None:
    """The fit over the accepted sizes in one channel; None with fewer than four of them."""
    points = [point for point in series.points(series.accepted, read) if point.value > 0]
    return fit([point.size for point in points], [point.value for point in points]) if len(points) >= 4 else None


def slope(case: Case, series: Series) -> Suspicion | None:
    """Cost grows faster than the case allows."""
    read = cost_reader(series)
    found = curve(series, read)
    points = series.points(series.accepted, read)
    if found is None or points[-1].value - points[0].value < MATTERS_S:
        return None
    steep = found.exponent > case.expect.exponent and found.low > _SURELY_SUPERLINEAR
    explosive = found.family is Family.EXPONENTIAL and points[-1].value > 8 * points[0].value
    # A cliff is another oracle's; the exponent of a power through it means nothing.
    if found.family is Family.CLIFF or not (steep or explosive):
        return None
    evidence = (
        f"cost grows as {found.describe()} in {case.feature}",
        f"{format_seconds(points[0].value)} at {points[0].size:g}, {format_seconds(points[-1].value)} at {points[-1].size:g}",
    )
    twin = series.points(series.accepted, read, twin=True)
    if twin:
        evidence += (f"its benign twin takes {format_seconds(twin[-1].value)} at {twin[-1].size:g}",)
    return Suspicion(
        Oracle.SLOPE, found.exponent, case.expect.exponent, "exponent", evidence, int(points[-1].size), found
    )


def cliff(case: Case, series: Series) -> Suspicion | None:
    """One more step of size multiplies the cost, where the twin's does not jump."""
    read = cost_reader(series)
    points = series.points(series.accepted, read)
    twin = {point.size: point.value for point in series.points(series.accepted, read, twin=True)}
    worst: tuple[float, int] | None = None
    for index in range(1, len(points)):
        before, at = points[index - 1], points[index]
        # Growth that the sizes explain is not a cliff; four points show how the curve went on.
        expected = max(at.size / before.size, 1.0) ** max(1.0, case.expect.exponent)
        jump = at.value / before.value / expected if before.value > 0 else 0.0
        mirrored = twin.get(before.size, 0) > 0 and twin.get(at.size, 0) / twin[before.size] > jump * expected / 2
        if (
            jump > _CLIFF
            and at.value - before.value > MATTERS_S
            and not mirrored
            and (worst is None or jump > worst[0])
        ):
            worst = jump, index
    if worst is None:
        return None
    before, at = points[worst[1] - 1], points[worst[1]]
    later = points[worst[1] + 1 :]
    if later and later[-1].value < at.value / 2:
        return None
    evidence = (
        f"{format_seconds(before.value)} at {before.size:g}, {format_seconds(at.value)} at {at.size:g} of {case.feature}",
    )
    return Suspicion(Oracle.CLIFF, worst[0], _CLIFF, "times", evidence, int(at.size), curve(series, read))


def twin(case: Case, series: Series) -> Suspicion | None:
    """The attack costs many times what harmless bytes of the same number cost."""
    for size in reversed(series.sizes):
        read = cost_reader(series)
        if read is latency and any(item.timed_out for item in series.attack[size]):
            mine = series.median(size, latency)
        else:
            mine = series.least(size, read)
        theirs = series.median(size, read, twin=True)
        if mine is None or theirs is None or not all(item.accepted for item in series.twin[size]):
            continue
        ratio = mine / max(theirs, 1e-4)
        if ratio > case.expect.twin_ratio and mine - theirs > MATTERS_S:
            evidence = (
                f"{format_seconds(mine)} against {format_seconds(theirs)} for a benign request of about the same bytes "
                f"({series.attack[size][0].trace.payload_bytes} B), at {size} of {case.feature}",
            )
            return Suspicion(Oracle.TWIN, ratio, case.expect.twin_ratio, "times", evidence, size, curve(series, read))
    return None


def collateral(case: Case, series: Series) -> Suspicion | None:
    """A benign neighbour gets slow or fails beside the attack, and not beside its twin."""
    storm = series.storm
    if storm is None:
        return None
    attacked, calm = storm.attack, max((storm.quiet, storm.twin), key=lambda window: window.canary_quantile(0.75))
    if attacked.canary_failures >= 3 and not calm.canary_failures and not storm.quiet.canary_failures:
        evidence = (
            f"{attacked.canary_failures} ordinary requests of another client failed beside the attack, none before",
        )
        return Suspicion(Oracle.COLLATERAL, attacked.canary_failures, 0, "failures", evidence, storm.size)
    mine, theirs = attacked.canary_quantile(0.75), calm.canary_quantile(0.75)
    if theirs <= 0 or mine / theirs <= _COLLATERAL_RATIO or mine - theirs <= _COLLATERAL_S:
        return None
    evidence = (
        f"three quarters of another client's ordinary requests took up to {format_seconds(mine)} beside the attack, "
        f"{format_seconds(theirs)} beside its benign twin",
    )
    return Suspicion(Oracle.COLLATERAL, mine / theirs, _COLLATERAL_RATIO, "times", evidence, storm.size)


def recovery(case: Case, series: Series) -> Suspicion | None:
    """After the storm the neighbour is still slow, or still fails."""
    storm = series.storm
    if storm is None:
        return None
    if storm.after.canary_failures >= 2 and not storm.quiet.canary_failures:
        evidence = (f"{storm.after.canary_failures} ordinary requests failed after the attack had ended",)
        return Suspicion(Oracle.RECOVERY, storm.after.canary_failures, 0, "failures", evidence, storm.size)
    after, quiet = storm.after.canary_quantile(0.5), storm.quiet.canary_quantile(0.5)
    if quiet <= 0 or after / quiet <= _RECOVERY_RATIO or after - quiet <= _COLLATERAL_S:
        return None
    evidence = (
        f"half of the ordinary requests after the attack took {format_seconds(after)} and more, {format_seconds(quiet)} before",
    )
    return Suspicion(Oracle.RECOVERY, after / quiet, _RECOVERY_RATIO, "times", evidence, storm.size)


def stall(case: Case, series: Series) -> Suspicion | None:
    """The health endpoint goes silent while the attack runs, and not while its twin does."""
    for size in reversed(series.sizes):
        gaps = sorted(item.window.gap_s for item in series.attack[size])
        twins = sorted(item.window.gap_s for item in series.twin.get(size, ()))
        # The least of the repeats: a neighbour on the machine does not stall it every time.
        mine, theirs = gaps[0], twins[len(twins) // 2] if twins else 0.0
        if mine > _STALL_S and mine > 3 * theirs:
            evidence = (
                f"health was silent for {format_seconds(mine)} while one request ran, {format_seconds(theirs)} beside its "
                f"twin, at {size} of {case.feature}",
            )
            return Suspicion(Oracle.STALL, mine, _STALL_S, "s", evidence, size)
    return None


def memory(case: Case, series: Series) -> Suspicion | None:
    """Memory grows beyond what the bytes explain, or is kept each time."""
    return _burst(case, series) or _leak(case, series)


def _burst(case: Case, series: Series) -> Suspicion | None:
    firsts = [items[0].memory.before for items in series.attack.values() if items[0].memory]
    base = min(firsts, default=0)
    for size in reversed(series.sizes):
        observed = [item for item in series.attack[size] if item.memory is not None]
        told = series.least(size, told_peak)
        if not observed and told is None:
            continue
        sent = series.attack[size][0].trace.payload_bytes
        # Against the least so far: what an earlier repeat took and did not give back is growth all the same.
        mine = told if not observed else float(max(item.memory.peak for item in observed if item.memory) - base)
        theirs = series.median(size, growth if observed else told_peak, twin=True) or 0.0
        allowed = case.expect.memory_floor_bytes + case.expect.bytes_per_byte * sent
        if mine is not None and mine > allowed and mine - theirs > MATTERS_BYTES and mine > 2 * theirs:
            evidence = (
                f"memory grew by {format_bytes(mine)} for {format_bytes(sent)} sent, by {format_bytes(theirs)} for its twin, "
                f"at {size} of {case.feature}",
            )
            return Suspicion(Oracle.MEMORY, mine, allowed, "bytes", evidence, size)
    return None


def _leak(case: Case, series: Series) -> Suspicion | None:
    for size in reversed(series.sizes):
        kept = [item.memory.after - item.memory.before for item in series.attack[size] if item.memory]
        # The first repeat fills caches and arenas, as it may; a leak takes the same again each time.
        later = kept[1:]
        trace = series.attack[size][0].trace
        bound = max(MIB, min(_LEAK_SHARE * trace.payload_bytes, _LEAK_BYTES_PER_STEP * len(trace.steps)))
        if len(later) >= 2 and len(trace.steps) >= 20 and min(later) > bound:
            evidence = (
                f"{format_bytes(min(later))} more were held after each of {len(later)} repeats of "
                f"{len(trace.steps)} requests ({format_bytes(trace.payload_bytes)})",
            )
            return Suspicion(Oracle.MEMORY, min(later), bound, "bytes", evidence, size)
    return None


def liveness(case: Case, series: Series) -> Suspicion | None:
    """The process ended, was replaced, or refuses connections after the attack."""
    for size in series.sizes:
        for item in series.attack[size]:
            if not item.alive or series.down or any(answer.error == "refused" for _, answer in item.measured):
                text = "its process was replaced or ended" if not item.alive else "it refused connections"
                evidence = (f"after the attack at {size} of {case.feature} {text}",)
                return Suspicion(Oracle.LIVENESS, 1, 0, "deaths", evidence, size)
    return None


def status(case: Case, series: Series) -> Suspicion | None:
    """An answer outside those that a sound server gives: a 5xx for the client's own mistake, a success for nonsense."""
    allowed = case.expect.statuses
    for size in series.sizes:
        for step, answer in (pair for item in series.attack[size] for pair in item.measured):
            code = answer.status
            overload = code == 503 and 503 not in allowed and answer.headers.get("retry-after") is not None
            wrong = code not in allowed if allowed else code >= 500
            # No answer at all is for other oracles; an honest "busy" is not about this request.
            if code and wrong and not overload:
                told = f"answered {code} ({_excerpt(answer)})"
                expected = "/".join(map(str, allowed)) if allowed else "4xx or success"
                evidence = (f"{step.label or case.feature} at {size}: {told}; expected {expected}",)
                return Suspicion(Oracle.STATUS, code, 499, "status", evidence, size, step=step.label)
    return None


def retry(case: Case, series: Series) -> Suspicion | None:
    """A request that can never succeed is refused with a status that clients repeat."""
    for size in series.sizes:
        items, twins = series.attack[size], series.twin.get(size, [])
        for index, step in enumerate(items[0].trace.steps):
            answers = [item.answers[index] for item in items if index < len(item.answers)]
            repeats = all(answer.status in _RETRYABLE for answer in answers) and len({a.status for a in answers}) == 1
            discouraged = any(answer.headers.get("x-should-retry") == "false" for answer in answers)
            if (
                step.measured
                and len(answers) >= 2
                and repeats
                and not discouraged
                and all(item.accepted for item in twins)
            ):
                evidence = (
                    f"{step.label or case.feature} at {size}: {len(answers)} times {answers[0].status}, which clients repeat, "
                    f"while ordinary requests succeed ({_excerpt(answers[0])})",
                )
                return Suspicion(Oracle.RETRY, answers[0].status, 499, "status", evidence, size, step=step.label)
    return None


def early(case: Case, series: Series) -> Suspicion | None:
    """A refusal that comes only after the body was taken, or after the work."""
    sizes = [size for size in series.sizes if any(item.status >= 400 for item in series.attack[size])]
    for size in reversed(sizes):
        taken = min(
            answer.taken_bytes for item in series.attack[size] for _, answer in item.measured if answer.status >= 400
        )
        if taken > case.expect.accepted_bytes:
            evidence = (
                f"{format_bytes(taken)} of the body were taken before the refusal; {format_bytes(case.expect.accepted_bytes)} "
                "would do",
            )
            return Suspicion(Oracle.EARLY, taken, case.expect.accepted_bytes, "bytes", evidence, size)
    return _late(case, series, sizes)


def _late(case: Case, series: Series, sizes: list[int]) -> Suspicion | None:
    costs = {size: series.least(size, latency) or 0.0 for size in sizes}
    base = min(
        (series.median(size, latency, twin=True) or 0.0 for size in series.sizes if size in series.twin), default=0.0
    )
    for size in reversed(sizes):
        sent = series.attack[size][0].trace.payload_bytes
        # What merely reading so many bytes may take, on a slow day: 50 MB/s.
        allowed = max(_LATE_RATIO * max(base, 0.005), MATTERS_S * 2) + sent / 50e6
        if costs[size] > allowed and not any(item.timed_out for item in series.attack[size]):
            statuses = sorted({item.status for item in series.attack[size]})
            evidence = (
                f"the refusal ({statuses[0]}) of {format_bytes(sent)} took {format_seconds(costs[size])}; an ordinary request "
                f"takes {format_seconds(base)}",
            )
            return Suspicion(Oracle.EARLY, costs[size], allowed, "s", evidence, size)
    return None


def equivalence(case: Case, series: Series) -> Suspicion | None:
    """What is refused in one form is accepted in another."""
    for size in series.sizes:
        verdicts = [_bypasses(item) for item in series.attack[size]]
        innocent = {label for item in series.twin.get(size, ()) for label in _bypasses(item)}
        # In every repeat, and not in the twin.
        always = [label for label in verdicts[0] if label not in innocent and all(label in other for other in verdicts)]
        if always:
            reference, other = always[0]
            evidence = (f"at {size} of {case.feature}: refused as {reference!r}, accepted as {other!r}",)
            return Suspicion(Oracle.EQUIVALENCE, len(always), 0, "ways in", evidence, size, step=other)
    return None


def _bypasses(item: Observation) -> list[tuple[str, str]]:
    groups: dict[str, list[tuple[Step, Answer]]] = {}
    for step, answer in zip(item.trace.steps, item.answers, strict=True):
        if step.group:
            groups.setdefault(step.group, []).append((step, answer))
    found = []
    for (reference, said), *others in groups.values():
        if said.refused and not said.ok:
            found += [(reference.label, step.label) for step, answer in others if answer.ok]
    return found


def connection(case: Case, series: Series) -> Suspicion | None:
    """A connection on which nothing is sent or read is held open."""
    for size in series.sizes:
        for item in series.attack[size]:
            held = [pair for pair in zip(item.trace.steps, item.answers, strict=True) if pair[1].kept_open]
            if held and max(answer.open_s for _, answer in held) > case.expect.close_s:
                worst = max(answer.open_s for _, answer in held)
                evidence = (
                    f"{len(held)} of {len(item.trace.steps)} connections were still open after {format_seconds(worst)}; "
                    f"{format_seconds(case.expect.close_s)} should do",
                )
                return Suspicion(Oracle.CONNECTION, worst, case.expect.close_s, "s", evidence, size)
    return None


def amplification(case: Case, series: Series) -> Suspicion | None:
    """Many response bytes for one request byte."""
    for size in reversed(series.sizes):
        item = series.attack[size][0]
        sent = max(1, item.trace.payload_bytes)
        ratio = item.response_bytes / sent
        if ratio > case.expect.response_ratio and item.response_bytes > 64 * 1024:
            evidence = (f"{format_bytes(item.response_bytes)} answered for {format_bytes(sent)} sent",)
            return Suspicion(Oracle.AMPLIFICATION, ratio, case.expect.response_ratio, "times", evidence, size)
    return None


def _excerpt(answer: Answer) -> str:
    text = answer.head[:80].decode("utf-8", "replace")
    return "".join(letter if letter.isprintable() else "?" for letter in text)


JUDGES: dict[Oracle, Judge] = {
    Oracle.LIVENESS: liveness,
    Oracle.SLOPE: slope,
    Oracle.CLIFF: cliff,
    Oracle.TWIN: twin,
    Oracle.STALL: stall,
    Oracle.MEMORY: memory,
    Oracle.COLLATERAL: collateral,
    Oracle.RECOVERY: recovery,
    Oracle.EARLY: early,
    Oracle.EQUIVALENCE: equivalence,
    Oracle.STATUS: status,
    Oracle.RETRY: retry,
    Oracle.CONNECTION: connection,
    Oracle.AMPLIFICATION: amplification,
}

# Channels for which a curve is drawn, and how they are called in events.
CHANNELS: dict[str, Reader] = {"latency_s": latency, "cpu_s": tree_cpu, "memory_bytes": growth}
