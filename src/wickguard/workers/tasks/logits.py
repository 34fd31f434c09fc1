"""Logits: token ids in, a row of the vocabulary after each of them out, as JSON numbers or raw.

Row by row, so that numbers that are written out exist as Python objects for one token at a time. It must not know HTTP,
dialects or limits.
"""

from __future__ import annotations

from array import array

import msgspec
import wickguard_engine as engine

from wickguard.backend import LogitsPayload, LogitsResult
from wickguard.workers.tasks.embed import as_numbers


def run(model: engine.Generator, job: LogitsPayload) -> bytes:
    """One job. Raises engine.EngineError."""
    ids = array("q")
    ids.frombytes(job.input_ids)
    each = len(ids) // job.rows
    parts: list[bytes] = []
    for start in range(0, len(ids), each):
        found = model.logits(ids[start : start + each].tolist())
        parts.append(found if job.encoding == "raw" else _spelled(found, len(found) // each))
    joined = (b"" if job.encoding == "raw" else b",").join(parts)
    del parts
    return msgspec.msgpack.encode(LogitsResult(joined, [len(ids)]))


def _spelled(values: bytes, row_bytes: int) -> bytes:
    """JSON numbers between commas."""
    rows = (values[start : start + row_bytes] for start in range(0, len(values), row_bytes))
    return b",".join([as_numbers(row)[1:-1] for row in rows])
