"""Prepare: the loader for wickguard's own engine: what a job and its answer look like for each task.

Job and answer are backend.EmbedPayload and EmbedResult as msgpack; each vector is a ready JSON fragment, so that the text
of the response is made in the cage, under the grant, and the front only joins it. It promises that whatever the engine says
about an input becomes Refused, and about memory MemoryError. It must not know HTTP, dialects or limits.
"""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Mapping
from typing import cast

import msgspec
import wickguard_engine as engine

from wickguard.backend import EmbedPayload, EmbedResult
from wickguard.errors import ModelError
from wickguard.records import Cost
from wickguard.units import format_bytes
from wickguard.workers.loader import Refused

_FLOAT_BYTES = 4
# "input 0 has 602 tokens with the special ones; the limit is 512", "... has more than 512 tokens ..." (counting stops there)
_INDEX = re.compile(r"input (\d+) ")
_TOO_MANY = re.compile(r"\btokens with the special ones; the limit is (\d+)")


class EngineAllocator:
    """The engine's allocator as the cage wants it (loader.Allocator)."""

    def attach(self, address: int) -> None:
        """See loader.Allocator."""
        engine.attach_ledger(address)

    def current(self) -> int:
        """See loader.Allocator."""
        return engine.ledger().current

    def reset_peak(self) -> None:
        """See loader.Allocator."""
        engine.reset_peak()

    def set_limit(self, nbytes: int | None) -> None:
        """See loader.Allocator."""
        engine.set_limit(nbytes)


class EngineModel:
    """A model of the engine (loader.Loaded)."""

    def __init__(self, model: engine.Embedder) -> None:
        self._model = model
        self.allocator = EngineAllocator()
        self.spec: Mapping[str, object] = {name: getattr(model.spec, name) for name in _SPEC_FIELDS}
        self._decoder = msgspec.msgpack.Decoder(EmbedPayload)

    def tainted(self) -> bool:
        """Whether the engine has caught a panic in this process."""
        return engine.panicked()

    def run(self, payload: bytes, limits: Cost) -> bytes:
        """One embed job. Raises Refused for an input the model can't take, MemoryError, or engine.EngineError."""
        job = self._decoder.decode(payload)
        try:
            found = self._model.embed(_alike(job.inputs), truncate=job.truncate, normalize=job.normalize)
        except engine.BadShape as error:
            raise _refused(str(error)) from error
        except engine.OutOfMemory as error:
            raise MemoryError(str(error)) from error
        width = len(found.data) // len(found.tokens)
        rows = (found.data[start : start + width] for start in range(0, len(found.data), width))
        fragment = as_base64 if job.encoding == "base64" else as_numbers
        return msgspec.msgpack.encode(EmbedResult([fragment(row) for row in rows], list(found.tokens)))


def _refused(message: str) -> Refused:
    """The engine's words about an input; too many tokens is a reason of its own, with the limit.

    How many there are in all nobody knows: the engine stops counting at the limit.
    """
    index = _INDEX.match(message)
    field = f"input[{index[1]}]" if index else "input"
    limit = _TOO_MANY.search(message)
    if limit is None:
        return Refused("out_of_envelope", message, field=field)
    return Refused("too_many_tokens", message, field=field, limit=int(limit[1]))


def _alike(inputs: list[str | list[int]]) -> list[str] | list[list[int]]:
    """The same list, known to be all texts or all token ids. Raises Refused."""
    texts = sum(isinstance(item, str) for item in inputs)
    if texts not in (0, len(inputs)):
        raise Refused("malformed", "texts and token ids can't be mixed", field="input")
    return cast("list[str] | list[list[int]]", inputs)


_SPEC_FIELDS = (
    "architecture",
    "layers",
    "hidden",
    "heads",
    "intermediate",
    "vocab",
    "max_tokens",
    "dimensions",
    "parameters",
    "weight_bytes",
    "token_expansion",
    "special_tokens",
)


def as_numbers(row: bytes) -> bytes:
    """Little-endian float32s as a JSON array; 9 significant digits give each float32 back exactly."""
    count = len(row) // _FLOAT_BYTES
    return b"[" + b",".join([b"%.9g"] * count) % struct.unpack(f"<{count}f", row) + b"]"


def as_base64(row: bytes) -> bytes:
    """Little-endian float32s as a JSON string of their base64."""
    return b'"' + base64.b64encode(row) + b'"'


def load(path: str, memory_limit_bytes: int | None) -> EngineModel:
    """The loader. Raises ModelError with the engine's message."""
    try:
        return EngineModel(engine.load(path, memory_limit=memory_limit_bytes))
    except engine.OutOfMemory as error:
        limit = format_bytes(memory_limit_bytes or 0)
        raise ModelError(f"needs more memory than the {limit} it may use: {error}") from error
    except engine.EngineError as error:
        raise ModelError(str(error)) from error
