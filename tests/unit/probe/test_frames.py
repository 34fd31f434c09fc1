"""HTTP/2 as the probe speaks it: what RFC 9113 and RFC 7541 make of its bytes."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from wickguard.probe.cases import frames
from wickguard.probe.cases.frames import CONTINUATION, HEADERS, PREFACE, RST_STREAM, SETTINGS, WINDOW_UPDATE
from wickguard.probe.spelling import TargetSpelling, tei_embed

TARGET = TargetSpelling("tei", "/embed", "", {"/embed": tei_embed})
CASES = {case.id: case for case in frames.CASES}
Frame = tuple[int, int, int, bytes]


def spoken(case_id: str, size: int) -> list[Frame]:
    """Kind, flags, stream and payload of each frame."""
    raw = CASES[case_id].attack(TARGET, size, random.Random(1)).steps[0].request.raw
    assert raw is not None
    assert raw.startswith(PREFACE)
    return list(split(raw[len(PREFACE) :]))


def split(data: bytes) -> Iterator[Frame]:
    """Frames, to the last byte."""
    while data:
        length = int.from_bytes(data[:3], "big")
        assert len(data) >= 9 + length
        yield data[3], data[4], int.from_bytes(data[5:9], "big"), data[9 : 9 + length]
        data = data[9 + length :]


def integer(data: bytes, bits: int) -> tuple[int, bytes]:
    """An integer with a prefix of so many bits, and what follows (RFC 7541 section 5.1)."""
    most = (1 << bits) - 1
    value, rest = data[0] & most, data[1:]
    if value == most:
        shift = 0
        while True:
            value, more, rest = value + ((rest[0] & 127) << shift), rest[0] & 128, rest[1:]
            shift += 7
            if not more:
                break
    return value, rest


def fields(packed: bytes) -> list[tuple[str, int]]:
    """How each field of a head is written, and the bytes of its value or the number of its entry."""
    found = []
    while packed:
        first = packed[0]
        kind, bits = ("named", 7) if first & 128 else ("kept", 6) if first & 64 else ("said", 4)
        number, packed = integer(packed, bits)
        if kind != "named":
            for _ in range(2 if number == 0 else 1):
                length, packed = integer(packed, 7)
                assert len(packed) >= length
                packed = packed[length:]
            number = length
        found.append((kind, number))
    return found


@pytest.mark.parametrize(("case_id", "second"), [("P35", RST_STREAM), ("P36", WINDOW_UPDATE)])
def test_each_stream_is_opened_and_ended_when_many_are_asked_for(case_id: str, second: int) -> None:
    """Odd numbers, ascending, as a client's are; the increment of nothing is the wrong that makes a server reset."""
    settings, *rest = spoken(case_id, 50)
    assert settings == (SETTINGS, 0, 0, b"")
    assert [(kind, stream) for kind, _, stream, _ in rest] == [
        (kind, stream) for stream in range(1, 100, 2) for kind in (HEADERS, second)
    ]
    assert all(len(payload) == 4 for kind, _, _, payload in rest if kind == second)
    assert fields(rest[0][3]) == [("named", 3), ("named", 6), ("said", len("/embed")), ("said", len("target.invalid"))]


def test_head_is_never_over_when_it_goes_on() -> None:
    """No frame has the flag that ends a head, and none is larger than a server has to take."""
    _, first, *rest = spoken("P37", 4)
    assert (first[0], first[1]) == (HEADERS, 0)
    assert [kind for kind, *_ in rest] == [CONTINUATION] * 4
    for _, flags, stream, payload in rest:
        assert (flags, stream) == (0, 1)
        assert len(payload) <= 16_384
        assert set(fields(payload)) == {("said", 1024)}


def test_field_is_kept_once_and_named_often_when_the_table_is_abused() -> None:
    """With its name and 32 bytes it fits into the table of 4,096 bytes; entry 62 is the latest."""
    _, (_, flags, _, payload) = spoken("P37.table", 12_000)
    said = fields(payload)
    assert flags == 4
    assert len(payload) <= 16_384
    assert said[4] == ("kept", 2944)
    assert said[5:] == [("named", 62)] * 12_000
