"""The forecasting endpoint: series become calls, forecasts become bodies.

Decides whether a body is a well-formed forecast for a model that is loaded, inside its limits. Promises law 7. It must not know
prices, queues or processes.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from wickguard.backend import ForecastPayload, ForecastResult, ModelSpec, SeriesShape, Task
from wickguard.dialect import forecast
from wickguard.guard.catalogue import find_model
from wickguard.guard.endpoint import Body
from wickguard.modality import series
from wickguard.records import Call, RawRequest
from wickguard.rejection import Rejection

_RESULT = msgspec.msgpack.Decoder(ForecastResult)
_ENCODER = msgspec.msgpack.Encoder()
# A double in JSON, with its comma.
_NUMBER_BYTES = 25


def reach(shape: SeriesShape) -> series.Reach:
    """What the series modality needs of a model."""
    return series.Reach(shape.context, shape.piece)


class Forecasting:
    """Series for the forecasters that are loaded (see endpoint.Endpoint)."""

    def __init__(self, models: Mapping[str, ModelSpec], settings: series.SeriesSettings) -> None:
        self._models = models
        self._settings = settings

    def decode(self, raw: RawRequest, dialect: str) -> Call | Rejection:
        """See Endpoint."""
        settings = self._settings
        limits = forecast.SeriesLimits(settings.max_series, settings.max_series * settings.max_points)
        task = forecast.parse(raw.body, limits)
        if isinstance(task, Rejection):
            return task
        asked = task.request
        spec = find_model(self._models, Task.FORECAST, asked.model)
        if isinstance(spec, Rejection):
            return spec
        shape = spec.series
        if shape is None:
            raise AssertionError(f"{spec.name} forecasts, and has no shape")
        samples = shape.samples if asked.num_samples is None else asked.num_samples
        rejection = series.check(task.lengths, asked.horizon, samples, settings)
        if rejection is not None:
            return rejection
        payload = ForecastPayload(
            task.series, asked.horizon, samples, sorted(asked.quantiles), asked.temperature, asked.top_k, asked.top_p,
            asked.seed, asked.return_samples,
        )  # fmt: skip
        return Call(
            id=raw.id,
            route=raw.route,
            caller=raw.caller,
            model=spec.name,
            payload=_ENCODER.encode(payload),
            features=series.measure(task.lengths, asked.horizon, samples, reach(shape)),
            deadline=raw.deadline,
            answer_bytes=_NUMBER_BYTES * len(task.lengths) * samples * asked.horizon if asked.return_samples else 0,
        )

    def render(self, call: Call, result: bytes, dialect: str) -> Body:
        """See Endpoint."""
        found = call.features.as_dict()
        drawn = found["series"] * found["samples"] * found["horizon"]
        return Body(forecast.render(_RESULT.decode(result), {"input_points": found["points"], "drawn_points": drawn}))
