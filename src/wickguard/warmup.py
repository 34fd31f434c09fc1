"""Warm-up: what one core does with a model that writes, measured in the cage when the server starts.

Decides which calls tell it: long prompts with one token for reading, short ones with many for writing; each the median of
a few. It must not know requests or prices.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass

import msgspec

from wickguard.backend import GeneratePayload, GenerateResult, Job, ModelSpec
from wickguard.cost.generation import WritingSpeed, flops, peak_bytes
from wickguard.errors import ModelError
from wickguard.modality.generation import GenerationFeatures
from wickguard.records import Cost, Lane, OutcomeKind
from wickguard.units import MIB
from wickguard.workers.pool import Pool

_PROMPT_TOKENS = 256
_STEPS = 32
_CALLS = 5
# How fast memory is read when a model says nothing: a slow machine.
_BYTES_PER_S = 5e9
_ENCODER = msgspec.msgpack.Encoder()
_RESULT = msgspec.msgpack.Decoder(GenerateResult)


@dataclass(frozen=True, slots=True)
class _Call:
    """CPU-seconds of a call, and the tokens that it wrote."""

    cpu_s: float
    tokens: int


async def measure_writing(pool: Pool, spec: ModelSpec) -> WritingSpeed:
    """Operations per second while reading, seconds per token while writing. Raises ModelError when the model can't compute."""
    prompt = max(1, min(_PROMPT_TOKENS, spec.max_tokens // 2))
    steps = max(2, min(_STEPS, spec.max_tokens // 2))
    one_s = statistics.median(call.cpu_s for call in await _calls(pool, spec, 1, 1))
    read_s = statistics.median(call.cpu_s for call in await _calls(pool, spec, prompt, 1))
    # What reading takes beyond a single token, and writing beyond the first: the rest is the same for every call.
    operations = flops(spec, prompt) - flops(spec, 1)
    # An answer may end by itself, even at once.
    written = [call for call in await _calls(pool, spec, 1, steps) if call.tokens > 1]
    step_s = [(call.cpu_s - one_s) / (call.tokens - 1) for call in written] or [spec.weight_bytes / _BYTES_PER_S]
    return WritingSpeed(operations / max(1e-6, read_s - one_s), max(1e-6, statistics.median(step_s)))


async def _calls(pool: Pool, spec: ModelSpec, prompt: int, steps: int) -> list[_Call]:
    ids = [1 + index % max(1, spec.vocab - 1) for index in range(prompt)]
    features = GenerationFeatures(0, 0, prompt, prompt, steps, prompt + steps)
    limits = Cost(cpu_s=120.0, wall_s=240.0, peak_bytes=2 * peak_bytes(spec, features) + 64 * MIB)
    calls: list[_Call] = []
    for number in range(_CALLS):
        payload = GeneratePayload(
            prompt=ids, messages=[], prompt_tokens=prompt, max_tokens=steps, clip=False, temperature=2.0, top_p=1.0, top_k=0,
            seed=number, stop=[], repetition_penalty=1.0, presence_penalty=0.0, frequency_penalty=0.0, stream=False,
        )  # fmt: skip
        job = Job(f"warm-up-{prompt}-{steps}-{number}", spec.name, _ENCODER.encode(payload), limits, Lane.SHORT)
        outcome = await pool.execute(job)
        if outcome.kind is not OutcomeKind.COMPLETED or outcome.result is None:
            raise ModelError(f"{spec.name} can't compute: its first call ended as {outcome.kind} ({outcome.detail})")
        calls.append(_Call(outcome.usage.cpu_s, _RESULT.decode(outcome.result).tokens[1]))
    return calls
