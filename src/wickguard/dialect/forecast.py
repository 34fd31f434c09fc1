"""The dialect of /v1/forecast.

    POST /v1/forecast  {"model", "series": [numbers or null] or a list of such lists, "horizon", "num_samples", "quantiles",
                        "temperature", "top_k", "top_p", "seed", "return_samples"}
    -> {"data": [{"index", "mean", "quantiles": {"0.5": [...]}, "samples"}], "usage"}

Series are counted from their raw bytes before a number of theirs is built. It must not know prices or processes.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Annotated

import msgspec

from wickguard.backend import ForecastResult
from wickguard.dialect.decoding import MAX_REST_BYTES, decode
from wickguard.dialect.structure import scan
from wickguard.modality.series import LARGEST_VALUE
from wickguard.rejection import Reason, Rejection
from wickguard.units import KIB

DEFAULT_QUANTILES = (0.1, 0.5, 0.9)
MAX_QUANTILES = 99
_Quantile = Annotated[float, msgspec.Meta(ge=0, le=1)]
_Value = Annotated[float, msgspec.Meta(ge=-LARGEST_VALUE, le=LARGEST_VALUE)]


class ForecastRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST /v1/forecast. What is left out is as the model's configuration says."""

    series: msgspec.Raw
    horizon: Annotated[int, msgspec.Meta(ge=1, lt=2**31)]
    model: str | None = None
    num_samples: Annotated[int, msgspec.Meta(ge=1, lt=2**31)] | None = None
    quantiles: tuple[_Quantile, ...] = DEFAULT_QUANTILES
    temperature: Annotated[float, msgspec.Meta(ge=0.001, le=100)] | None = None
    top_k: Annotated[int, msgspec.Meta(ge=1, lt=2**31)] | None = None
    top_p: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] = 0
    return_samples: bool = False


class _Skim(msgspec.Struct, frozen=True):
    # Everything else is skipped without being built.
    series: msgspec.Raw = msgspec.Raw(b"")


@dataclass(frozen=True, slots=True)
class SeriesLimits:
    """What may be built from a body at all: series, and points of all together."""

    max_series: int
    max_points: int


@dataclass(frozen=True, slots=True)
class ForecastTask:
    """The request, and its series as little-endian f32 with NaN for null."""

    request: ForecastRequest
    series: list[bytes]

    @property
    def lengths(self) -> list[int]:
        """Points per series."""
        return [len(one) // 4 for one in self.series]


_REQUEST = msgspec.json.Decoder(ForecastRequest)
_SKIMMED = msgspec.json.Decoder(_Skim)
_ONE = msgspec.json.Decoder(list[_Value | None])
_PIECE_BYTES = 16 * KIB
_BETWEEN = b" \t\r\n,"


def parse(body: bytes, limits: SeriesLimits) -> ForecastTask | Rejection:
    """The task in a body."""
    if len(body) > MAX_REST_BYTES:
        skimmed = decode(_SKIMMED, body)
        if isinstance(skimmed, Rejection):
            return skimmed
        rest = len(body) - len(memoryview(skimmed.series))
        if rest > MAX_REST_BYTES:
            return Rejection(
                Reason.MALFORMED, "what comes beside the series is too large", limit=MAX_REST_BYTES, seen=rest,
                unit="bytes", accepted="only the fields of this API, without padding",
            )  # fmt: skip
    request = decode(_REQUEST, body)
    if isinstance(request, Rejection):
        return request
    if not 0 < len(request.quantiles) <= MAX_QUANTILES:
        return Rejection(
            Reason.OUT_OF_ENVELOPE, "too few or too many", "quantiles", limit=MAX_QUANTILES, seen=len(request.quantiles),
            unit="quantiles", accepted=f"1 to {MAX_QUANTILES} quantiles",
        )  # fmt: skip
    series = _decode_series(bytes(request.series), limits)
    return series if isinstance(series, Rejection) else ForecastTask(request, series)


def _decode_series(data: bytes, limits: SeriesLimits) -> list[bytes] | Rejection:
    counts = scan(data)
    if data[:1] != b"[" or counts.strings:
        return Rejection(
            Reason.MALFORMED, "wrong type", "series", accepted="a list of numbers and nulls, or a list of such lists"
        )
    if counts.brackets - 1 > limits.max_series:
        return Rejection(
            Reason.BATCH_TOO_LARGE, "too many series in one request; send several requests", "series",
            limit=limits.max_series, seen=counts.brackets - 1, unit="series", accepted=f"1 to {limits.max_series} series",
        )  # fmt: skip
    if counts.commas + 1 > limits.max_points:
        return Rejection(
            Reason.OUT_OF_ENVELOPE, "too many points", "series", limit=limits.max_points, seen=counts.commas + 1,
            unit="points", accepted=f"at most {limits.max_points} points in all",
        )  # fmt: skip
    if counts.brackets == 1:
        one = _pack(data, "series")
        return one if isinstance(one, Rejection) else [one]
    found: list[bytes] = []
    # The decoder has found the whole to be valid JSON: between the outer brackets there are lists, or what is refused here.
    at = 1
    while (start := data.find(b"[", at)) >= 0:
        end = data.find(b"]", start)
        if data.count(b"[", start + 1, end) or data[at:start].strip(_BETWEEN):
            break
        one = _pack(data[start : end + 1], f"series[{len(found)}]")
        if isinstance(one, Rejection):
            return one
        found.append(one)
        at = end + 1
    if data[at:].strip(_BETWEEN) != b"]":
        return Rejection(
            Reason.MALFORMED, "wrong type", "series", accepted="lists of numbers and nulls, not deeper ones"
        )
    return found


def _pack(data: bytes, field: str) -> bytes | Rejection:
    """One list of numbers as f32, a piece at a time: as objects they would take sixteen times the bytes of the body."""
    packed = bytearray()
    at, last = data.index(b"[") + 1, data.rindex(b"]")
    while at < last:
        cut = data.find(b",", min(at + _PIECE_BYTES, last), last)
        end = last if cut < 0 else cut
        values = decode(_ONE, b"[" + data[at:end] + b"]", field)
        if isinstance(values, Rejection):
            return values
        present = (math.nan if value is None else value for value in values)
        packed += struct.pack(f"<{len(values)}f", *present)
        at = end + 1
    return bytes(packed)


def render(result: ForecastResult, usage: dict[str, int]) -> bytes:
    """The success body; the entries are JSON already, made in the cage."""
    return b'{"data":[' + b",".join(result.data) + b'],"usage":' + msgspec.json.encode(usage) + b"}"
