"""Numbers: a JSON list of them as little-endian binary, a piece at a time.

As Python objects a list of numbers takes up to sixteen times the bytes of its JSON; here only one piece at a time does.
The caller has had the JSON checked and knows that there is no string in it. It must not know which API the list belongs to.
"""

from __future__ import annotations

import math
import struct
from typing import Annotated, Any

import msgspec

from wickguard.dialect.decoding import decode
from wickguard.modality.series import LARGEST_VALUE
from wickguard.rejection import Rejection
from wickguard.units import KIB

_PIECE_BYTES = 16 * KIB
_Float = Annotated[float, msgspec.Meta(ge=-LARGEST_VALUE, le=LARGEST_VALUE)]
_Whole = Annotated[int, msgspec.Meta(ge=-(2**31), lt=2**31)]
# By what struct calls the element: f32 with null for a missing value, f32, i64.
_DECODERS: dict[str, msgspec.json.Decoder[Any]] = {
    "f?": msgspec.json.Decoder(list[_Float | None]),
    "f": msgspec.json.Decoder(list[_Float]),
    "q": msgspec.json.Decoder(list[_Whole]),
}


def pack(data: bytes, kind: str, field: str) -> bytes | Rejection:
    """The elements of one flat JSON list. kind: "f" f32, "f?" f32 with NaN for null, "q" i64 (of 32 bits at most)."""
    decoder, packed = _DECODERS[kind], bytearray()
    at, last = data.index(b"[") + 1, data.rindex(b"]")
    while at < last:
        cut = data.find(b",", min(at + _PIECE_BYTES, last), last)
        end = last if cut < 0 else cut
        values = decode(decoder, b"[" + data[at:end] + b"]", field)
        if isinstance(values, Rejection):
            return values
        if kind == "f?":
            values = [math.nan if value is None else value for value in values]
        packed += struct.pack(f"<{len(values)}{kind[0]}", *values)
        at = end + 1
    return bytes(packed)
