"""Raw tensors: what a caller describes against what came."""

from __future__ import annotations

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wickguard.modality import tensor
from wickguard.rejection import Rejection

SHAPES = st.lists(st.integers(1, 6), min_size=1, max_size=8)


@given(SHAPES, st.sampled_from(sorted(tensor.SIZES)))
def test_tensor_passes_when_shape_and_bytes_agree(shape: list[int], datatype: str) -> None:
    """And does not with a byte more or less, or another first dimension."""
    data = bytes(math.prod(shape) * tensor.SIZES[datatype])
    assert tensor.check_bytes(datatype, shape, data, "x") is None
    for wrong in (data + b"\0", data[:-1], data * 2):
        assert isinstance(tensor.check_bytes(datatype, shape, wrong, "x"), Rejection)
    assert isinstance(tensor.check_bytes(datatype, [shape[0] + 1, *shape[1:]], data, "x"), Rejection)


@pytest.mark.parametrize(
    "shape",
    [
        [],
        [0],
        [1, 0, 2**62],
        [-1],
        [2**62, 2**62],
        [65536] * 4,
        [2**32, 2**32],
        [1] * 9,
        [1] * 100_000,
        [-2, -2],
        [2**64],
    ],
)
def test_shape_is_refused_when_no_tensor_of_these_bytes_has_it(shape: list[int]) -> None:
    """No dimensions, zero, negative, products that wrap in 64 bits to something small, too many."""
    assert isinstance(tensor.elements(shape, "x", 4), Rejection)
    assert isinstance(tensor.check_bytes("FP32", shape, bytes(16), "x"), Rejection)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("at", [0, 77, 99])
def test_element_is_found_when_it_is_not_finite(value: float, at: int) -> None:
    """Its index is named."""
    values = [1.0] * 100
    values[at] = value
    found = tensor.finite(tensor.numbers("FP32", struct.pack("<100f", *values)), "x")
    assert isinstance(found, Rejection)
    assert found.seen == at


def test_large_numbers_pass_when_only_their_sum_is_not_finite() -> None:
    """The quick test is not the last word."""
    assert tensor.finite([1e308] * 10, "x") is None
    assert tensor.finite(tensor.numbers("FP32", struct.pack("<4f", 3e38, 3e38, 3e38, 3e38)), "x") is None


@given(st.lists(st.binary(max_size=20), max_size=6))
def test_texts_are_the_ones_that_were_packed_when_lengths_are_true(texts: list[bytes]) -> None:
    """A BYTES tensor gives back what went in."""
    data = b"".join(struct.pack("<I", len(one)) + one for one in texts)
    assert tensor.texts(data, len(texts), "x") == texts
    assert isinstance(tensor.texts(data, len(texts) + 1, "x"), Rejection)
    assert isinstance(tensor.texts(data + b"\0", len(texts), "x"), Rejection)


@pytest.mark.parametrize(
    "data",
    [b"\xff\xff\xff\xff", b"\xff\xff\xff\xffabc", b"\4\0\0\0abc", b"\1\0\0", b"\0\0\0\0" * 5, b"\2\0\0\0ab\1\0\0\0"],
)
def test_texts_are_refused_when_a_length_lies(data: bytes) -> None:
    """Four gigabytes, one byte too many, half a length, more texts than the shape has."""
    assert isinstance(tensor.texts(data, 2, "x"), Rejection)


@given(st.binary(max_size=60), st.integers(0, 5))
def test_any_bytes_have_an_answer_when_they_are_read_as_texts(data: bytes, count: int) -> None:
    """Never an exception, never more than came."""
    found = tensor.texts(data, count, "x")
    if not isinstance(found, Rejection):
        assert sum(map(len, found)) + 4 * count == len(data)
