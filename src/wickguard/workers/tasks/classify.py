"""Classify: a picture file in, the likeliest classes out; or prepared pixels in, logits out.

It must not know HTTP, dialects or limits.
"""

from __future__ import annotations

import heapq
import math
import struct

import msgspec
import wickguard_engine as engine

from wickguard.backend import ClassifyPayload, ClassifyResult, ImageShape, LogitsResult, PixelsPayload

_PAYLOAD = msgspec.msgpack.Decoder(ClassifyPayload | PixelsPayload)


def describe(model: engine.Classifier) -> dict[str, object]:
    """What ModelSpec says of it beyond the numbers that every model has."""
    height, width = model.size
    return {
        "image": ImageShape(height, width, tuple(model.labels), model.flops(), model.pixels_peak_bytes(1)),
    }


def run(model: engine.Classifier, payload: bytes) -> bytes:
    """One job. Raises engine.EngineError."""
    job = _PAYLOAD.decode(payload)
    if isinstance(job, PixelsPayload):
        return msgspec.msgpack.encode(LogitsResult(model.classify_pixels(job.pixel_values)))
    logits = model.classify([job.image], max_pixels=job.max_pixels)
    likeliest = rank(struct.unpack(f"<{len(logits) // 4}f", logits), job.top_k)
    found = [{"index": index, "label": model.labels[index], "score": score} for index, score in likeliest]
    return msgspec.msgpack.encode(ClassifyResult(msgspec.json.encode(found)))


def rank(logits: tuple[float, ...], top_k: int) -> list[tuple[int, float]]:
    """The `top_k` likeliest classes with their probabilities (softmax over all), the likeliest first."""
    top = max(logits)
    weights = [math.exp(logit - top) for logit in logits]
    total = math.fsum(weights)
    return [
        (index, weights[index] / total) for index in heapq.nlargest(top_k, range(len(weights)), weights.__getitem__)
    ]
