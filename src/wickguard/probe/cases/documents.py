"""Cases of JSON and of the shape of a document: depth, count, maps, numbers, errors, and the same thing said in other words.

J and N ids (N: numbers and counts that any API has; the catalogue has them per API). Bounds: 1 MiB in one document; nesting
deep enough to end a process only where the risk class says so.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from wickguard.probe.case import ANY_DIALECT, Case, Expect, Intake, Profile, Risk, Spelling, geometric
from wickguard.probe.cases.payload import (
    COLLIDING,
    REFUSED,
    SERVED_OR_REFUSED,
    TEXT,
    beside,
    document,
    each,
    number,
    paced,
    place,
    prose,
    taxonomy,
    texts,
    values,
)
from wickguard.probe.finding import Oracle, Severity
from wickguard.probe.trace import Request, Step, Trace, single
from wickguard.units import KIB, MIB


def _nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


def _unclosed(depth: int) -> bytes:
    return b'{"a":' * depth


def _deep_field(target: Spelling, size: int, chance: random.Random) -> Trace:
    return single(beside(target, "wickguard_probe", _nested(size)))


def _unknown_keys(target: Spelling, size: int, chance: random.Random) -> Trace:
    pairs = {f"unknown_{index}": 0 for index in range(size)}
    return single(target.json(json.dumps(document(target) | pairs).encode()))


def _list_of(item: bytes, count: int) -> bytes:
    return b"[" + b",".join([item] * count) + b"]"


def _colliding(size: int) -> bytes:
    return b"[" + b",".join(b"%d" % (index * COLLIDING) for index in range(1, size + 1)) + b"]"


def _scattered(size: int) -> bytes:
    # As many integers of as many digits that do not collide.
    return b"[" + b",".join(b"%d" % (index * COLLIDING + index) for index in range(1, size + 1)) + b"]"


def _spaces(target: Spelling, size: int, chance: random.Random) -> Trace:
    return single(target.json(target.request(["quiet river"]).body[:-1] + b" " * size + b"}"))


def _one_wrong(target: Spelling, size: int, chance: random.Random) -> Trace:
    return single(place(target, b"[1.5" + b',"a"' * (size - 1) + b"]"))


def _odd_numbers(target: Spelling) -> list[tuple[str, Request]]:
    literals = (
        "1e309",
        "1e400",
        "-1e400",
        "NaN",
        "Infinity",
        "-Infinity",
        "-0",
        "1e-400",
        "9" * 400,
        "0." + "3" * 4000,
    )
    return [(f"number {literal[:12]}", place(target, b"[" + literal.encode() + b"]")) for literal in literals]


# A selection of the JSONTestSuite (Nicolas Seriot, 2016): must be refused, and may be either but never fatal.
_MALFORMED = (
    "", " ", "{", "[", "]", "[1,]", "[,1]", '{"a"}', '{"a":1,}', '{"a":1,,"b":2}', "{'a':1}", '["\\x41"]', '["\\u00A"]', "[01]",
    "[+1]", "[.5]", "[1.]", "[0x1]", "nope", "True", '"a" "b"', '{"a":1}#', '["\t"]', '["a\nb"]', "\ufeff1", "[1e]", "[-]",
)  # fmt: skip
_BYTES = (b'["\xff"]', b'["\xe2\x82"]', b'["\xc0\xaf"]', b'["\xed\xa0\x80"]', '"a"'.encode("utf-16-le"), b'["\x00"]')
_EITHER = ('["\\ud800"]', '["\\ude39\\ud83d"]', '["\\u0000"]', '{"a":1,"a":2}', "[9007199254740993]", '["\ufffe"]')


def _malformed(target: Spelling) -> list[tuple[str, Request]]:
    documents = [*(text.encode() for text in _MALFORMED), *_BYTES]
    return [(f"malformed {body[:16]!r}", target.json(body)) for body in documents if body]


def _legal(target: Spelling) -> list[tuple[str, Request]]:
    return [(f"odd {value[:16]!r}", place(target, value.encode())) for value in _EITHER]


def _empty_inputs(target: Spelling) -> list[tuple[str, Request]]:
    found = [
        (f"input {value}", place(target, value.encode())) for value in ("[]", '""', '[""]', "null", "0", "{}", "[[]]")
    ]
    return [*found, ("no fields", target.json(b"{}")), ("a list", target.json(b"[]")), ("null", target.json(b"null"))]


def _everywhere(target: Spelling, inputs: Sequence[str]) -> Trace:
    steps = [Step(_whole(target.request(inputs)), group="everywhere", label=target.path)]
    for index, path in enumerate(target.aliases, 1):
        steps.append(Step(_whole(target.on(path, inputs)), at_s=0.05 * index, group="everywhere", label=path))
    return Trace(tuple(steps), note="the same inputs on each route of the target")


def _whole(request: Request) -> Request:
    # TEI cuts long texts off by default, which is no way around a limit on them.
    if not request.path.endswith("/embed"):
        return request
    return replace(request, body=json.dumps(json.loads(request.body) | {"truncate": False}).encode())


def _same_overload(target: Spelling, size: int, chance: random.Random) -> Trace:
    """The same inputs on every route: what one refuses, none may serve."""
    return _everywhere(target, [prose(size)])


def _same_batch(target: Spelling, size: int, chance: random.Random) -> Trace:
    return _everywhere(target, ["quiet river"] * size)


def _small_everywhere(target: Spelling, size: int, chance: random.Random) -> Trace:
    """What no limit on sizes refuses: a rate limit that answers the first and not the second is none of this case's."""
    return _everywhere(target, [prose(16)])


# Between small requests whose traces are remembered, if any is.
_GAP_S = 0.008
_COUNTS = ("dimensions", "n", "top_k", "best_of", "max_tokens")


def _counted(name: str) -> Case:
    return Case(
        id=f"N01.{name}",
        title=f"The number in `{name}` is believed",
        risk=Risk.LIGHT,
        dialects=frozenset({"openai", "tei"} if name == "dimensions" else {"openai"}),
        takes=Intake.TEXT,
        feature=name,
        sizes=geometric(100, 1_000_000, 5),
        attack=number(name),
        twin=None,
        oracles=frozenset({Oracle.SLOPE, Oracle.AMPLIFICATION, Oracle.MEMORY, Oracle.STALL, Oracle.STATUS}),
        taxonomy=taxonomy("L T34.1 770 1284"),
        severity=Severity.ERROR,
        # The bytes of a number don't grow with it: nothing else may either.
        expect=Expect(exponent=0.5, response_ratio=256.0, memory_floor_bytes=16 * MIB),
        profile=Profile.SHORT if name in ("dimensions", "n") else Profile.STANDARD,
        remedy=f"give `{name}` a range, and price the request by it",
    )


def _distinct(target: Spelling, size: int, chance: random.Random) -> Trace:
    salt = chance.getrandbits(64)
    asked = (("", target.request([f"{salt:x} {index}"])) for index in range(size))
    return paced(asked, _GAP_S, "small requests, each different")


def _same_again(target: Spelling, size: int, chance: random.Random) -> Trace:
    return paced([("", target.request([f"{chance.getrandbits(64):x} 0"]))] * size, _GAP_S)


def _json_case(case_id: str, title: str, feature: str, sizes: Sequence[int], **more: Any) -> Case:
    fields: dict[str, Any] = {
        "risk": Risk.LIGHT,
        "dialects": ANY_DIALECT,
        "twin": None,
        "taxonomy": taxonomy("770"),
        "expect": Expect(statuses=SERVED_OR_REFUSED),
    }
    return Case(id=case_id, title=title, feature=feature, sizes=tuple(sizes), **(fields | more))


CASES = (
    _json_case(
        "J01", "Nested JSON is parsed without a limit", "levels", geometric(64, 8192, 4),
        attack=values(_nested), oracles=frozenset({Oracle.LIVENESS, Oracle.STATUS, Oracle.SLOPE, Oracle.RETRY}),
        taxonomy=taxonomy("674 400"), severity=Severity.ERROR,
        remedy="refuse documents deeper than a few dozen levels before parsing them",
    ),
    _json_case(
        "J01.deep", "Deeply nested JSON ends the process", "levels", (20_000, 50_000, 100_000),
        attack=values(_nested), oracles=frozenset({Oracle.LIVENESS, Oracle.STATUS}), risk=Risk.CRASH,
        profile=Profile.DEEP, taxonomy=taxonomy("674 400"), severity=Severity.ERROR,
        remedy="refuse documents deeper than a few dozen levels before parsing them",
    ),
    _json_case(
        "J01.open", "Nested JSON that never closes ends the process", "levels", (20_000, 40_000),
        attack=values(_unclosed), oracles=frozenset({Oracle.LIVENESS, Oracle.STATUS}), risk=Risk.CRASH,
        profile=Profile.DEEP, taxonomy=taxonomy("674 400"), severity=Severity.ERROR,
        remedy="refuse documents deeper than a few dozen levels before parsing them",
    ),
    _json_case(
        "J02", "A list of empty things becomes many times its bytes", "elements", geometric(1000, 300_000, 5),
        attack=values(lambda n: _list_of(b"[]", n)), twin=values(lambda n: json.dumps(prose(3 * n)).encode()),
        oracles=frozenset({Oracle.MEMORY, Oracle.SLOPE, Oracle.STALL}), taxonomy=taxonomy("770 1325"),
        profile=Profile.STANDARD, remedy="count the values of a document before building any",
    ),
    _json_case(
        "J03", "Unknown fields are parsed and kept", "fields", geometric(100, 20_000, 5),
        attack=_unknown_keys, oracles=frozenset({Oracle.SLOPE, Oracle.MEMORY, Oracle.RETRY}), profile=Profile.STANDARD,
        remedy="refuse at the first unknown field",
    ),
    _json_case(
        "J05", "Integers that collide are put in a set or a map", "integers", geometric(400, 8000, 8),
        attack=values(_colliding), twin=values(_scattered), dialects=frozenset({"openai", "oip"}),
        oracles=frozenset({Oracle.SLOPE, Oracle.TWIN, Oracle.STALL, Oracle.EARLY}), taxonomy=taxonomy("407"),
        severity=Severity.ERROR, remedy="check the range of an integer while parsing, before it is hashed",
    ),
    _json_case(
        "J06", "Numbers of any length are converted", "digits", geometric(100, 100_000, 4),
        attack=values(lambda n: b"[" + b"9" * n + b"]"), taxonomy=taxonomy("789 1284"),
        oracles=frozenset({Oracle.SLOPE, Oracle.STATUS, Oracle.RETRY}), profile=Profile.STANDARD,
        remedy="bound the digits of a number",
    ),
    Case(
        id="J07", title="Numbers that are none reach the model", risk=Risk.PASSIVE, dialects=ANY_DIALECT, feature="",
        sizes=(1,), attack=each(_odd_numbers), twin=None,
        oracles=frozenset({Oracle.STATUS, Oracle.RETRY, Oracle.LIVENESS}), taxonomy=taxonomy("20 1284"),
        # A tensor of numbers may hold what a text may not: served, or refused for ever.
        expect=Expect(statuses=SERVED_OR_REFUSED), remedy="refuse numbers that are not finite while parsing",
    ),
    _json_case(
        "J08", "One sign makes a string four times as large", "bytes", geometric(16 * KIB, 512 * KIB, 4),
        attack=values(lambda n: json.dumps("a" * n + "\U0001f600", ensure_ascii=False).encode()),
        twin=values(lambda n: json.dumps("a" * (n + 4)).encode()), dialects=TEXT, takes=Intake.TEXT,
        oracles=frozenset({Oracle.MEMORY, Oracle.STALL}), profile=Profile.STANDARD,
        remedy="bound the bytes of a text before it becomes a string",
    ),
    _json_case(
        "J10", "Spaces between tokens are dear", "bytes", geometric(4 * KIB, MIB, 5),
        attack=_spaces, oracles=frozenset({Oracle.SLOPE, Oracle.STALL}), taxonomy=taxonomy("407"),
        profile=Profile.STANDARD, remedy="bound the bytes of a body",
    ),
    _json_case(
        "J11", "Each wrong element gets an error of its own", "elements", geometric(10, 10_000, 4),
        attack=values(lambda n: _list_of(b"1.5", n)), twin=_one_wrong,
        oracles=frozenset({Oracle.AMPLIFICATION, Oracle.SLOPE, Oracle.RETRY}), taxonomy=taxonomy("405 770"),
        expect=Expect(response_ratio=8.0), remedy="stop at the first error, and never echo the input",
    ),
    _json_case(
        "J13", "A deep value under an unknown field is skipped by recursion", "levels", geometric(64, 8192, 4),
        attack=_deep_field, oracles=frozenset({Oracle.LIVENESS, Oracle.STATUS, Oracle.SLOPE, Oracle.RETRY}),
        taxonomy=taxonomy("674"), profile=Profile.STANDARD, severity=Severity.ERROR,
        remedy="refuse unknown fields, and count depth before parsing",
    ),
    Case(
        id="J16", title="Malformed JSON is accepted, or answered as if the server were at fault", risk=Risk.PASSIVE,
        dialects=ANY_DIALECT, feature="", sizes=(1,), attack=each(_malformed), twin=None,
        oracles=frozenset({Oracle.STATUS, Oracle.RETRY, Oracle.LIVENESS}), taxonomy=taxonomy("20"),
        expect=Expect(statuses=REFUSED), remedy="answer 400 to what is not JSON",
    ),
    Case(
        id="J16.odd", title="Odd but legal JSON is answered as if the server were at fault", risk=Risk.PASSIVE,
        dialects=ANY_DIALECT, feature="", sizes=(1,), attack=each(_legal), twin=None,
        oracles=frozenset({Oracle.STATUS, Oracle.RETRY, Oracle.LIVENESS}), taxonomy=taxonomy("20"),
        expect=Expect(statuses=SERVED_OR_REFUSED), remedy="serve it, or answer 4xx",
    ),
    Case(
        id="T09", title="Empty inputs are answered as if the server were at fault", risk=Risk.PASSIVE,
        dialects=ANY_DIALECT, feature="", sizes=(1,), attack=each(_empty_inputs), twin=None,
        oracles=frozenset({Oracle.STATUS, Oracle.RETRY, Oracle.LIVENESS}), taxonomy=taxonomy("617 369"),
        expect=Expect(statuses=SERVED_OR_REFUSED), remedy="check for emptiness before the model, and answer 4xx",
    ),
    _json_case(
        "J17", "What one route refuses, another serves", "bytes of one input", geometric(4 * KIB, MIB, 5),
        attack=_same_overload, twin=_small_everywhere, oracles=frozenset({Oracle.EQUIVALENCE}), dialects=TEXT,
        takes=Intake.TEXT, severity=Severity.ERROR, remedy="put the limits in front of all routes, not into one of them",
    ),
    _json_case(
        "J17.batch", "A batch that one route refuses, another serves", "inputs", geometric(16, 1024, 4),
        attack=_same_batch, twin=_small_everywhere, oracles=frozenset({Oracle.EQUIVALENCE}), dialects=TEXT,
        takes=Intake.TEXT, severity=Severity.ERROR, remedy="put the limits in front of all routes, not into one of them",
    ),
    *(_counted(name) for name in _COUNTS),
    _json_case(
        "N02", "Every different request leaves something behind", "requests", (240,),
        attack=_distinct, twin=_same_again, oracles=frozenset({Oracle.MEMORY}), taxonomy=taxonomy("770 401"),
        expect=Expect(memory_floor_bytes=12 * MIB), severity=Severity.ERROR, fresh=True,
        remedy="bound every cache in bytes, and give back what a request held",
    ),
    _json_case(
        "T01", "Inputs beyond the limit are read and computed before they are refused", "bytes of one input",
        geometric(8 * KIB, 3 * MIB // 2, 6),
        attack=texts(lambda n: [prose(n)]), oracles=frozenset({Oracle.EARLY, Oracle.RETRY, Oracle.STATUS, Oracle.STALL}),
        dialects=TEXT, takes=Intake.TEXT, taxonomy=taxonomy("L T34.1 770 408"),
        remedy="check sizes before tokenising, and refuse with 413 or 422",
    ),
)  # fmt: skip
