"""Warm-up: a call of known size for each kind of model, whose CPU time tells the machine's speed with it.

Decides the calls: long enough that overheads are small, short enough for any model. It must not know how they are run.
"""

from __future__ import annotations

import math

import msgspec

from wickguard.backend import EmbedPayload, ForecastPayload, ModelSpec, PixelsPayload
from wickguard.cost import analytic
from wickguard.cost import series as series_cost
from wickguard.modality import series

_TOKENS = 128
# Images are sent until there is about this much to compute.
_IMAGE_FLOPS = 5e8
_MOST_IMAGES = 32
_F32 = 4


def warm_up(spec: ModelSpec) -> tuple[bytes, float]:
    """(payload, floating-point operations) of a call for this model."""
    if spec.image is not None:
        shape = spec.image
        count = max(1, min(_MOST_IMAGES, math.ceil(_IMAGE_FLOPS / shape.flops)))
        values = bytes(count * 3 * shape.height * shape.width * _F32)
        return msgspec.msgpack.encode(PixelsPayload(values)), float(count * shape.flops)
    if spec.series is not None:
        seen = series.Reach(spec.series.context, spec.series.piece)
        features = series.measure([seen.context], seen.piece, spec.series.samples, seen)
        payload = ForecastPayload([bytes(seen.context * _F32)], seen.piece, spec.series.samples, [0.5])
        return msgspec.msgpack.encode(payload), float(series_cost.flops(spec.series, features))
    tokens = min(_TOKENS, spec.max_tokens)
    ids = [index % spec.vocab for index in range(1, tokens - spec.special_tokens + 1)]
    texts = EmbedPayload([ids], truncate=False, normalize=True, encoding="float")
    return msgspec.msgpack.encode(texts), analytic.flops(spec, tokens, tokens * tokens)
