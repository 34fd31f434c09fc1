"""The sweep of a forecaster: series of every length, horizons and numbers of samples as people ask for them.

Decides the mixture: of several requests drawn at random, the one whose predicted time is nearest to the size that is asked for,
so that sizes are covered evenly although length, horizon, samples and count multiply. Pure; it must not know workers.
"""

from __future__ import annotations

import array
import dataclasses
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from wickguard.backend import ForecastPayload, ModelSpec, SeriesShape
from wickguard.cost.calibration import CalibrationSettings, Point, Run
from wickguard.cost.series import flops
from wickguard.modality import series
from wickguard.records import Features

_CANDIDATES = 24
_LEAST_S = 0.0005


@dataclass(frozen=True, slots=True)
class SeriesSweep:
    """The sweep (calibration.Sweep) of one forecaster, whose dearest call takes about dearest_s at this speed."""

    shape: SeriesShape
    settings: series.SeriesSettings
    flops_per_s: float
    dearest_s: float

    def point(self, size: float, order: random.Random) -> Point[Features]:
        """See Sweep: the predicted time grows geometrically with size."""
        target = _LEAST_S * (self.dearest_s / _LEAST_S) ** size
        drawn = [self._draw(order) for _ in range(_CANDIDATES)]
        lengths, horizon, samples = min(drawn, key=lambda one: abs(math.log(self._seconds(*one) / target)))
        return self._point(lengths, horizon, samples)

    def anchor(self) -> Point[Features]:
        """See Sweep."""
        return dataclasses.replace(self._point([self.shape.context], self.shape.piece, 1), anchor=True)

    def learn(self, runs: Sequence[Run[Features]]) -> Mapping[str, float]:
        """Everything is known."""
        return {}

    def features(self, subject: Features, learned: Mapping[str, float]) -> Features:
        """See Sweep."""
        return subject

    def _draw(self, order: random.Random) -> tuple[list[int], int, int]:
        settings, shape = self.settings, self.shape

        def upto(most: int) -> int:
            return max(1, int(float(most) ** order.random()))

        count = 1 if order.random() < 0.7 else upto(min(16, settings.max_series))
        lengths = [upto(min(settings.max_points, 2 * shape.context)) for _ in range(count)]
        horizon = upto(min(settings.max_horizon, 2 * shape.piece))
        samples = upto(settings.max_samples)
        return lengths, horizon, max(1, min(samples, settings.max_values // (count * horizon)))

    def _seconds(self, lengths: Sequence[int], horizon: int, samples: int) -> float:
        reach = series.Reach(self.shape.context, self.shape.piece)
        return flops(self.shape, series.measure(lengths, horizon, samples, reach)) / self.flops_per_s

    def _point(self, lengths: Sequence[int], horizon: int, samples: int) -> Point[Features]:
        reach = series.Reach(self.shape.context, self.shape.piece)
        values = [array.array("f", one).tobytes() for one in series.synthesize(lengths)]
        payload = ForecastPayload(values, horizon, samples, [0.1, 0.5, 0.9])
        return Point(msgspec.msgpack.encode(payload), series.measure(lengths, horizon, samples, reach))


def sweep_of(
    spec: ModelSpec, settings: series.SeriesSettings, flops_per_s: float, calibration: CalibrationSettings
) -> SeriesSweep:
    """The sweep of a forecaster."""
    if spec.series is None:
        raise AssertionError(f"{spec.name} takes no series")
    return SeriesSweep(spec.series, settings, flops_per_s, calibration.dearest_s)
