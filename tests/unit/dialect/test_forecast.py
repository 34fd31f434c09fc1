"""The dialect of /v1/forecast: series of any spelling, and nothing else."""

from __future__ import annotations

import json
import struct
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wickguard.backend import ForecastResult
from wickguard.dialect.forecast import ForecastTask, SeriesLimits, parse, render
from wickguard.rejection import Reason, Rejection

LIMITS = SeriesLimits(64, 1 << 20)
VALUES = st.lists(st.none() | st.floats(width=32, min_value=-(2.0**90), max_value=2.0**90), max_size=40)


def numbers(packed: bytes) -> list[float | None]:
    """What was packed, None where a value is missing."""
    return [None if value != value else value for value in struct.unpack(f"<{len(packed) // 4}f", packed)]


def ask(series: str, rest: str = "") -> ForecastTask | Rejection:
    """A body with these series."""
    return parse(f'{{"series":{series},"horizon":4{rest}}}'.encode(), LIMITS)


@given(VALUES | st.lists(VALUES, min_size=1, max_size=6), st.sampled_from([None, 1]))
def test_series_are_the_ones_that_were_sent_when_they_are_spelled_as_json(
    series: list[object], indent: int | None
) -> None:
    """One list is one series, a list of lists several; null is missing; blanks don't matter."""
    found = ask(json.dumps(series, indent=indent))
    assert isinstance(found, ForecastTask), found
    many = series if series and isinstance(series[0], list) else [series]
    assert [numbers(one) for one in found.series] == many
    assert found.lengths == [len(one) for one in many]  # type: ignore[arg-type]


def test_series_is_whole_when_it_is_decoded_in_many_pieces() -> None:
    """A hundred thousand values; the pieces meet at commas."""
    values = [at / 8 for at in range(100_000)]
    found = ask(json.dumps(values))
    assert isinstance(found, ForecastTask)
    assert numbers(found.series[0]) == values


@pytest.mark.parametrize("series", ["[[1],2]", "[1,[2]]", "[[[1]]]", "[[1],null]", "[[1],[2],3]", "[null,[1]]", "{}", "5",
                                    '["1"]', "[true]", "[1e39]", "[{}]", "null", '"[1]"'])  # fmt: skip
def test_series_are_refused_when_they_are_no_lists_of_numbers(series: str) -> None:
    """Mixed, nested, of another type, too large for single precision."""
    found = ask(series)
    assert isinstance(found, Rejection), found
    assert found.reason is Reason.MALFORMED


@pytest.mark.parametrize(
    ("rest", "field"),
    [(',"quantiles":[]', "quantiles"), (',"quantiles":[1.1]', "quantiles"), (',"timestamps":[1]', "timestamps"),
     (',"seed":-1', "seed"), (',"temperature":0', "temperature"), (',"num_samples":0', "num_samples")],
)  # fmt: skip
def test_field_is_named_when_it_is_refused(rest: str, field: str) -> None:
    """The field, not the value."""
    found = ask("[1]", rest)
    assert isinstance(found, Rejection)
    assert (found.field or "").startswith(field)


def test_limits_hold_before_numbers_are_built_when_there_are_too_many() -> None:
    """By counting commas and brackets."""
    limits = SeriesLimits(2, 10)
    many = parse(b'{"series":[[1],[2],[3]],"horizon":1}', limits)
    long = parse(b'{"series":[1,2,3,4,5,6,7,8,9,10,11],"horizon":1}', limits)
    assert isinstance(many, Rejection)
    assert many.reason is Reason.BATCH_TOO_LARGE
    assert isinstance(long, Rejection)
    assert long.seen == 11


@pytest.mark.parametrize("body", [
    b'{"series":[' + b"1," * 500_000 + b'1],"horizon":1}',
    b'{"series":[' + b"[1]," * 60 + b"[" + b"1," * 480_000 + b'1]],"horizon":1}',
    b'{"series":[' + b"null," * 200_000 + b'1],"horizon":1}',
    b'{"series":[1],"horizon":1,"quantiles":[' + b"0," * 500_000 + b"1]}",
    b'{"series":' + b"[" * 500_000 + b',"horizon":1}',
])  # fmt: skip
def test_memory_is_a_small_multiple_of_the_body_when_it_is_full_of_numbers(body: bytes) -> None:
    """Law 7 for the fullest bodies: seven times the bytes that came, whatever they are."""
    parse(body, LIMITS)
    tracemalloc.start()
    try:
        parse(body, LIMITS)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= 7 * len(body)


def test_body_has_what_was_computed_when_it_is_rendered() -> None:
    """The entries as they came, and the counts."""
    rendered = render(ForecastResult([b'{"index":0}', b'{"index":1}']), {"input_points": 3, "drawn_points": 8})
    expected = {"data": [{"index": 0}, {"index": 1}], "usage": {"input_points": 3, "drawn_points": 8}}
    assert json.loads(rendered) == expected
