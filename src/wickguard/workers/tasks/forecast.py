"""Forecast: series in; mean, quantiles and perhaps samples of what may follow out, as JSON text.

It must not know HTTP, dialects or limits.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

import msgspec
import wickguard_engine as engine

from wickguard.backend import ForecastPayload, ForecastResult, SeriesShape

_PAYLOAD = msgspec.msgpack.Decoder(ForecastPayload)


def describe(model: engine.Forecaster) -> dict[str, object]:
    """What ModelSpec says of it beyond the numbers that every model has."""
    shape = model.shape
    return {
        "series": SeriesShape(
            model.context, model.horizon, shape["encoder_layers"], shape["decoder_layers"], shape["hidden"],
            shape["inner"], shape["intermediate"], shape["vocab"], model.num_samples,
        )
    }  # fmt: skip


def run(model: engine.Forecaster, payload: bytes) -> bytes:
    """One job. Raises engine.EngineError."""
    job = _PAYLOAD.decode(payload)
    drawn = model.forecast(
        job.series,
        job.horizon,
        num_samples=job.num_samples,
        temperature=job.temperature,
        top_k=job.top_k,
        top_p=job.top_p,
        seed=job.seed,
    )
    size = 4 * job.num_samples * job.horizon
    found = [_one(index, drawn[index * size : (index + 1) * size], job) for index in range(len(job.series))]
    return msgspec.msgpack.encode(ForecastResult(found))


def _one(index: int, drawn: bytes, job: ForecastPayload) -> bytes:
    values = struct.unpack(f"<{len(drawn) // 4}f", drawn)
    rows = [values[start : start + job.horizon] for start in range(0, len(values), job.horizon)]
    steps = [sorted(step) for step in zip(*rows, strict=True)]
    answer: dict[str, object] = {
        "index": index,
        "mean": [math.fsum(step) / len(step) for step in steps],
        "quantiles": {f"{q:g}": [quantile(step, q) for step in steps] for q in job.quantiles},
    }
    if job.return_samples:
        answer["samples"] = rows
    return msgspec.json.encode(answer)


def quantile(ascending: Sequence[float], q: float) -> float:
    """Linear between the two nearest values (Hyndman and Fan's type 7, as numpy's default)."""
    at = q * (len(ascending) - 1)
    low = math.floor(at)
    high = min(low + 1, len(ascending) - 1)
    return ascending[low] + (ascending[high] - ascending[low]) * (at - low)
