"""Raw tensors: whether a tensor that a caller describes is the one that came.

Decides with whole numbers of any size, before any library sees a shape: rank, dimensions, their product against the bytes or
elements at hand, lengths inside BYTES, and that floats are numbers. Promises at most one pass over the data and no copy larger
than it. It must not know routes, models or prices.
"""

from __future__ import annotations

import math
import struct
from array import array
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from wickguard.rejection import Reason, Rejection

# No model here takes more dimensions.
MAX_RANK = 8
# Bytes per element of the types that models here take. BOOL, FP64 and the rest nobody needs.
SIZES = {"FP32": 4, "INT32": 4, "INT64": 8}
_TYPECODES = {"FP32": "f", "INT32": "i", "INT64": "q"}
_LENGTH_BYTES = 4


@dataclass(frozen=True, slots=True)
class PixelFeatures:
    """images: prepared ones. value_bytes: of their values."""

    images: int
    value_bytes: int

    def as_dict(self) -> dict[str, int]:
        """Name to value."""
        return asdict(self)


def elements(shape: Sequence[int], field: str, most: int) -> int | Rejection:
    """The product of a shape. Refuses no dimensions, too many, zero or negative ones, and more than `most` elements."""
    if not 1 <= len(shape) <= MAX_RANK:
        return _refuse(
            "a tensor has 1 to 8 dimensions", f"{field}.shape", seen=len(shape), limit=MAX_RANK, unit="dimensions"
        )
    if min(shape) < 1:
        return _refuse("a dimension must be at least 1", f"{field}.shape", seen=min(shape), limit=1, unit="elements")
    product = math.prod(shape)
    if product > most:
        return _refuse(
            "the tensor is larger than what came", f"{field}.shape", seen=product, limit=most, unit="elements"
        )
    return product


def check_bytes(datatype: str, shape: Sequence[int], data: bytes, field: str) -> Rejection | None:
    """Whether `data` holds exactly a tensor of this type and shape."""
    size = SIZES.get(datatype)
    if size is None:
        return Rejection(
            Reason.UNSUPPORTED_FIELD, "this type is not taken", f"{field}.datatype", accepted=", ".join(SIZES)
        )
    count = elements(shape, field, len(data) // size)
    if isinstance(count, Rejection):
        return count
    if count * size != len(data):
        return _refuse(
            "shape and data differ in size", f"{field}.shape", seen=len(data), limit=count * size, unit="bytes"
        )
    return None


def numbers(datatype: str, data: bytes) -> Sequence[float]:
    """The elements of little-endian data whose size was checked."""
    found: array[float] = array(_TYPECODES[datatype])
    found.frombytes(data)
    return found


def finite(values: Sequence[float], field: str) -> Rejection | None:
    """Whether all are numbers. One pass: a sum is not finite when an element is not; only then each is looked at."""
    if math.isfinite(sum(values)):
        return None
    at = next((index for index, value in enumerate(values) if not math.isfinite(value)), None)
    return (
        None
        if at is None
        else _refuse("an element is not finite", f"{field}.data", seen=at, limit=None, unit="as index")
    )


def pack(values: Sequence[float], field: str) -> bytes | Rejection:
    """Little-endian f32 of a list of numbers, or which of them single precision can't hold."""
    try:
        return struct.pack(f"<{len(values)}f", *values)
    except (OverflowError, struct.error):
        return _refuse(
            "an element is too large for single precision", f"{field}.data", seen=None, limit=None, unit=None
        )


def texts(data: bytes, count: int, field: str) -> list[bytes] | Rejection:
    """The elements of a BYTES tensor: each is a length of four bytes, little-endian, and so many bytes."""
    found: list[bytes] = []
    at = 0
    while at < len(data):
        if len(found) == count or len(data) - at < _LENGTH_BYTES:
            break
        start = at + _LENGTH_BYTES
        length = int.from_bytes(data[at:start], "little")
        if length > len(data) - start:
            break
        found.append(data[start : start + length])
        at = start + length
    if at != len(data) or len(found) != count:
        return _refuse("lengths, shape and data don't agree", f"{field}.data", seen=len(data), limit=at, unit="bytes")
    return found


def _refuse(detail: str, field: str, *, seen: float | None, limit: float | None, unit: str | None) -> Rejection:
    return Rejection(Reason.MALFORMED, detail, field, limit=limit, seen=seen, unit=unit)
