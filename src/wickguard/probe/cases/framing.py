"""Cases of HTTP/1.1 framing: what a head and the lengths of a body can make a server do before a request is one.

P ids of research/attacks.md section 9, as far as a client of one route can express them. Bounds: 8 MiB in one request.
"""

from __future__ import annotations

import random

from wickguard.probe.case import ANY_DIALECT, Case, Expect, Profile, Risk, Spelling, geometric
from wickguard.probe.cases.payload import (
    NO_SUCH_ROUTE,
    REFUSED,
    SERVED_OR_REFUSED,
    each,
    head,
    place,
    prose,
    raw,
    taxonomy,
)
from wickguard.probe.finding import Oracle, Severity
from wickguard.probe.trace import RAW_HOST, Pace, Request, Step, Trace, single
from wickguard.units import KIB, MIB

_FOREIGN = 10**11


def _long_value(target: Spelling, size: int, chance: random.Random) -> Trace:
    request = target.request(["quiet river"])
    return single(Request(path=request.path, headers=(("X-Long", "a" * size),), body=request.body))


def _headers(target: Spelling, size: int, chance: random.Random) -> Trace:
    request = target.request(["quiet river"])
    fields = tuple((f"X-Field-{index}", "a") for index in range(size))
    return single(Request(path=request.path, headers=fields, body=request.body))


def _repeated_header(target: Spelling, size: int, chance: random.Random) -> Trace:
    request = target.request(["quiet river"])
    return single(Request(path=request.path, headers=(("X-Same", "a"),) * size, body=request.body))


def _long_target(target: Spelling, size: int, chance: random.Random) -> Trace:
    request = target.request(["quiet river"])
    return single(Request(path=f"{request.path}?q={'a' * size}", body=request.body))


def _lengths(target: Spelling) -> list[tuple[str, Request]]:
    lengths = (str(_FOREIGN), str(2**63), str(2**64 + 1), "-1", "+5", "0x10", "1e3")
    found = [(f"Content-Length: {value}", raw(target, [f"Content-Length: {value}"])) for value in lengths]
    # Twice the same may be read as once (RFC 9112, 6.3), so here is what it promises.
    return [*found, ("Content-Length: 5,5", raw(target, ["Content-Length: 5,5"], b"{}   "))]


def _expectations(target: Spelling) -> list[tuple[str, Request]]:
    fields = ["Expect: 100-continue", f"Content-Length: {_FOREIGN}", "Content-Type: application/json"]
    elsewhere = Request(path=NO_SUCH_ROUTE, raw=head(target, fields, path=NO_SUCH_ROUTE))
    return [("body beyond any limit", raw(target, fields)), ("no such route", elsewhere)]


def _tiny_chunks(target: Spelling, size: int, chance: random.Random) -> Trace:
    # The document, then a space for each chunk: as many chunks, and the same request.
    body = target.request(["quiet river"]).body
    fields = ["Transfer-Encoding: chunked", "Content-Type: application/json"]
    chunks = b"%x\r\n%b\r\n" % (len(body), body) + b"1\r\n \r\n" * size + b"0\r\n\r\n"
    return single(raw(target, fields, chunks))


def _one_chunk(target: Spelling, size: int, chance: random.Random) -> Trace:
    body = target.request(["quiet river"]).body + b" " * size * 6
    fields = ["Transfer-Encoding: chunked", "Content-Type: application/json"]
    return single(raw(target, fields, b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)))


def _chunk_sizes(target: Spelling) -> list[tuple[str, Request]]:
    sizes = ("FFFFFFFFFFFFFFFF", "FFFFFFFFFFFFFFFFF", "-1", "0x1", "1 1", "g", "")
    fields = ["Transfer-Encoding: chunked", "Content-Type: application/json"]
    return [(f"chunk size {size!r}", raw(target, fields, f"{size}\r\n{{}}\r\n".encode())) for size in sizes]


def _trailers(target: Spelling, size: int, chance: random.Random) -> Trace:
    body = target.request(["quiet river"]).body
    trailers = b"".join(b"X-Trailer-%d: a\r\n" % index for index in range(size))
    fields = ["Transfer-Encoding: chunked", "Content-Type: application/json"]
    return single(raw(target, fields, b"%x\r\n%b\r\n0\r\n%b\r\n" % (len(body), body, trailers)))


def _endless(target: Spelling, size: int, chance: random.Random) -> Trace:
    # Without a Content-Length nothing but counting can stop it.
    request = place(target, b'"%b"' % prose(size).encode())
    return Trace((Step(request, pace=Pace(piece_bytes=64 * KIB, gap_s=0.002, chunked=True), label="chunked"),))


def _declared(target: Spelling, size: int, chance: random.Random) -> Trace:
    request = place(target, b'"%b"' % prose(size).encode())
    return Trace((Step(request, pace=Pace(piece_bytes=64 * KIB, gap_s=0.002), label="declared"),))


def _smuggled(target: Spelling) -> list[tuple[str, Request]]:
    body = b"2\r\n{}\r\n0\r\n\r\n"
    both = ["Content-Length: 12", "Transfer-Encoding: chunked"]
    return [
        ("Content-Length and Transfer-Encoding", raw(target, both, body)),
        ("two Content-Lengths", raw(target, ["Content-Length: 2", "Content-Length: 3"], b"{} ")),
        ("unknown transfer coding", raw(target, ["Transfer-Encoding: xchunked"], body)),
        ("folded header", raw(target, ["X-Folded: a\r\n b", "Content-Length: 2"], b"{}")),
        ("space before the colon", raw(target, ["Content-Length : 2"], b"{}")),
    ]


def _garbage(target: Spelling) -> list[tuple[str, Request]]:
    heads = {
        "TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64 + b"\r\n\r\n",
        "HTTP/0.9": f"GET {target.path}\r\n\r\n".encode(),
        "HTTP/9.9": f"GET {target.path} HTTP/9.9\r\n".encode() + RAW_HOST + b"\r\n",
        "NUL in a header": head(target, ["X: a\0b"], method="GET"),
        "no header name": head(target, [": a"], method="GET"),
        "binary": bytes(range(1, 256)) + b"\r\n\r\n",
    }
    return [(label, Request(path=target.path, raw=data)) for label, data in heads.items()]


_UPGRADE = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"]


def _upgrades(target: Spelling) -> list[tuple[str, Request]]:
    key = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="
    heads = {
        "WebSocket": [*_UPGRADE, key],
        "WebSocket under a name that is not ASCII": [*_UPGRADE, key, "Sec-WebSocket-Protocol: caf\u00e9"],
        "WebSocket with a key of 4 KiB": [*_UPGRADE, f"Sec-WebSocket-Key: {'A' * 4 * KIB}"],
        "WebSocket of no version": [*_UPGRADE[:2], key],
        "HTTP/2 by upgrade": ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"],
    }
    return [
        (label, Request("GET", target.path, raw=head(target, fields, method="GET"))) for label, fields in heads.items()
    ]


CASES = (
    Case(
        id="P04",
        title="A header value of any length is taken",
        risk=Risk.LIGHT,
        dialects=ANY_DIALECT,
        feature="bytes of one header",
        sizes=geometric(KIB, 4 * MIB, 4),
        attack=_long_value,
        twin=None,
        oracles=frozenset({Oracle.STATUS, Oracle.MEMORY, Oracle.LIVENESS}),
        taxonomy=taxonomy("770 789"),
        expect=Expect(statuses=SERVED_OR_REFUSED, memory_floor_bytes=8 * MIB),
        remedy="bound the bytes of a head before it is stored",
    ),
    Case(
        id="P05",
        title="Any number of headers is taken",
        risk=Risk.LIGHT,
        dialects=ANY_DIALECT,
        feature="headers",
        sizes=geometric(32, 20_000, 5),
        attack=_headers,
        twin=None,
        oracles=frozenset({Oracle.SLOPE, Oracle.STATUS, Oracle.MEMORY}),
        taxonomy=taxonomy("770 407"),
        expect=Expect(statuses=SERVED_OR_REFUSED),
        remedy="bound the number of headers",
    ),
    Case(
        id="P06",
        title="A repeated header is joined at quadratic cost",
        risk=Risk.LIGHT,
        dialects=ANY_DIALECT,
        feature="headers of one name",
        sizes=geometric(32, 20_000, 5),
        attack=_repeated_header,
        twin=_headers,
        oracles=frozenset({Oracle.SLOPE, Oracle.TWIN, Oracle.STALL}),
        taxonomy=taxonomy("407"),
        expect=Expect(statuses=SERVED_OR_REFUSED),
        profile=Profile.STANDARD,
        remedy="bound the number of headers, and join repeated ones in one pass",
    ),
    Case(
        id="P07",
        title="A request target of any length is taken",
        risk=Risk.LIGHT,
        dialects=ANY_DIALECT,
        feature="bytes of the target",
        sizes=geometric(KIB, MIB, 4),
        attack=_long_target,
        twin=None,
        oracles=frozenset({Oracle.SLOPE, Oracle.MEMORY, Oracle.STATUS}),
        taxonomy=taxonomy("770"),
        expect=Expect(statuses=SERVED_OR_REFUSED, memory_floor_bytes=8 * MIB),
        remedy="bound the request target to a few kilobytes",
    ),
    Case(
        id="P10",
        title="Impossible lengths are believed",
        risk=Risk.PASSIVE,
        dialects=ANY_DIALECT,
        feature="",
        sizes=(1,),
        attack=each(_lengths, hold_s=2.0),
        twin=None,
        oracles=frozenset({Oracle.STATUS, Oracle.MEMORY, Oracle.LIVENESS}),
        taxonomy=taxonomy("130 190 1284"),
        expect=Expect(statuses=REFUSED, may_wait=False),
        remedy="refuse a Content-Length that is malformed or above the limit on the head alone",
    ),
    Case(
        id="P11",
        title="A body that will be refused is invited",
        risk=Risk.PASSIVE,
        dialects=ANY_DIALECT,
        feature="",
        sizes=(1,),
        attack=each(_expectations, hold_s=2.0),
        twin=None,
        oracles=frozenset({Oracle.STATUS}),
        taxonomy=taxonomy("408 405"),
        expect=Expect(statuses=REFUSED, may_wait=False),
        remedy="check route, key and length before answering 100 Continue",
    ),
    Case(
        id="P12",
        title="One-byte chunks cost far more than their bytes",
        risk=Risk.LIGHT,
        dialects=ANY_DIALECT,
        feature="chunks",
        sizes=geometric(500, 64_000, 5),
        attack=_tiny_chunks,
        twin=_one_chunk,
        oracles=frozenset({Oracle.SLOPE, Oracle.STALL}),
        taxonomy=taxonomy("407 834"),
        expect=Expect(statuses=SERVED_OR_REFUSED),
        profile=Profile.STANDARD,
        remedy="bound the number of chunks, or their mean size",
    ),
    Case(
        id="P14",
        title="Malformed chunk sizes are accepted or fatal",
        risk=Risk.PASSIVE,
        dialects=ANY_DIALECT,
        feature="",
        sizes=(1,),
        attack=each(_chunk_sizes, hold_s=2.0),
        twin=None,
        oracles=frozenset({Oracle.STATUS, Oracle.LIVENESS}),
        taxonomy=taxonomy("190 130"),
        expect=Expect(statuses=REFUSED),
        remedy="parse chunk sizes strictly and check them against the limit before adding",
    ),
    Case(
        id="P15",
        title="Any number of trailers is taken",
        risk=Risk.LIGHT,
        dialects=ANY_DIALECT,
        feature="trailers",
        sizes=geometric(10, 20_000, 4),
        attack=_trailers,
        twin=None,
        oracles=frozenset({Oracle.SLOPE, Oracle.MEMORY}),
        taxonomy=taxonomy("770"),
        profile=Profile.STANDARD,
        remedy="refuse trailers, or bound them as headers",
    ),
    Case(
        id="P16",
        title="A chunked body is read far beyond the limit before it is refused",
        risk=Risk.LIGHT,
        dialects=ANY_DIALECT,
        feature="bytes of the body",
        sizes=(MIB, 6 * MIB),
        attack=_endless,
        twin=None,
        oracles=frozenset({Oracle.EARLY, Oracle.MEMORY, Oracle.LIVENESS}),
        taxonomy=taxonomy("770 789"),
        expect=Expect(accepted_bytes=3 * MIB),
        severity=Severity.WARNING,
        remedy="count the bytes of a chunked body as they come and refuse at the limit",
    ),
    Case(
        id="P16.declared",
        title="A body that is declared too long is read before it is refused",
        risk=Risk.LIGHT,
        dialects=ANY_DIALECT,
        feature="bytes of the body",
        sizes=(MIB, 6 * MIB),
        attack=_declared,
        twin=None,
        oracles=frozenset({Oracle.EARLY, Oracle.MEMORY}),
        taxonomy=taxonomy("770 408"),
        expect=Expect(accepted_bytes=3 * MIB),
        remedy="refuse on Content-Length, before reading",
    ),
    Case(
        id="P17",
        title="Ambiguous framing is accepted",
        risk=Risk.PASSIVE,
        dialects=ANY_DIALECT,
        feature="",
        sizes=(1,),
        attack=each(_smuggled),
        twin=None,
        oracles=frozenset({Oracle.STATUS, Oracle.LIVENESS}),
        taxonomy=taxonomy("444"),
        expect=Expect(statuses=REFUSED),
        remedy="answer 400 and close when a head frames its body in two ways",
    ),
    Case(
        id="P34",
        title="An upgrade to another protocol upsets the server",
        risk=Risk.PASSIVE,
        dialects=ANY_DIALECT,
        feature="",
        sizes=(1,),
        attack=each(_upgrades),
        twin=None,
        oracles=frozenset({Oracle.LIVENESS, Oracle.STATUS}),
        taxonomy=taxonomy("248 400"),
        expect=Expect(statuses=(*SERVED_OR_REFUSED, 426)),
        remedy="refuse upgrades where nothing is served over them",
    ),
    Case(
        id="P32",
        title="Bytes that are no HTTP upset the server",
        risk=Risk.PASSIVE,
        dialects=ANY_DIALECT,
        feature="",
        sizes=(1,),
        attack=each(_garbage),
        twin=None,
        oracles=frozenset({Oracle.LIVENESS, Oracle.STATUS}),
        taxonomy=taxonomy("20 755"),
        expect=Expect(statuses=REFUSED),
        remedy="answer 400 and close",
    ),
)
