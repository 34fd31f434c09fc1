"""The analytic price of a BERT call: floating-point operations and bytes that follow from the model's shape.

Decides how much work a call is, and between which bounds its price lies, before anything runs or has been learned. The
operations are exact (the engine computes every token once, without padding); what one operation costs is the machine's speed,
measured in the cage. The upper bound takes the token *bound* (a slow-down for caches and busy neighbours comes on top, see
PriceSettings); the lower one half of what the operations of the predicted tokens cost. Promises: monotone in every feature,
never zero. Pure: no clock, no I/O. It must not know queues, tenants or processes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from wickguard.backend import ModelSpec
from wickguard.cost.curve import Curve, uncalibrated
from wickguard.cost.model import Bounds
from wickguard.errors import SettingError
from wickguard.modality.text import TextFeatures
from wickguard.records import Features, Lane
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
# The share of the predicted work below which no measurement and no learning can bring a price.
LEAST_SHARE = 0.5
GIGA = 1e9
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
    calibrate: measure a model that has no cost file yet when it is first served (half a minute); without, prices are analytic
        and reserve more.
    """

    slowdown: Annotated[float, Meta(ge=1, le=1000)] = 3.0
    floor_cpu_s: Annotated[float, Meta(ge=0.01, le=3600)] = 0.25
    floor_bytes: Annotated[int, Meta(ge=MIB, le=1 << 46)] = 32 * MIB
    short_s: Annotated[float, Meta(ge=0, le=3600)] = 0.1
    max_cpu_s: Annotated[float, Meta(ge=0.01, le=3600)] = 60.0
    max_bytes: Annotated[int, Meta(ge=MIB, le=1 << 46)] = 1024 * MIB
    wall_factor: Annotated[float, Meta(ge=1, le=1000)] = 8.0
    calibrate: bool = True

    def __post_init__(self) -> None:
        check(self)
        if self.floor_cpu_s > self.max_cpu_s:
            raise SettingError("{} must be at most {}", "floor_cpu_s", "max_cpu_s", seen=f"{self.floor_cpu_s:g}")
        if self.floor_bytes > self.max_bytes:
            raise SettingError("{} must be at most {}", "floor_bytes", "max_bytes", seen=spell_bytes(self.floor_bytes))

    def lane(self, expected_s: float) -> Lane:
        """Where a call of this expected CPU time runs."""
        return Lane.SHORT if expected_s <= self.short_s else Lane.LONG


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


class TextCost:
    """The cost model of an encoder of texts (cost.model.CostModel). flops_per_s: of one core, measured in the cage."""

    terms = ("call", "input", "byte", "giga-operation of products", "giga-operation of attention")
    memory_terms = ("call", "byte as computed")
    kinds = ("ids", "text")

    def __init__(self, spec: ModelSpec, flops_per_s: float) -> None:
        self._spec = spec
        self._speed = flops_per_s
        # Operations are linear in tokens and in squares.
        self._dense = flops(spec, 1, 0)
        self._square = flops(spec, 0, 1)

    def prices(self, features: Features) -> bool:
        """See CostModel."""
        return isinstance(features, TextFeatures)

    def kind(self, features: Features) -> str:
        """Of token ids everything is known; of texts the tokens are a guess."""
        return "ids" if not _text(features).total_bytes else "text"

    def basis(self, features: Features) -> tuple[float, ...]:
        """See CostModel."""
        found = _text(features)
        return (
            1.0,
            float(found.inputs),
            float(found.total_bytes),
            found.token_typical * self._dense / GIGA,
            found.square_typical * self._square / GIGA,
        )

    def shared(self, features: Features) -> tuple[float, ...]:
        """See CostModel."""
        return ()

    def memory_basis(self, features: Features) -> tuple[float, ...]:
        """See CostModel."""
        found = _text(features)
        longest = min(found.longest_bound, found.token_typical)
        return 1.0, float(self._bytes(found, found.token_typical, longest))

    def bounds(self, features: Features) -> Bounds:
        """See CostModel."""
        found = _text(features)
        fixed_s = CALL_OVERHEAD_S + INPUT_OVERHEAD_S * found.inputs + TOKENIZE_S_PER_BYTE * found.total_bytes
        typical = found.token_typical * self._dense + found.square_typical * self._square
        most = found.token_bound * self._dense + found.square_bound * self._square
        return Bounds(
            LEAST_SHARE * typical / self._speed,
            fixed_s + max(typical, most) / self._speed,
            self._bytes(found, max(found.token_bound, found.token_typical), found.longest_bound),
        )

    def assumed(self) -> Curve:
        """The curve of a model that has not been calibrated: a speed, and assumptions for everything else."""
        per_giga_s = GIGA / self._speed
        cpu = (CALL_OVERHEAD_S, INPUT_OVERHEAD_S, TOKENIZE_S_PER_BYTE, per_giga_s, per_giga_s)
        return uncalibrated(cpu, (0.0, 1.0), self.kinds)

    def _bytes(self, features: TextFeatures, tokens: int, longest: int) -> int:
        return (
            activation_bytes(self._spec, tokens, longest)
            + PAYLOAD_BYTES_PER_BYTE * features.total_bytes
            + TOKEN_BYTES * tokens
            + features.inputs * self._spec.dimensions * (F32 + 24)
        )


def _text(features: Features) -> TextFeatures:
    assert isinstance(features, TextFeatures)  # noqa: S101 - CostModel.prices was asked
    return features
