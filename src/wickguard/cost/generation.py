"""The cost of text that is written: reading the prompt is counted in operations, writing in steps.

Reading a prompt is bound by arithmetic: operations over the speed of one core. Each token that is written reads all weights
once, and the keys and values of everything before it: a step costs the same for every call, and more by the bytes of cache
that it reads; of answers that are written together the weights are read once. The answer counts with all tokens that may be
written: how many will be is the model's decision. Logits after each token (raw tensors) are steps that read the output matrix
alone, and numbers that may have to be spelled. Memory is exact (a test compares it with the engine's own bound), because a
session's cache is allocated whole when it starts. Promises: monotone in every feature, never zero. Pure. It must not know
queues, tenants or processes.
"""

from __future__ import annotations

from wickguard.backend import ModelSpec, WriterShape
from wickguard.cost.analytic import (
    CALL_OVERHEAD_S,
    F32,
    GIGA,
    LEAST_SHARE,
    PAYLOAD_BYTES_PER_BYTE,
    TOKENIZE_S_PER_BYTE,
)
from wickguard.cost.curve import Curve, uncalibrated
from wickguard.cost.model import Bounds
from wickguard.modality.generation import GenerationFeatures
from wickguard.modality.logits import LogitsFeatures
from wickguard.records import Features
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
# Raw tensors: an id as bytes and as an object of Python, a number that is being spelled, and the copies of an answer: as the
# engine makes it, as bytes, joined, and in the result, whose buffer doubles as it grows.
BYTES_PER_ID = 64
BYTES_PER_NUMBER = 64
ANSWER_COPIES = 5

# What a token takes beside reading the weights, and how fast memory is read: as assumed, and on a slow machine at worst.
STEP_S, SLOW_STEP_S = 6e-5, 3e-4
BYTES_PER_S, SLOW_BYTES_PER_S = 15e9, 4e9
# One logit written out as JSON.
SPELL_S, SLOW_SPELL_S = 2e-7, 1e-6
MEGA = 1e6


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
    tokens = features.prompt_bound + features.max_tokens
    running = running_bytes(spec, tokens) + SAMPLER_BYTES * spec.vocab
    # A normaliser that expands makes every buffer of a window longer.
    expansion = max(1, round(spec.token_expansion))
    tokenizing = (
        ID_BYTES * (features.prompt_bound + expansion * 16 * KIB)
        + WINDOW_BYTES * expansion
        + TEMPLATE_BYTES_PER_BYTE * features.prompt_bytes
    )
    return max(running, tokenizing) + 8 * tokens + 64 * KIB + PAYLOAD_BYTES_PER_BYTE * features.prompt_bytes + MIB


def logits_bytes(spec: ModelSpec, features: LogitsFeatures) -> int:
    """Bytes alive at once for raw tensors: cache and workspace of one row, the ids, and the answer as often as it is copied."""
    running = running_bytes(spec, features.tokens)
    ids, spelling = BYTES_PER_ID * features.rows * features.tokens, BYTES_PER_NUMBER * spec.vocab
    return running + ids + spelling + ANSWER_COPIES * features.answer_bytes + 64 * KIB + MIB


def running_bytes(spec: ModelSpec, tokens: int) -> int:
    """Bytes of the cache for so many tokens, and of the workspace beside it."""
    shape = _shape(spec)
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
    return cache_bytes(spec, tokens) + F32 * floats


class GenerationCost:
    """The cost model (cost.model.CostModel) of a model that writes. flops_per_s: of one core while it reads a prompt.

    It prices text that is written, and the logits of raw tensors.
    """

    terms = (
        "call", "byte", "giga-operation read", "token written", "gigabyte of cache read", "row of logits",
        "million numbers spelled",
    )  # fmt: skip
    memory_terms = ("call", "byte as computed")
    kinds = ("ids", "text", "tensor")

    def __init__(self, spec: ModelSpec, flops_per_s: float) -> None:
        self._spec = spec
        self._speed = flops_per_s

    def prices(self, features: Features) -> bool:
        """See CostModel."""
        return isinstance(features, GenerationFeatures | LogitsFeatures)

    def kind(self, features: Features) -> str:
        """Of token ids everything is known; of texts the tokens are a guess. What is spelled is known too, and last in `kinds`,
        because that no kind reserves less than one before it must not make texts dearer.
        """
        if isinstance(features, LogitsFeatures):
            return "tensor"
        return "ids" if not _generation(features).prompt_bytes else "text"

    def basis(self, features: Features) -> tuple[float, ...]:
        """See CostModel."""
        if isinstance(features, LogitsFeatures):
            head = 2.0 * self._spec.hidden * self._spec.vocab
            read = features.rows * (flops(self._spec, features.tokens) - head)
            rows = float(features.rows * features.tokens)
            return 1.0, 0.0, read / GIGA, 0.0, 0.0, rows, features.spelled / MEGA
        found = _generation(features)
        return self._basis(found, found.prompt_typical)

    def shared(self, features: Features) -> tuple[float, ...]:
        """See CostModel. Written together, a token costs its row of the products, as one that is read does; the weights are
        read once for all. Of raw tensors nothing is shared.
        """
        if isinstance(features, LogitsFeatures):
            return ()
        steps = float(_generation(features).max_tokens)
        return 0.0, 0.0, -steps * flops(self._spec, 1) / GIGA, steps, 0.0

    def memory_basis(self, features: Features) -> tuple[float, ...]:
        """See CostModel."""
        return 1.0, float(self._bytes(features))

    def bounds(self, features: Features) -> Bounds:
        """See CostModel. How long an answer becomes is the model's decision: at least it is one token."""
        work = self.basis(features)
        read_s = work[2] * GIGA / self._speed
        most = self._coefficients(SLOW_STEP_S, SLOW_BYTES_PER_S, SLOW_SPELL_S)
        if isinstance(features, GenerationFeatures):
            work = self._basis(features, features.prompt_bound)
        most_s = sum(unit * amount for unit, amount in zip(most, work, strict=True))
        return Bounds(LEAST_SHARE * read_s, most_s, self._bytes(features))

    def assumed(self) -> Curve:
        """The curve of a model that has not been calibrated."""
        return uncalibrated(self._coefficients(STEP_S, BYTES_PER_S, SPELL_S), (0.0, 1.0), self.kinds)

    def _basis(self, found: GenerationFeatures, prompt: int) -> tuple[float, ...]:
        steps = found.max_tokens
        cache = cache_bytes(self._spec, PANEL) / PANEL * steps * (prompt + steps / 2)
        return 1.0, float(found.prompt_bytes), flops(self._spec, prompt) / GIGA, float(steps), cache / GIGA, 0.0, 0.0

    def _bytes(self, features: Features) -> int:
        if isinstance(features, LogitsFeatures):
            return logits_bytes(self._spec, features)
        return peak_bytes(self._spec, _generation(features))

    def _coefficients(self, step_s: float, bytes_per_s: float, spell_s: float) -> tuple[float, ...]:
        spec = self._spec
        weights_s = spec.weight_bytes / bytes_per_s
        # One row at a time: the output matrix is read for each, and its logits are copied on their way out.
        row_s = F32 * spec.vocab * (spec.hidden + ANSWER_COPIES) / bytes_per_s
        return (
            CALL_OVERHEAD_S, TOKENIZE_S_PER_BYTE, GIGA / self._speed, step_s + weights_s, GIGA / bytes_per_s, row_s,
            spell_s * MEGA,
        )  # fmt: skip


def _generation(features: Features) -> GenerationFeatures:
    assert isinstance(features, GenerationFeatures)  # noqa: S101 - CostModel.prices was asked
    return features


def _padded(count: int) -> int:
    return -(-count // PANEL) * PANEL


def _shape(spec: ModelSpec) -> WriterShape:
    if spec.writer is None:
        raise AssertionError(f"{spec.name} does not write")
    return spec.writer
