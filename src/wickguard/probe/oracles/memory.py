"""Oracles of memory: it grows beyond what the bytes explain, or is kept each time. Pure."""

from __future__ import annotations

from wickguard.probe.case import Case
from wickguard.probe.finding import Oracle
from wickguard.probe.oracles.suspicion import MATTERS_BYTES, Suspicion
from wickguard.probe.series import Series, growth, told_peak
from wickguard.units import MIB, format_bytes

# A leak keeps at least this share of what was sent, or this many bytes a request, every time.
_LEAK_SHARE = 0.25
_LEAK_BYTES_PER_STEP = 4096


def memory(case: Case, series: Series) -> Suspicion | None:
    """Memory grows beyond what the bytes explain, or is kept each time."""
    return _burst(case, series) or _leak(case, series)


def _burst(case: Case, series: Series) -> Suspicion | None:
    base = series.least_bytes or 0
    for size in reversed(series.sizes):
        observed = [item for item in series.attack[size] if item.memory is not None]
        told = series.least(size, told_peak)
        if not observed and told is None:
            continue
        sent = series.attack[size][0].trace.payload_bytes
        # Against the least so far: what an earlier trace took and did not give back is growth all the same.
        mine = told if not observed else float(max(item.memory.peak for item in observed if item.memory) - base)
        theirs = series.median(size, growth if observed else told_peak, twin=True) or 0.0
        allowed = case.expect.memory_floor_bytes + case.expect.bytes_per_byte * sent
        if mine is not None and mine > allowed and mine - theirs > MATTERS_BYTES and mine > 2 * theirs:
            evidence = (
                f"memory grew by {format_bytes(mine)} for {format_bytes(sent)} sent, by {format_bytes(theirs)} for its twin, "
                f"at {size} of {case.feature or 'its only size'}",
            )
            return Suspicion(Oracle.MEMORY, mine, allowed, "bytes", evidence, size)
    return None


def _leak(case: Case, series: Series) -> Suspicion | None:
    for size in reversed(series.sizes):
        kept, usual = (
            [item.memory.after - item.memory.before for item in items if item.memory]
            for items in (series.attack[size], series.twin.get(size, []))
        )
        # What the twin leaves behind as well is no fault of what sets the attack apart.
        theirs = max(0, min(usual[1:], default=0))
        # The first repeat fills caches and arenas, as it may; a leak takes the same again each time.
        later = kept[1:]
        trace = series.attack[size][0].trace
        bound = max(MIB, min(_LEAK_SHARE * trace.payload_bytes, _LEAK_BYTES_PER_STEP * len(trace.steps)))
        if len(later) >= 2 and len(trace.steps) >= 20 and min(later) - theirs > bound:
            evidence = (
                f"{format_bytes(min(later))} more were held after each of {len(later)} repeats of "
                f"{len(trace.steps)} requests ({format_bytes(trace.payload_bytes)})",
            )
            return Suspicion(Oracle.MEMORY, min(later), bound, "bytes", evidence, size)
    return None
