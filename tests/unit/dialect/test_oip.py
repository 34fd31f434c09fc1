"""The Open Inference Protocol: requests in JSON and raw, and everything that doesn't fit together in them."""

from __future__ import annotations

import json
import struct
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wickguard.dialect.oip import InferTask, Named, parse, render
from wickguard.rejection import Reason, Rejection

ONE = {"name": "a", "datatype": "FP32", "shape": [2, 2], "data": [1, 2, 3, 4]}
RAW = {"name": "a", "datatype": "FP32", "shape": [2, 2], "parameters": {"binary_data_size": 16}}
DATA = struct.pack("<4f", 1, 2, 3, 4)


def ask(*inputs: object, raw: bytes = b"", **rest: object) -> InferTask | Rejection:
    """A request; with raw data the head says where the JSON ends."""
    described = json.dumps({"inputs": list(inputs)} | rest).encode()
    return parse(described + raw, b"%d" % len(described) if raw else b"")


@pytest.mark.parametrize("data", [[1, 2, 3, 4], [[1, 2], [3, 4]], [[[1], [2.0]], [[3], [4]]]])
def test_tensor_is_the_same_when_it_comes_flat_nested_or_raw(data: object) -> None:
    """Three spellings, one tensor."""
    plain, raw = ask(ONE | {"data": data}), ask(RAW, raw=DATA)
    assert isinstance(plain, InferTask)
    assert isinstance(raw, InferTask)
    assert plain.inputs == raw.inputs
    assert plain.inputs["a"].data == DATA


@given(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=50))
def test_integers_are_the_same_when_they_come_in_json_or_raw_in_any_width(values: list[int]) -> None:
    """INT32 and INT64 end as INT64."""
    shape = [len(values)]
    found = [
        ask({"name": "a", "datatype": "INT64", "shape": shape, "data": values}),
        ask({"name": "a", "datatype": "INT64", "shape": shape, "parameters": {"binary_data_size": 8 * len(values)}},
            raw=struct.pack(f"<{len(values)}q", *values)),
        ask({"name": "a", "datatype": "INT32", "shape": shape, "parameters": {"binary_data_size": 4 * len(values)}},
            raw=struct.pack(f"<{len(values)}i", *values)),
    ]  # fmt: skip
    for one in found:
        assert isinstance(one, InferTask), one
        assert one.inputs["a"].data == struct.pack(f"<{len(values)}q", *values)


def test_texts_are_the_same_when_they_come_in_json_or_raw() -> None:
    """BYTES: strings, or lengths and bytes."""
    raw = b"\1\0\0\0a\2\0\0\0\xc3\xa9"
    plain = ask({"name": "t", "datatype": "BYTES", "shape": [2], "data": ["a", "é"]})
    packed = ask(
        {"name": "t", "datatype": "BYTES", "shape": [2], "parameters": {"binary_data_size": len(raw)}}, raw=raw
    )
    assert isinstance(plain, InferTask)
    assert isinstance(packed, InferTask)
    assert plain.inputs["t"].texts == packed.inputs["t"].texts == (b"a", "é".encode())


def test_outputs_are_raw_when_any_of_the_ways_says_so() -> None:
    """By parameter of the request, or of each output; both ways at once is a contradiction only if they differ."""
    for rest, binary in (
        ({}, False),
        ({"parameters": {"binary_data_output": True}}, True),
        ({"outputs": [{"name": "x", "parameters": {"binary_data": True}}]}, True),
        ({"outputs": [{"name": "x"}], "parameters": {"binary_data_output": True}}, True),
        ({"outputs": [{"name": "x", "parameters": {"binary_data": False}}], "parameters": {"binary_data_output": True}}, False),
    ):  # fmt: skip
        found = ask(ONE, **rest)
        assert isinstance(found, InferTask), found
        assert found.binary is binary


WRONG = {
    "R01 product": ask(ONE | {"shape": [2**32, 2**32]}),
    "R02 zero": ask(ONE | {"shape": [0, 2**62]}),
    "R03 negative": ask(ONE | {"shape": [-2, -2]}),
    "R03 float": ask(ONE | {"shape": [2.5]}),
    "R03 text": ask(ONE | {"shape": ["4"]}),
    "R03 null": ask(ONE | {"shape": [None]}),
    "R03 true": ask(ONE | {"shape": [True]}),
    "R03 huge": ask(ONE | {"shape": [10**30]}),
    "R04 short": ask(ONE | {"data": [1, 2, 3]}),
    "R04 long": ask(ONE | {"data": [1, 2, 3, 4, 5]}),
    "R04 empty": ask(ONE | {"data": []}),
    "R04 none": ask({"name": "a", "datatype": "FP32", "shape": [1]}),
    "R05 rank": ask(ONE | {"shape": [1] * 5000}),
    "R07 too much raw": ask(RAW, raw=DATA + b"x"),
    "R07 too little raw": ask(RAW, raw=DATA[:-1]),
    "R07 raw of another shape": ask(RAW | {"shape": [3]}, raw=DATA),
    "R07 both": ask(RAW | {"data": [1, 2, 3, 4]}, raw=DATA),
    "R07 header beyond the body": parse(b'{"inputs":[]}', b"1000000"),
    "R07 header negative": parse(b'{"inputs":[]}', b"-1"),
    "R07 header no number": parse(b'{"inputs":[]}', b"0x10"),
    "R07 header zero": parse(b'{"inputs":[]}', b"0"),
    "R07 header with many digits": parse(b'{"inputs":[]}', b"9" * 400),
    "R08 length": ask({"name": "t", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 4}}, raw=b"\xff" * 4),
    "R08 count": ask({"name": "t", "datatype": "BYTES", "shape": [2], "data": ["a"]}),
    "R09 no inputs": ask(),
    "R09 many inputs": ask(*[ONE | {"name": str(at)} for at in range(100)]),
    "R09 many outputs": ask(ONE, outputs=[{"name": "x"}] * 100),
    "R09 same name": ask(ONE, ONE),
    "type": ask(ONE | {"datatype": "FP64"}),
    "type of texts": ask(ONE | {"data": ["1", "2", "3", "4"]}),
    "bool": ask(ONE | {"data": [True, False, True, False]}),
    "R13 beyond single precision": ask(ONE | {"data": [1, 2, 3, 1e39]}),
    "R14 shared memory": ask(ONE | {"parameters": {"shared_memory_region": "x"}}),
    "R14 sequence": ask(ONE, parameters={"sequence_id": 1}),
    "R15 classification": ask(ONE, outputs=[{"name": "x", "parameters": {"classification": 5}}]),
    "unknown field": ask(ONE | {"content": 1}),
    "no JSON": parse(b"{", b""),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_request_is_refused_when_something_does_not_fit_together(name: str) -> None:
    """A rejection that will never be retried, and no exception."""
    found = WRONG[name]
    assert isinstance(found, Rejection), found
    assert not found.meaning.retryable
    assert 400 <= found.meaning.status < 500


@given(st.binary(max_size=200), st.binary(max_size=6))
def test_any_bytes_have_an_answer_when_they_are_posted(body: bytes, header: bytes) -> None:
    """Never an exception."""
    assert isinstance(parse(body, header), InferTask | Rejection)


def test_answer_has_the_data_behind_its_json_when_it_is_raw() -> None:
    """The first so many bytes are JSON, the rest is the tensor."""
    body, size = render("m", "7", Named("x", "FP32", (2, 2)), DATA, binary=True)
    described = json.loads(body[:size])
    assert described["id"] == "7"
    assert described["outputs"][0]["parameters"] == {"binary_data_size": 16}
    assert body[size:] == DATA
    body, size = render("m", "", Named("x", "FP32", (2,)), b"1.5,2", binary=False)
    assert size == len(body)
    assert json.loads(body)["outputs"] == [{"name": "x", "datatype": "FP32", "shape": [2], "data": [1.5, 2]}]


@pytest.mark.parametrize(
    "body",
    [
        b'{"inputs":[{"name":"a","datatype":"FP32","shape":[480001],"data":[' + b"1," * 480_000 + b"1]}]}",
        b'{"inputs":[{"name":"a","datatype":"INT64","shape":[320001],"data":[' + b"12," * 320_000 + b"1]}]}",
        b'{"inputs":[{"name":"a","datatype":"FP32","shape":[' + b"1," * 480_000 + b'1],"data":[1]}]}',
        b'{"inputs":[' + b"{}," * 300_000 + b"{}]}",
        b'{"inputs":[{"name":"a","datatype":"BYTES","shape":[2],"data":["' + b"x" * 900_000 + b'"]}]}',
    ],
)
def test_memory_is_a_small_multiple_of_the_body_when_it_is_full(body: bytes) -> None:
    """Law 7 for the fullest bodies."""
    parse(body, b"")
    tracemalloc.start()
    try:
        parse(body, b"")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= 12 * len(body)


def test_reason_names_the_envelope_when_there_are_too_many_tensors() -> None:
    """422, not 400: it is well-formed."""
    found = WRONG["R09 many inputs"]
    assert isinstance(found, Rejection)
    assert found.reason is Reason.OUT_OF_ENVELOPE
