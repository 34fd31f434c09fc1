"""Pictures and series in the real cage: kernel and ledger stop a job at its grant, and nothing else dies."""

from __future__ import annotations

import asyncio
import itertools
import math
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from tests import pictures
from tests.process.cage import MARK, Cage, marked

from wickguard.backend import (
    ClassifyPayload,
    ClassifyResult,
    ForecastPayload,
    ForecastResult,
    Job,
    Refusal,
    Task,
)
from wickguard.records import Cost, Lane, Outcome, OutcomeKind
from wickguard.units import MIB
from wickguard.workers.death import Death
from wickguard.workers.events import WorkerDied, WorkerEvent
from wickguard.workers.pool import Pool
from wickguard.workers.settings import WorkerSettings, ZygoteSpec

pytest.importorskip("wickguard_engine")
GRANT = Cost(20.0, 60.0, 512 * MIB)
_NUMBERS = itertools.count()


@asynccontextmanager
async def serving(shared: Path, *names: str) -> AsyncIterator[Cage]:
    """A pool that serves demonstration models."""
    events: list[WorkerEvent] = []
    mark = f"modalities-{id(events)}"
    specs = [ZygoteSpec(name, str(shared / "models" / name), extra_env=((MARK, mark),)) for name in names]
    pool = Pool(specs, WorkerSettings(slots=1, long_slots=1), events.append)
    await pool.start()
    try:
        yield Cage(pool, events, mark)
    finally:
        await pool.close()
        assert not marked(mark)


async def run(c: Cage, model: str, payload: msgspec.Struct, limits: Cost = GRANT) -> Outcome:
    """One job."""
    return await c.pool.execute(
        Job(f"job-{next(_NUMBERS)}", model, msgspec.msgpack.encode(payload), limits, Lane.SHORT)
    )


def test_each_model_does_its_task_when_several_are_served(shared: Path) -> None:
    """A digit and a forecast from one pool; each model says what it is."""

    async def scenario() -> None:
        async with serving(shared, "digits-vit", "series-chronos") as c:
            assert {name: spec.task for name, spec in c.pool.models.items()} == {
                "digits-vit": Task.CLASSIFY, "series-chronos": Task.FORECAST
            }  # fmt: skip
            shape = c.pool.models["digits-vit"].image
            assert shape is not None
            assert (shape.height, shape.width, len(shape.labels)) == (32, 32, 10)
            seen = await run(c, "digits-vit", ClassifyPayload(pictures.saved((64, 48), "JPEG"), 64 * 48, 3))
            assert seen.kind is OutcomeKind.COMPLETED, seen.detail
            assert seen.result is not None
            found = msgspec.json.decode(msgspec.msgpack.decode(seen.result, type=ClassifyResult).data)
            assert [len(found), found[0]["score"] >= found[1]["score"]] == [3, True]
            wave = struct.pack("<96f", *(math.sin(at / 4) for at in range(96)))
            ahead = await run(c, "series-chronos", ForecastPayload([wave], 8, 5, [0.1, 0.9]))
            assert ahead.result is not None
            first = msgspec.json.decode(msgspec.msgpack.decode(ahead.result, type=ForecastResult).data[0])
            assert len(first["mean"]) == len(first["quantiles"]["0.1"]) == 8
            assert all(low <= high for low, high in zip(*first["quantiles"].values(), strict=True))

    asyncio.run(scenario())


def test_out_of_memory_when_a_picture_needs_more_than_its_grant(shared: Path) -> None:
    """Thirty megapixels from some kilobytes, under a grant of 16 MiB: the worker ends, and the next call is served."""

    async def scenario() -> None:
        async with serving(shared, "digits-vit") as c:
            bomb = ClassifyPayload(pictures.flat((6000, 5000), "WEBP", "RGB"), 30_000_000, 1)
            outcome = await run(c, "digits-vit", bomb, Cost(20.0, 60.0, 16 * MIB))
            assert outcome.kind is OutcomeKind.OUT_OF_MEMORY, outcome.detail
            assert outcome.usage.peak_bytes <= 16 * MIB
            await c.full()
            assert c.seen(WorkerDied)[0].death is Death.LEDGER_BREACH
            good = await run(c, "digits-vit", ClassifyPayload(pictures.flat((64, 64)), 4096, 1))
            assert good.kind is OutcomeKind.COMPLETED

    asyncio.run(scenario())


def test_refused_when_a_picture_has_more_pixels_than_its_header_was_granted_for(shared: Path) -> None:
    """Whatever the front read: the cage compares again, before pixels are allocated."""

    async def scenario() -> None:
        async with serving(shared, "digits-vit") as c:
            outcome = await run(c, "digits-vit", ClassifyPayload(pictures.TINY_WEBP, 1_000_000, 1))
            assert outcome.kind is OutcomeKind.REFUSED_BY_WORKER
            assert msgspec.json.decode(outcome.detail, type=Refusal).reason == "out_of_envelope"
            assert outcome.usage.peak_bytes < MIB

    asyncio.run(scenario())


def test_expired_cpu_when_a_forecast_computes_beyond_its_grant(shared: Path) -> None:
    """Samples without end are stopped by the kernel's timer."""

    async def scenario() -> None:
        async with serving(shared, "series-chronos") as c:
            endless = ForecastPayload([struct.pack("<4f", 1, 2, 3, 4)] * 4, 512, 1024, [0.5])
            outcome = await run(c, "series-chronos", endless, Cost(0.5, 60.0, 512 * MIB))
            assert outcome.kind is OutcomeKind.EXPIRED_CPU, outcome.detail
            assert 0.4 < outcome.usage.cpu_s < 2.0

    asyncio.run(scenario())
