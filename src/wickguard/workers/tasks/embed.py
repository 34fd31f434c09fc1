"""Embed: texts or token ids in, vectors out, each a ready JSON fragment.

The text of the response is made in the cage, under the grant, and the front only joins it. It must not know HTTP or limits.
"""

from __future__ import annotations

import base64
import struct
from typing import cast

import msgspec
import wickguard_engine as engine

from wickguard.backend import EmbedPayload, EmbedResult
from wickguard.workers.loader import Refused

_FLOAT_BYTES = 4
_PAYLOAD = msgspec.msgpack.Decoder(EmbedPayload)


def describe(model: engine.Embedder) -> dict[str, object]:
    """What ModelSpec says of it beyond the numbers that every model has."""
    return {}


def run(model: engine.Embedder, payload: bytes) -> bytes:
    """One job. Raises Refused, or engine.EngineError."""
    job = _PAYLOAD.decode(payload)
    found = model.embed(_alike(job.inputs), truncate=job.truncate, normalize=job.normalize)
    width = len(found.data) // len(found.tokens)
    rows = (found.data[start : start + width] for start in range(0, len(found.data), width))
    fragment = as_base64 if job.encoding == "base64" else as_numbers
    return msgspec.msgpack.encode(EmbedResult([fragment(row) for row in rows], list(found.tokens)))


def _alike(inputs: list[str | list[int]]) -> list[str] | list[list[int]]:
    """The same list, known to be all texts or all token ids. Raises Refused."""
    texts = sum(isinstance(item, str) for item in inputs)
    if texts not in (0, len(inputs)):
        raise Refused("malformed", "texts and token ids can't be mixed", field="input")
    return cast("list[str] | list[list[int]]", inputs)


def as_numbers(row: bytes) -> bytes:
    """Little-endian float32s as a JSON array; 9 significant digits give each float32 back exactly."""
    count = len(row) // _FLOAT_BYTES
    return b"[" + b",".join([b"%.9g"] * count) % struct.unpack(f"<{count}f", row) + b"]"


def as_base64(row: bytes) -> bytes:
    """Little-endian float32s as a JSON string of their base64."""
    return b'"' + base64.b64encode(row) + b'"'
