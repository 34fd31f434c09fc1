"""The analytic price of a BERT call: floating-point operations and bytes that follow from the model's shape.

Decides the expected cost and the ceiling of a call from its features, before anything runs. The operations are exact
(the engine computes every token once, without padding); what one operation costs is the machine's speed, measured once in
the cage at start-up. The ceiling takes the token *bound* and a slow-down factor for caches, a busy neighbour and the
shape of small matrices. Promises: monotone in every feature, never zero, the ceiling never below the expectation. Pure: no
clock, no I/O. It must not know queues, tenants or processes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from wickguard.backend import ModelSpec
from wickguard.errors import SettingError
from wickguard.modality.text import TextFeatures
from wickguard.records import Cost, Lane, Quote
from wickguard.setting import check
from wickguard.units import KIB, MIB, spell_bytes

# Work of one call that no feature explains: frames, decoding the payload, one allocation of everything (seconds).
CALL_OVERHEAD_S = 0.0005
# Per input: tokenizer set-up, pooling, one vector formatted as JSON (seconds).
INPUT_OVERHEAD_S = 0.0002
# A tokenizer reads about 1 to 4 MB/s on one core; the slow end is charged (seconds per byte).
TOKENIZE_S_PER_BYTE = 1.0e-6
# The payload exists as frame, as msgpack and as strings in the worker; the tokenizer itself streams (bytes per byte).
PAYLOAD_BYTES_PER_BYTE = 4
# The engine computes at most this many rows at once, or one longer text, and the feed-forward part in smaller blocks
# (PASS_ROWS and BLOCK_ROWS in engine/src/models/bert.rs; a test compares the two formulas).
PASS_ROWS = 512
BLOCK_ROWS = 96
# Attention's scratch: blocks of scores and of transposed keys, a small multiple of the longest text (floats per token).
SCRATCH_FLOATS = 512
F32 = 4
# Prose varies in tokens per byte, and machines in speed: without a calibration this spread of ln(actual / expected) is
# assumed, and the reservation is its 95th percentile.
SPREAD = 0.25
RESERVE_FACTOR = math.exp(1.645 * SPREAD)
# Ids while a text is cut, and once more with the special tokens around them (bytes per token).
TOKEN_BYTES = 16


@dataclass(frozen=True, slots=True)
class PriceSettings:
    """How far a grant may exceed the expectation, and where the lanes part.

    slowdown: ceiling over bound at the measured speed.
    floor_cpu_s: least CPU grant.
    floor_bytes: least memory grant.
    short_s: calls expected to take longer run in the long lane.
    max_cpu_s: no call may be expected to take, or be granted, more CPU time.
    max_bytes: no call may be granted more memory.
    wall_factor: granted wall time over granted CPU time.
    """

    slowdown: Annotated[float, Meta(ge=1, le=1000)] = 3.0
    floor_cpu_s: Annotated[float, Meta(ge=0.01, le=3600)] = 0.25
    floor_bytes: Annotated[int, Meta(ge=MIB, le=1 << 46)] = 32 * MIB
    short_s: Annotated[float, Meta(ge=0, le=3600)] = 0.1
    max_cpu_s: Annotated[float, Meta(ge=0.01, le=3600)] = 60.0
    max_bytes: Annotated[int, Meta(ge=MIB, le=1 << 46)] = 1024 * MIB
    wall_factor: Annotated[float, Meta(ge=1, le=1000)] = 8.0

    def __post_init__(self) -> None:
        check(self)
        if self.floor_cpu_s > self.max_cpu_s:
            raise SettingError("{} must be at most {}", "floor_cpu_s", "max_cpu_s", seen=f"{self.floor_cpu_s:g}")
        if self.floor_bytes > self.max_bytes:
            raise SettingError("{} must be at most {}", "floor_bytes", "max_bytes", seen=spell_bytes(self.floor_bytes))


def flops(spec: ModelSpec, tokens: int, squares: int) -> float:
    """Operations of a forward pass over texts with `tokens` tokens in all and `squares` = sum of squared lengths.

    Per layer: four d x d projections, two d x ff, and attention's two products. One multiply-add counts as two.
    """
    dense = 2.0 * tokens * (4 * spec.hidden * spec.hidden + 2 * spec.hidden * spec.intermediate)
    attention = 4.0 * squares * spec.hidden
    return spec.layers * (dense + attention)


def activation_bytes(spec: ModelSpec, tokens: int, longest: int) -> int:
    """Bytes of activations alive at once: one pass of rows, one block of the widest layer, attention's scratch."""
    rows = min(tokens, max(PASS_ROWS, longest))
    floats = rows * (5 * spec.hidden + 2) + min(rows, BLOCK_ROWS) * (spec.intermediate + spec.hidden)
    return F32 * (floats + SCRATCH_FLOATS * longest) + 256 * KIB


def quote(spec: ModelSpec, features: TextFeatures, flops_per_s: float, settings: PriceSettings) -> Quote:
    """The price of a call. `flops_per_s` is the speed of one core, measured in the cage."""
    fixed_s = CALL_OVERHEAD_S + INPUT_OVERHEAD_S * features.inputs + TOKENIZE_S_PER_BYTE * features.total_bytes
    expected_s = fixed_s + flops(spec, features.token_typical, features.square_typical) / flops_per_s
    bound_s = fixed_s + flops(spec, features.token_bound, features.square_bound) / flops_per_s
    memory = (
        activation_bytes(spec, features.token_bound, features.longest_bound)
        + PAYLOAD_BYTES_PER_BYTE * features.total_bytes
        + TOKEN_BYTES * features.token_bound
        + features.inputs * spec.dimensions * (F32 + 24)
    )
    ceiling_cpu_s = max(settings.floor_cpu_s, bound_s * settings.slowdown)
    reserve_s = min(ceiling_cpu_s, expected_s * RESERVE_FACTOR)
    return Quote(
        expected=Cost(expected_s, expected_s, memory),
        reserve=Cost(reserve_s, reserve_s, memory),
        ceiling=Cost(
            ceiling_cpu_s, ceiling_cpu_s * settings.wall_factor, max(settings.floor_bytes, memory + memory // 4)
        ),
        lane=Lane.SHORT if expected_s <= settings.short_s else Lane.LONG,
        feature_class=class_of(features.as_dict()),
        spread=SPREAD,
    )


def class_of(features: Mapping[str, int]) -> str:
    """The class of a call: the power of two of each feature, so that calls of about the same size are judged together."""
    return ",".join(f"{name}:{value.bit_length()}" for name, value in sorted(features.items()))
