"""The analytic price of text that is written: reading the prompt is counted in operations, writing in steps.

Reading a prompt is bound by arithmetic: operations over the speed of one core. Each token that is written reads all weights
once, and the keys and values of everything before it: a step is what it takes with nothing before it, as measured in the cage,
and grows with the bytes that it reads besides. The answer counts with all tokens that may be written: how many will be is the
model's decision. Memory is exact (a test compares it with the engine's own bound), because a session's cache is allocated whole
when it starts. Promises: monotone in every feature, never zero, the ceiling never below the expectation. Pure. It must not know
queues, tenants or processes.
"""

from __future__ import annotations

from dataclasses import dataclass

from wickguard.backend import ModelSpec, WriterShape
from wickguard.cost.analytic import (
    CALL_OVERHEAD_S,
    F32,
    PAYLOAD_BYTES_PER_BYTE,
    TOKENIZE_S_PER_BYTE,
    Estimate,
    PriceSettings,
    priced,
)
from wickguard.modality.generation import GenerationFeatures
from wickguard.records import Quote
from wickguard.units import KIB, MIB

# Of the engine: rows of a prompt that go through the layers together, rows of the feed-forward part, the kernels' panel, rows
# of a block of scores, and the most of them (engine/src/models/llama.rs and kernels/attention.rs; a test compares).
CHUNK_ROWS = 256
BLOCK_ROWS = 96
PANEL = 16
LEAST_BLOCK = 24
MOST_ROWS = 192
SCORE_BUDGET = 12 * KIB
# Sampling (engine/src/sampling.rs) and tokenising in windows (engine/src/bpe.rs), bytes per token of the vocabulary and of the
# prompt, and of one window.
SAMPLER_BYTES = 17
ID_BYTES = 12
WINDOW_BYTES = 16 * KIB * 160
TEMPLATE_BYTES_PER_BYTE = 12


@dataclass(frozen=True, slots=True)
class WritingSpeed:
    """One core with one model, measured in the cage: operations per second, and seconds per token with nothing before it."""

    flops_per_s: float
    step_s: float


def flops(spec: ModelSpec, tokens: int) -> float:
    """Operations of reading a prompt of so many tokens. A multiply-add counts as two; the last token alone has logits."""
    shape = _shape(spec)
    query, kv = spec.heads * shape.head_width, shape.kv_heads * shape.head_width
    dense = 2.0 * tokens * (spec.hidden * (2 * query + 2 * kv) + 3 * spec.hidden * spec.intermediate)
    attention = 4.0 * query * tokens * (tokens + 1) / 2
    return spec.layers * (dense + attention) + 2.0 * spec.hidden * spec.vocab


def cache_bytes(spec: ModelSpec, tokens: int) -> int:
    """Bytes of the keys and values of so many tokens."""
    shape = _shape(spec)
    keys = _padded(tokens) * shape.head_width
    values = tokens * _padded(shape.head_width)
    return F32 * spec.layers * shape.kv_heads * (keys + values)


def peak_bytes(spec: ModelSpec, features: GenerationFeatures) -> int:
    """Bytes alive at once: the cache for prompt and answer, the workspace, or what tokenising takes before them."""
    shape = _shape(spec)
    tokens = features.prompt_bound + features.max_tokens
    rows = min(tokens, CHUNK_ROWS)
    query, kv = spec.heads * shape.head_width, shape.kv_heads * shape.head_width
    block = max(LEAST_BLOCK, spec.heads // max(1, shape.kv_heads))
    floats = (
        rows * (2 * spec.hidden + query + 2 * kv + query + shape.head_width)
        + 2 * min(rows, BLOCK_ROWS) * spec.intermediate
        + max(SCORE_BUDGET, block * _padded(tokens))
        + MOST_ROWS * _padded(shape.head_width)
        + spec.vocab
    )
    running = cache_bytes(spec, tokens) + F32 * floats + SAMPLER_BYTES * spec.vocab
    # A normaliser that expands makes every buffer of a window longer.
    expansion = max(1, round(spec.token_expansion))
    tokenizing = (
        ID_BYTES * (features.prompt_bound + expansion * 16 * KIB)
        + WINDOW_BYTES * expansion
        + TEMPLATE_BYTES_PER_BYTE * features.prompt_bytes
    )
    return max(running, tokenizing) + 8 * tokens + 64 * KIB + PAYLOAD_BYTES_PER_BYTE * features.prompt_bytes + MIB


def seconds(spec: ModelSpec, features: GenerationFeatures, prompt: int, speed: WritingSpeed) -> float:
    """CPU-seconds of a call whose prompt has `prompt` tokens and whose answer has all it may have."""
    read_s = flops(spec, prompt) / speed.flops_per_s
    steps = features.max_tokens
    # A step reads the cache of all tokens before it at the rate at which it reads the weights.
    mean_tokens = prompt + steps / 2
    grown = cache_bytes(spec, 1024) / 1024 * mean_tokens / max(1, spec.weight_bytes)
    text_s = TOKENIZE_S_PER_BYTE * features.prompt_bytes
    return CALL_OVERHEAD_S + text_s + read_s + steps * speed.step_s * (1 + grown)


def quote(spec: ModelSpec, features: GenerationFeatures, speed: WritingSpeed, settings: PriceSettings) -> Quote:
    """The price of a call that writes."""
    expected_s = seconds(spec, features, features.prompt_typical, speed)
    bound_s = seconds(spec, features, features.prompt_bound, speed)
    return priced(Estimate(expected_s, max(expected_s, bound_s), peak_bytes(spec, features)), features, settings)


def _padded(count: int) -> int:
    return -(-count // PANEL) * PANEL


def _shape(spec: ModelSpec) -> WriterShape:
    if spec.writer is None:
        raise AssertionError(f"{spec.name} does not write")
    return spec.writer
