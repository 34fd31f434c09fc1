"""The cost of a forecast: one encoding and samples x horizon steps of decoding per series, piece by piece.

The operations are exact; a test compares the formula with the engine's. Promises: monotone in every feature, never zero. Pure.
It must not know queues, tenants or processes.
"""

from __future__ import annotations

import math

from wickguard.backend import ModelSpec, SeriesShape
from wickguard.cost.analytic import CALL_OVERHEAD_S, F32, GIGA, LEAST_SHARE, PAYLOAD_BYTES_PER_BYTE
from wickguard.cost.curve import Curve, uncalibrated
from wickguard.cost.model import Bounds
from wickguard.modality.series import Reach, SeriesFeatures, pieces
from wickguard.records import Features
from wickguard.units import MIB

# Each drawn value: a pass over the logits' candidates per token of the vocabulary, and what Python does with the value.
DRAW_S_PER_TOKEN = 1.0e-8
VALUE_S = 1.5e-6
# Sequences that the engine decodes together (MOST_SEQUENCES in engine/src/models/t5_decoder.rs), and its block of rows.
GROUP = 32
BLOCK_ROWS = 96
# Attention's scratch and packed copies, floats per token and column of a head, at most.
SCRATCH_FLOATS = 512
_MEGA = 1e6


def decode_flops(shape: SeriesShape, tokens: int, rows: int, steps: int) -> int:
    """Operations of `steps` steps of `rows` sequences about one series."""
    linear = 2 * (6 * shape.hidden * shape.inner + 2 * shape.hidden * shape.intermediate)
    layers = shape.decoder_layers * (linear + 4 * shape.inner * (tokens + math.ceil(steps / 2)))
    return steps * rows * (layers + 2 * shape.hidden * shape.vocab)


def flops(shape: SeriesShape, features: SeriesFeatures) -> int:
    """Operations of a call, every series counted as the mean one but for attention's square, which counts the longest."""
    reach = Reach(shape.context, shape.piece)
    steps = min(features.horizon, shape.piece)
    tokens, longest = features.looked_at, features.longest_looked_at
    dense = tokens * 2 * (4 * shape.hidden * shape.inner + 2 * shape.hidden * shape.intermediate)
    read = shape.encoder_layers * (dense + 4 * shape.inner * tokens * longest)
    read += shape.decoder_layers * tokens * 4 * shape.hidden * shape.inner
    written = features.series * decode_flops(shape, longest, features.samples, steps)
    return pieces(features, reach) * (read + written)


def peak_bytes(shape: SeriesShape, features: SeriesFeatures) -> int:
    """Bytes alive at once: one series' encoding, the caches of one group of samples, all values that come out."""
    tokens, steps = features.longest_looked_at, min(features.horizon, shape.piece)
    rows = min(features.samples, GROUP)
    memory = shape.decoder_layers * tokens * 2 * (shape.inner + 16 * 16)
    encode = tokens * (2 * shape.hidden + 4 * shape.inner + 8 * shape.inner) + BLOCK_ROWS * shape.intermediate
    caches = shape.decoder_layers * rows * steps * 2 * shape.inner
    decode = rows * (2 * shape.hidden + 5 * shape.inner + shape.intermediate + shape.vocab + tokens + 64)
    floats = memory + encode + caches + decode + SCRATCH_FLOATS * tokens + 2 * shape.vocab
    values = features.series * features.samples * features.horizon
    return F32 * floats + PAYLOAD_BYTES_PER_BYTE * F32 * features.points + 64 * values + MIB


class SeriesCost:
    """The cost model (cost.model.CostModel) of a forecaster."""

    terms = ("call", "giga-operation", "million values")
    memory_terms = ("call", "byte as computed")
    kinds = ("series",)

    def __init__(self, spec: ModelSpec, flops_per_s: float) -> None:
        if spec.series is None:
            raise AssertionError(f"{spec.name} takes no series")
        self._shape: SeriesShape = spec.series
        self._speed = flops_per_s

    def prices(self, features: Features) -> bool:
        """See CostModel."""
        return isinstance(features, SeriesFeatures)

    def kind(self, features: Features) -> str:
        """Everything is known of all of them."""
        return self.kinds[0]

    def basis(self, features: Features) -> tuple[float, ...]:
        """See CostModel."""
        found = _series(features)
        values = found.series * found.samples * found.horizon
        return 1.0, flops(self._shape, found) / GIGA, values / _MEGA

    def shared(self, features: Features) -> tuple[float, ...]:
        """See CostModel."""
        return ()

    def memory_basis(self, features: Features) -> tuple[float, ...]:
        """See CostModel."""
        return 1.0, float(peak_bytes(self._shape, _series(features)))

    def bounds(self, features: Features) -> Bounds:
        """See CostModel."""
        call, operations, values = self.basis(features)
        network_s = operations * GIGA / self._speed
        most_s = CALL_OVERHEAD_S * call + network_s + self._value_s() * _MEGA * values
        return Bounds(LEAST_SHARE * network_s, most_s, peak_bytes(self._shape, _series(features)))

    def assumed(self) -> Curve:
        """The curve of a model that has not been calibrated."""
        return uncalibrated((CALL_OVERHEAD_S, GIGA / self._speed, self._value_s() * _MEGA), (0.0, 1.0), self.kinds)

    def _value_s(self) -> float:
        return VALUE_S + DRAW_S_PER_TOKEN * self._shape.vocab


def _series(features: Features) -> SeriesFeatures:
    assert isinstance(features, SeriesFeatures)  # noqa: S101 - CostModel.prices was asked
    return features
