"""Cases of the Open Inference Protocol: shapes, datatypes and counts of raw tensors.

R ids and I13 of research/attacks.md section 9: tensors in JSON, and raw ones behind it (the binary data extension). Bounds:
20,000 numbers in one request; lengths that lie are never followed by the bytes they promise.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from typing import Any

from wickguard.probe.case import Expect, Profile, Risk, Spelling, family, geometric
from wickguard.probe.cases.payload import (
    FATE,
    GROWTH,
    REFUSED,
    SPARE,
    TENSOR,
    document,
    each,
    taxonomy,
)
from wickguard.probe.finding import Oracle, Severity
from wickguard.probe.trace import Request, Trace, single

Document = dict[str, Any]


def _changed(target: Spelling, change: Callable[[Document], Document]) -> Request:
    found = document(target)
    first, *others = found["inputs"]
    return target.json(json.dumps(found | {"inputs": [first | change(first), *others]}).encode())


def _row(first: Document) -> list[Any]:
    rows = first["shape"][0] or 1
    data: list[Any] = first["data"]
    return data[: max(1, len(data) // rows)]


def _rows(target: Spelling, size: int, chance: random.Random) -> Trace:
    """The first input with `size` rows, each the ordinary one; a single fixed dimension is left alone."""
    found = document(target)
    inputs = []
    for tensor in found["inputs"]:
        row = _row(tensor)
        inputs.append(tensor | {"shape": [size, *tensor["shape"][1:]], "data": row * size})
    return single(target.json(json.dumps(found | {"inputs": inputs}).encode()))


def _spread_rows(target: Spelling, size: int, chance: random.Random) -> Trace:
    """Rows that have nothing in common: boxes that don't overlap, points far apart. Numbers only."""
    found = document(target)
    first, *others = found["inputs"]
    width = len(_row(first))
    number = float if first["datatype"].startswith("FP") else int
    data = [number(10 * row + (column >= width / 2)) for row in range(size) for column in range(width)]
    changed = first | {"shape": [size, *first["shape"][1:]], "data": data}
    return single(target.json(json.dumps(found | {"inputs": [changed, *others]}).encode()))


def _shapes(target: Spelling) -> list[tuple[str, Request]]:
    wrong: Sequence[Any] = (1.5, "3", True, None, 1e30, [1], 2**63, 2**64 + 1, -1, 0)
    shapes: Sequence[Any] = ([0, 2**62], [65536] * 4, [1] * 64, [], None, *([size] for size in wrong))
    return [(f"shape {str(shape)[:24]}", _shaped(target, shape)) for shape in shapes]


def _shaped(target: Spelling, shape: Any) -> Request:
    return _changed(target, lambda _: {"shape": shape})


def _disagreeing(target: Spelling) -> list[tuple[str, Request]]:
    return [
        ("one element short", _changed(target, lambda first: {"data": first["data"][:-1]})),
        ("one element more", _changed(target, lambda first: {"data": first["data"] * 2})),
        ("no data", _changed(target, lambda _: {"data": []})),
        ("data of another kind", _changed(target, lambda _: {"data": [{}]})),
        ("unknown datatype", _changed(target, lambda _: {"datatype": "FP4096"})),
        ("no datatype", _changed(target, lambda _: {"datatype": None})),
        ("unknown name", _changed(target, lambda _: {"name": "wickguard_probe"})),
    ]


def _rank(target: Spelling, size: int, chance: random.Random) -> Trace:
    return single(_changed(target, lambda first: {"shape": [1] * size, "data": first["data"][:1]}))


def _many_inputs(target: Spelling, size: int, chance: random.Random) -> Trace:
    found = document(target)
    return single(target.json(json.dumps(found | {"inputs": found["inputs"][:1] * size}).encode()))


def _many_outputs(target: Spelling, size: int, chance: random.Random) -> Trace:
    outputs = [{"name": f"hidden_{index}"} for index in range(size)]
    return single(target.json(json.dumps(document(target) | {"outputs": outputs}).encode()))


def _not_finite(target: Spelling) -> list[tuple[str, Request]]:
    found = []
    for literal in ("NaN", "Infinity", "-Infinity", "1e400"):
        body = json.dumps(document(target))
        first = json.dumps(document(target)["inputs"][0]["data"][0])
        found.append(
            (f"data of {literal}", target.json(body.replace(f'"data": [{first}', f'"data": [{literal}').encode()))
        )
    return found


def _shared_memory(target: Spelling) -> list[tuple[str, Request]]:
    region = {"shared_memory_region": "wickguard_probe", "shared_memory_byte_size": 2**40, "shared_memory_offset": 0}
    size = {"binary_data_size": 2**40}
    return [
        ("shared memory", _changed(target, lambda _: {"parameters": region, "data": []})),
        ("binary data that is not there", _changed(target, lambda _: {"parameters": size, "data": []})),
    ]


def _raw(target: Spelling, change: Document, data: bytes, length: str = "") -> Request:
    """The first input's data as bytes behind the JSON; `length` is what the header says instead of the JSON's length."""
    found = document(target)
    first, *others = found["inputs"]
    tensor = {name: value for name, value in first.items() if name != "data"}
    about = json.dumps(found | {"inputs": [tensor | change, *others]}).encode()
    return _prefixed(target, about, length or str(len(about)), data)


def _prefixed(target: Spelling, about: bytes, length: str, data: bytes) -> Request:
    kind = ("Content-Type", "application/octet-stream")
    return Request(path=target.path, headers=(kind, ("Inference-Header-Content-Length", length)), body=about + data)


def _binary_sizes(target: Spelling) -> list[tuple[str, Request]]:
    whole = target.request(["quiet river"]).body
    lengths = ("0", "-1", str(len(whole) + 4096), str(2**31), str(2**63), str(2**64 + len(whole)), "many", "1.5")
    sizes: Sequence[Any] = (0, 1, -1, 2**31, 2**63, 2**64 + 8, 1.5, "8", None)
    return [
        *((f"header of {length[:20]} B", _prefixed(target, whole, length, b"")) for length in lengths),
        *(
            (f"binary_data_size {str(size)[:20]}", _raw(target, {"parameters": {"binary_data_size": size}}, b"\0" * 8))
            for size in sizes
        ),
    ]


def _lying_lengths(target: Spelling) -> list[tuple[str, Request]]:
    """BYTES are strings, each behind its length in four bytes."""
    lies = (("one string of 4 GiB", 1, b"\xff\xff\xff\xffabcd"), ("one string of 2 GiB", 1, b"\xff\xff\xff\x7fabcd"),
            ("half a length", 1, b"\x04\x00"), ("one string for four", 4, b"\x04\x00\x00\x00abcd"),
            ("two strings for one", 1, b"\x04\x00\x00\x00abcd" * 2), ("no string for 2^40", 2**40, b""))  # fmt: skip
    found = []
    for label, count, data in lies:
        about = {"datatype": "BYTES", "shape": [count], "parameters": {"binary_data_size": len(data)}}
        found.append((label, _raw(target, about, data)))
    return found


def _out_of_range(target: Spelling) -> list[tuple[str, Request]]:
    """Of tensors of integers each in turn; of a model that has none the first one, whose datatype refuses most of them."""
    found = document(target)
    inputs = found["inputs"]
    whole = [index for index, one in enumerate(inputs) if one["datatype"].startswith(("INT", "UINT"))] or [0]
    asked = []
    for index in whole:
        for value in (2**31 - 1, -1, 2**31, 2**63 - 1, -(2**63), 2**64):
            tensor = inputs[index] | {"data": [value, *inputs[index]["data"][1:]]}
            changed = [*inputs[:index], tensor, *inputs[index + 1 :]]
            label = f"{inputs[index]['name']} of {value}"
            asked.append((label, target.json(json.dumps(found | {"inputs": changed}).encode())))
    return asked


_tensor_case = family(risk=Risk.PASSIVE, dialects=TENSOR, feature="", sizes=(1,), twin=None)


CASES = (
    _tensor_case(
        "R03", "Impossible shapes reach the model", each(_shapes), oracles=FATE, expect=SPARE,
        taxonomy=taxonomy("20 1284 190"),
        remedy="check every dimension, and the product against the data, before any allocation",
    ),
    _tensor_case(
        "R04", "Data that disagrees with its shape reaches the model", each(_disagreeing), oracles=FATE, expect=SPARE,
        taxonomy=taxonomy("130"), remedy="compare the number of elements with the product of the shape",
    ),
    _tensor_case(
        "R05", "Any number of dimensions is taken", _rank, oracles=GROWTH, risk=Risk.LIGHT, feature="dimensions",
        sizes=geometric(8, 20_000, 5), expect=SPARE, taxonomy=taxonomy("770 834"), remedy="refuse more than eight dimensions",
    ),
    _tensor_case(
        "R07", "Lengths of raw tensors are believed", each(_binary_sizes), oracles=FATE | {Oracle.MEMORY}, expect=SPARE,
        taxonomy=taxonomy("130 789"),
        remedy="compare the lengths in the head and in the JSON with the bytes that came, before any is used",
    ),
    _tensor_case(
        "R08", "Lengths inside a tensor of strings are believed", each(_lying_lengths), oracles=FATE | {Oracle.MEMORY},
        expect=SPARE, taxonomy=taxonomy("789 130"),
        remedy="compare each length with the bytes that are left, and the number of strings with the shape",
    ),
    _tensor_case(
        "R09", "Any number of inputs is taken", _many_inputs, oracles=GROWTH, risk=Risk.LIGHT, feature="inputs",
        sizes=geometric(1, 2000, 5), expect=SPARE, taxonomy=taxonomy("770"),
        remedy="refuse inputs that the model does not have",
    ),
    _tensor_case(
        "R10", "Rows of a tensor cost more than their number", _rows, oracles=GROWTH, risk=Risk.LIGHT, feature="rows",
        sizes=geometric(32, 2500, 9), expect=SPARE, taxonomy=taxonomy("405 770"), severity=Severity.ERROR,
        remedy="bound the rows of a request by what they cost together",
    ),
    _tensor_case(
        "I13", "Boxes that don't overlap are each compared with all others", _spread_rows, twin=None, oracles=GROWTH,
        risk=Risk.LIGHT, feature="rows without overlap", sizes=geometric(32, 2500, 9), expect=SPARE,
        taxonomy=taxonomy("407"), severity=Severity.ERROR, remedy="take the best few hundred before comparing",
    ),
    _tensor_case(
        "R12", "Numbers that index something reach the model out of range", each(_out_of_range), oracles=FATE,
        expect=SPARE, taxonomy=taxonomy("129"), severity=Severity.ERROR,
        remedy="check the range of every index before the model looks anything up by it",
    ),
    _tensor_case(
        "R13", "Numbers that are not finite reach the model", each(_not_finite), oracles=FATE, expect=SPARE,
        taxonomy=taxonomy("248 617"), remedy="refuse data that is not finite",
    ),
    _tensor_case(
        "R14", "A request names memory of the server", each(_shared_memory), oracles=FATE | {Oracle.MEMORY},
        expect=Expect(statuses=REFUSED), taxonomy=taxonomy("20 789"), profile=Profile.STANDARD,
        remedy="refuse shared memory, and sizes that did not come with the body",
    ),
    _tensor_case(
        "R15", "Any number of outputs is promised", _many_outputs, oracles=GROWTH | {Oracle.AMPLIFICATION}, risk=Risk.LIGHT,
        feature="outputs", sizes=geometric(1, 2000, 4), expect=SPARE, taxonomy=taxonomy("405 770"), profile=Profile.STANDARD,
        remedy="refuse outputs that the model does not have",
    ),
)  # fmt: skip
