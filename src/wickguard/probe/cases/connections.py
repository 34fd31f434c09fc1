"""Cases of connections: what clients can hold that say nothing, read nothing, come and go, or leave in the middle.

P ids of research/attacks.md section 9. Bounds: at most 64 connections at once, 15 s in one trace.
"""

from __future__ import annotations

import random

from wickguard.probe.case import ANY_DIALECT, Case, Expect, Profile, Risk, Spelling, family
from wickguard.probe.cases.payload import (
    head,
    prose,
    taxonomy,
)
from wickguard.probe.finding import Oracle, Severity
from wickguard.probe.trace import RAW_HOST, Pace, Reading, Request, Step, Trace
from wickguard.units import KIB, MIB

# A head must be over by then; connections are held a little longer, to see it.
HEAD_S = 12.0
HOLD_S = HEAD_S + 1.5


def _silent(target: Spelling, size: int, chance: random.Random) -> Trace:
    step = Step(Request(path=target.path, raw=b""), hold_s=HOLD_S, complete=False, measured=False, label="silent")
    return Trace((step,) * size)


def _slow_head(target: Spelling, size: int, chance: random.Random) -> Trace:
    start = f"POST {target.path} HTTP/1.1\r\n".encode() + RAW_HOST + b"X-Slow: "
    request = Request(path=target.path, raw=start + b"a" * 64)
    pace = Pace(piece_bytes=len(start) // 4, gap_s=1.0)
    step = Step(request, pace=pace, hold_s=HOLD_S, complete=False, measured=False, label="slow head")
    return Trace((step,) * size)


def _slow_body(target: Spelling, size: int, chance: random.Random) -> Trace:
    request = target.request(["quiet river"])
    # A byte every half second of a body that is declared a thousand times as long.
    slow = Request(path=request.path, headers=(("Content-Length", "65536"),), body=request.body[:1] + b" " * 30)
    pace = Pace(piece_bytes=1, gap_s=0.5)
    return Trace((Step(slow, pace=pace, hold_s=HOLD_S, complete=False, measured=False, label="slow body"),) * size)


def _pipelined(target: Spelling, size: int, chance: random.Random) -> Trace:
    request = target.request(["a"] * 32) if target.dialect != "oip" else target.request(["a"])
    one = head(target, ["Content-Type: application/json", f"Content-Length: {len(request.body)}"]) + request.body
    step = Step(Request(path=target.path, raw=one * size), reading=Reading.NOTHING, hold_s=4.0, measured=False)
    return Trace((step,), note="pipelined requests whose answers are not read")


def _churn(target: Spelling, size: int, chance: random.Random) -> Trace:
    request = Request(path=target.path, raw=b"")
    gone = (Step(request, at_s=index / 200, reading=Reading.HANG_UP, measured=False) for index in range(size))
    return Trace(tuple(gone))


def _abandoned(target: Spelling, size: int, chance: random.Random) -> Trace:
    # Rows of a tensor are dearer than bytes of a text.
    return _hang_ups(target.request([prose(KIB // 2 if target.dialect == "oip" else 4 * KIB)]), size)


def _abandoned_small(target: Spelling, size: int, chance: random.Random) -> Trace:
    return _hang_ups(target.request(["quiet river"]), size)


def _hang_ups(request: Request, count: int) -> Trace:
    # Late enough for the target to have begun.
    gone = (
        Step(request, at_s=index * 0.02, reading=Reading.HANG_UP, hold_s=0.05, measured=False) for index in range(count)
    )
    return Trace(tuple(gone), note="valid requests whose client soon hangs up")


_held = family(
    risk=Risk.LIGHT,
    dialects=ANY_DIALECT,
    feature="connections",
    sizes=(24,),
    twin=None,
    oracles=frozenset({Oracle.CONNECTION, Oracle.COLLATERAL, Oracle.STALL}),
    expect=Expect(close_s=HEAD_S),
)

CASES = (
    _held(
        "P01",
        "Connections that say nothing are kept open",
        _silent,
        taxonomy=taxonomy("T29 770 410"),
        profile=Profile.STANDARD,
        remedy="close a connection whose first byte does not come within ten seconds",
    ),
    _held(
        "P02",
        "A head that trickles in keeps its connection open",
        _slow_head,
        taxonomy=taxonomy("T29 400 770"),
        remedy="give a request head an absolute deadline, not an idle one",
    ),
    _held(
        "P09",
        "A body that trickles in keeps its connection open",
        _slow_body,
        taxonomy=taxonomy("T29 400 770"),
        profile=Profile.STANDARD,
        remedy="demand a least rate of a body, and bound how many one caller may have on their way",
    ),
    Case(
        id="P27",
        title="Answers that nobody reads are buffered without a bound",
        risk=Risk.LIGHT,
        dialects=ANY_DIALECT,
        feature="pipelined requests",
        sizes=(160, 640),
        attack=_pipelined,
        twin=None,
        oracles=frozenset({Oracle.MEMORY}),
        taxonomy=taxonomy("770 400"),
        # One answer for each connection is all that a sound server holds.
        expect=Expect(memory_floor_bytes=8 * MIB),
        severity=Severity.ERROR,
        remedy="serve the next request of a connection only when the answer before it has left, under a write deadline",
    ),
    Case(
        id="P29",
        title="Connections that come and go slow down everybody",
        risk=Risk.LIGHT,
        dialects=ANY_DIALECT,
        feature="connections",
        sizes=(200,),
        attack=_churn,
        twin=None,
        oracles=frozenset({Oracle.COLLATERAL, Oracle.STALL, Oracle.LIVENESS}),
        taxonomy=taxonomy("T29 799"),
        profile=Profile.STANDARD,
        remedy="accept connections at a bounded rate per address",
    ),
    Case(
        id="P30",
        title="Work goes on for clients that have left",
        risk=Risk.LIGHT,
        dialects=ANY_DIALECT,
        feature="abandoned requests",
        sizes=(32,),
        attack=_abandoned,
        twin=_abandoned_small,
        oracles=frozenset({Oracle.COLLATERAL, Oracle.RECOVERY, Oracle.LIVENESS}),
        taxonomy=taxonomy("T29 404 405"),
        severity=Severity.ERROR,
        remedy="stop the work when its client leaves, and free its place when the work has stopped",
        pause_s=2.5,
    ),
)
