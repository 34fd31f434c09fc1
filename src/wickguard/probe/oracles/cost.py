"""Oracles of cost: it grows too fast, jumps, or exceeds what harmless bytes cost.

An exponent needs its interval clear of linear, a jump needs a twin that does not jump; and what is below `MATTERS_S` is
nobody's trouble. Pure.
"""

from __future__ import annotations

from wickguard.probe.case import Case
from wickguard.probe.finding import Oracle
from wickguard.probe.fit import Family, Fit, fit
from wickguard.probe.oracles.suspicion import MATTERS_S, Suspicion
from wickguard.probe.series import Reader, Series, cpu, latency, tokens, tree_cpu
from wickguard.units import KIB, format_bytes, format_seconds

# By so much the lower end of an exponent's interval may stay below the bound that the exponent itself exceeds.
_INTERVAL = 0.15
_FEWEST_SIZES = 4
_EXPLAINED = 0.25
_CLIFF = 3.0
# Of the delays of repeated ordinary requests, the one that counts as the machine's noise, and how far above it an effect is.
_UNUSUAL, _NOISES = 0.8, 3.0
_AMPLIFIED_BYTES = 64 * KIB


def cost_reader(series: Series) -> Reader:
    """The channel that says most about cost: CPU-seconds where they explain the latency, else the latency.

    The answers' own are best, then the process tree's or /metrics'; a server that sleeps or waits shows in latency alone.
    """
    observations = [item for size in comparable(series) for item in series.attack[size]]
    if observations and all(item.exact for item in observations):
        return cpu
    # The quickest of the largest: on a busy machine latency is mostly waiting for the processor.
    largest = min(series.attack[comparable(series)[-1]], key=lambda item: item.latency_s) if observations else None
    explained = largest is not None and (largest.cpu_s or 0.0) > _EXPLAINED * largest.latency_s
    return tree_cpu if explained and all(item.cpu_s is not None for item in observations) else latency


def matters_s(series: Series, read: Reader) -> float:
    """The least difference that is worth a word: of latencies, several times what the machine did to ordinary requests."""
    if read is not latency:
        return MATTERS_S
    waited = []
    for items in series.twin.values():
        least = min(item.latency_s for item in items)
        waited += [item.latency_s - least for item in items if len(items) > 1]
    usual = sorted(waited)[int(_UNUSUAL * len(waited))] if waited else 0.0
    return max(MATTERS_S, _NOISES * usual)


def comparable(series: Series) -> list[int]:
    """The sizes that one curve may go through: accepted ones; if those are few, the refused ones (a refusal has a cost)."""
    refused = series.refused
    return refused if len(series.accepted) < _FEWEST_SIZES <= len(refused) else series.accepted


def curve(series: Series, read: Reader) -> Fit | None:
    """The fit over the comparable sizes in one channel; None with fewer than four of them."""
    points = [point for point in series.points(comparable(series), read) if point.value > 0]
    if len(points) < _FEWEST_SIZES:
        return None
    return fit([point.size for point in points], [point.value for point in points])


def slope(case: Case, series: Series) -> Suspicion | None:
    """Cost grows faster than the case allows: in CPU time, which a busy machine does not distort, or in what costs most."""
    return _steep(case, series, tree_cpu) or _steep(case, series, cost_reader(series))


def _steep(case: Case, series: Series, read: Reader) -> Suspicion | None:
    found = curve(series, read)
    points = series.points(comparable(series), read)
    if found is None or points[-1].value - points[0].value < matters_s(series, read):
        return None
    steep = found.exponent > case.expect.exponent and found.low > case.expect.exponent - _INTERVAL
    explosive = found.family is Family.EXPONENTIAL and points[-1].value > 8 * points[0].value
    # Where a line explains the points best, the exponent of a power through them is that of their noise.
    mild = case.expect.exponent >= 1 and found.family in (Family.LINEAR, Family.N_LOG_N)
    # A cliff is another oracle's; the exponent of a power through it means nothing.
    if mild or found.family is Family.CLIFF or not (steep or explosive):
        return None
    evidence: tuple[str, ...] = (
        f"cost grows as {found.describe()} in {case.feature}",
        f"{format_seconds(points[0].value)} at {points[0].size:g}, {format_seconds(points[-1].value)} at {points[-1].size:g}",
    )
    twin = series.points(comparable(series), read, twin=True)
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
            and at.value - before.value > matters_s(series, read)
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
        # What the target counts as tokens it can charge: only cost beyond its own count is amplification.
        counted = (series.least(size, tokens) or 0.0) / max(1.0, series.median(size, tokens, twin=True) or 0.0)
        ratio = mine / max(theirs, 1e-4) / max(1.0, counted if series.least(size, tokens) else 1.0)
        if ratio > case.expect.twin_ratio and mine - theirs > matters_s(series, read):
            evidence = (
                f"{format_seconds(mine)} against {format_seconds(theirs)} for a benign request of about the same bytes "
                f"({series.attack[size][0].trace.payload_bytes} B), at {size} of {case.feature}",
            )
            return Suspicion(Oracle.TWIN, ratio, case.expect.twin_ratio, "times", evidence, size, curve(series, read))
    return None


def amplification(case: Case, series: Series) -> Suspicion | None:
    """Many response bytes for one request byte."""
    for size in reversed(series.sizes):
        item = series.attack[size][0]
        sent = max(1, item.trace.payload_bytes)
        ratio = item.response_bytes / sent
        if ratio > case.expect.response_ratio and item.response_bytes > _AMPLIFIED_BYTES:
            evidence = (f"{format_bytes(item.response_bytes)} answered for {format_bytes(sent)} sent",)
            return Suspicion(Oracle.AMPLIFICATION, ratio, case.expect.response_ratio, "times", evidence, size)
    return None
