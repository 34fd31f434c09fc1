"""Cases of body encodings and media types: what a few bytes on the wire become.

P19 to P26 of research/attacks.md section 9. Bounds: at most 64 KiB on the wire and 64 MiB inflated, made here from a seed
of nothing but zeros and words.
"""

from __future__ import annotations

import gzip
import random
import zlib
from functools import lru_cache

from wickguard.probe.case import ANY_DIALECT, Case, Expect, Profile, Risk, Spelling, geometric
from wickguard.probe.cases.payload import NO_SUCH_ROUTE, REFUSED, SERVED_OR_REFUSED, document, place, prose, taxonomy
from wickguard.probe.finding import Oracle, Severity
from wickguard.probe.trace import Request, Trace, single
from wickguard.units import KIB, MIB


@lru_cache(maxsize=16)
def _packed(body: bytes, coding: str) -> bytes:
    return gzip.compress(body, 9, mtime=0) if coding == "gzip" else zlib.compress(body, 9)


def _encoded(request: Request, coding: str, body: bytes) -> Request:
    return Request(path=request.path, headers=(("Content-Encoding", coding),), body=body)


def _bomb(target: Spelling, size: int, chance: random.Random) -> Trace:
    request = place(target, b'"' + b"a " * (size // 2) + b'"')
    return single(_encoded(request, "gzip", _packed(request.body, "gzip")))


def _deflate_bomb(target: Spelling, size: int, chance: random.Random) -> Trace:
    request = place(target, b'"' + b"a " * (size // 2) + b'"')
    return single(_encoded(request, "deflate", _packed(request.body, "deflate")))


def _stacked(target: Spelling, size: int, chance: random.Random) -> Trace:
    request = target.request(["quiet river"])
    body = request.body
    for _ in range(size):
        body = gzip.compress(body, 1, mtime=0)
    return single(_encoded(request, ", ".join(["gzip"] * size), body))


def _bomb_elsewhere(target: Spelling, size: int, chance: random.Random) -> Trace:
    request = place(target, b'"' + b"a " * (size // 2) + b'"')
    body = _packed(request.body, "gzip")
    return single(Request(path=NO_SUCH_ROUTE, headers=(("Content-Encoding", "gzip"),), body=body))


def _parts(target: Spelling, size: int, chance: random.Random) -> Trace:
    part = b'--b\r\nContent-Disposition: form-data; name="input"\r\n\r\n\r\n'
    kind = ("Content-Type", "multipart/form-data; boundary=b")
    return single(Request(path=target.path, headers=(kind,), body=part * size + b"--b--\r\n"))


def _padding(target: Spelling, size: int, chance: random.Random) -> Trace:
    # What might begin a boundary and does not, before the first part and in it: each byte has to be looked at once.
    almost = b"\r\n--\r" * (size // 10)
    part = b'--b\r\nContent-Disposition: form-data; name="input"\r\n\r\n'
    kind = ("Content-Type", "multipart/form-data; boundary=b")
    return single(Request(path=target.path, headers=(kind,), body=almost + b"\r\n" + part + almost + b"\r\n--b--\r\n"))


def _fields(target: Spelling, size: int, chance: random.Random) -> Trace:
    kind = ("Content-Type", "application/x-www-form-urlencoded")
    return single(Request(path=target.path, headers=(kind,), body=b"input=a&" * size))


def _media_types(target: Spelling, size: int, chance: random.Random) -> Trace:
    body = document(target, [prose(64)])
    text = "&".join(f"{name}=a" for name in body).encode()
    return single(Request(path=target.path, headers=(("Content-Type", "text/plain"),), body=text))


CASES = (
    Case(
        id="P19",
        title="A gzip body is inflated beyond any limit",
        risk=Risk.LIGHT,
        dialects=ANY_DIALECT,
        feature="bytes when inflated",
        sizes=geometric(256 * KIB, 64 * MIB, 6),
        attack=_bomb,
        twin=None,
        oracles=frozenset({Oracle.MEMORY, Oracle.SLOPE, Oracle.STALL, Oracle.LIVENESS}),
        taxonomy=taxonomy("409 789"),
        severity=Severity.ERROR,
        # What is refused on the head, or inflated up to a limit, costs the same whatever it would become.
        expect=Expect(exponent=0.6, memory_floor_bytes=16 * MIB),
        remedy="refuse content encodings, or count bytes while inflating and stop at the limit",
    ),
    Case(
        id="P19.deflate",
        title="A deflate body is inflated beyond any limit",
        risk=Risk.LIGHT,
        dialects=ANY_DIALECT,
        feature="bytes when inflated",
        sizes=geometric(256 * KIB, 64 * MIB, 6),
        attack=_deflate_bomb,
        twin=None,
        oracles=frozenset({Oracle.MEMORY, Oracle.SLOPE, Oracle.STALL, Oracle.LIVENESS}),
        taxonomy=taxonomy("409 789"),
        severity=Severity.ERROR,
        expect=Expect(exponent=0.6, memory_floor_bytes=16 * MIB),
        profile=Profile.STANDARD,
        remedy="refuse content encodings, or count bytes while inflating and stop at the limit",
    ),
    Case(
        id="P20",
        title="Stacked encodings are undone one after the other",
        risk=Risk.LIGHT,
        dialects=ANY_DIALECT,
        feature="encodings",
        sizes=(1, 2, 4, 8, 16, 32),
        attack=_stacked,
        twin=None,
        oracles=frozenset({Oracle.STATUS, Oracle.LIVENESS}),
        taxonomy=taxonomy("409 834"),
        expect=Expect(statuses=SERVED_OR_REFUSED),
        profile=Profile.STANDARD,
        remedy="accept one encoding at most",
    ),
    Case(
        id="P21",
        title="A compressed body is inflated for a route that does not exist",
        risk=Risk.LIGHT,
        dialects=ANY_DIALECT,
        feature="bytes when inflated",
        sizes=geometric(256 * KIB, 64 * MIB, 5),
        attack=_bomb_elsewhere,
        twin=None,
        oracles=frozenset({Oracle.MEMORY, Oracle.SLOPE}),
        taxonomy=taxonomy("409 408"),
        expect=Expect(statuses=(*SERVED_OR_REFUSED, 401, 403), exponent=0.6, memory_floor_bytes=16 * MIB),
        profile=Profile.STANDARD,
        remedy="decide on route and key before touching the body, and close instead of draining",
    ),
    Case(
        id="P22",
        title="A multipart body of empty parts is parsed",
        risk=Risk.LIGHT,
        dialects=ANY_DIALECT,
        feature="parts",
        sizes=geometric(64, 16_384, 5),
        attack=_parts,
        twin=None,
        oracles=frozenset({Oracle.SLOPE, Oracle.STATUS, Oracle.MEMORY}),
        taxonomy=taxonomy("770 407"),
        expect=Expect(statuses=SERVED_OR_REFUSED),
        profile=Profile.STANDARD,
        remedy="refuse multipart on inference routes with 415",
    ),
    Case(
        id="P24",
        title="What is almost a boundary is looked at again and again",
        risk=Risk.LIGHT,
        dialects=ANY_DIALECT,
        feature="bytes of line ends and dashes",
        sizes=geometric(KIB, 256 * KIB, 5),
        attack=_padding,
        twin=None,
        oracles=frozenset({Oracle.SLOPE, Oracle.STALL, Oracle.STATUS, Oracle.EARLY}),
        taxonomy=taxonomy("834 779"),
        expect=Expect(statuses=SERVED_OR_REFUSED),
        profile=Profile.STANDARD,
        remedy="refuse multipart on inference routes with 415",
    ),
    Case(
        id="P26",
        title="A form of many fields is parsed",
        risk=Risk.LIGHT,
        dialects=ANY_DIALECT,
        feature="fields",
        sizes=geometric(256, 65_536, 5),
        attack=_fields,
        twin=None,
        oracles=frozenset({Oracle.SLOPE, Oracle.STATUS}),
        taxonomy=taxonomy("407 770"),
        expect=Expect(statuses=SERVED_OR_REFUSED),
        profile=Profile.STANDARD,
        remedy="refuse forms on inference routes with 415",
    ),
    Case(
        id="P26.type",
        title="A body of another media type upsets the server",
        risk=Risk.PASSIVE,
        dialects=ANY_DIALECT,
        feature="",
        sizes=(1,),
        attack=_media_types,
        twin=None,
        oracles=frozenset({Oracle.STATUS, Oracle.RETRY}),
        taxonomy=taxonomy("20"),
        expect=Expect(statuses=REFUSED),
        remedy="answer 415, or 400 when the body is not what is served",
    ),
)
