"""Series: what a forecast can cost: points, series, horizon, samples.

Decides which series are inside the envelope. Promises time in proportion to the number of series, and that a feature is exact:
the engine computes as many points and steps as are counted here. It must not know prices, routes or models.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated

from msgspec import Meta

from wickguard.rejection import Reason, Rejection
from wickguard.setting import check as check_settings

# What single precision holds: a value beyond it would be infinite to the model.
LARGEST_VALUE = 3.4e38


@dataclass(frozen=True, slots=True)
class SeriesSettings:
    """The envelope of a forecast.

    max_series: in one request.
    max_points: of one series; a model looks at the last ones only.
    max_horizon: steps ahead.
    max_samples: continuations that are drawn for each series.
    max_values: series times samples times horizon, the values that an answer is made from.
    """

    max_series: Annotated[int, Meta(ge=1, le=4096)] = 64
    max_points: Annotated[int, Meta(ge=1, le=1 << 20)] = 16_384
    max_horizon: Annotated[int, Meta(ge=1, le=4096)] = 512
    max_samples: Annotated[int, Meta(ge=1, le=4096)] = 200
    max_values: Annotated[int, Meta(ge=1, le=1 << 24)] = 1 << 18

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True, slots=True)
class SeriesFeatures:
    """series: how many. points: of all. longest: of one. looked_at: points of all that the model looks at, its end-of-series
    token included. longest_looked_at: of one. horizon: steps ahead. samples: per series.
    """

    series: int
    points: int
    longest: int
    looked_at: int
    longest_looked_at: int
    horizon: int
    samples: int

    def as_dict(self) -> dict[str, int]:
        """Name to value."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Reach:
    """What the measuring needs of a model: points it looks at, and steps it forecasts in one piece."""

    context: int
    piece: int


def measure(lengths: Sequence[int], horizon: int, samples: int, reach: Reach) -> SeriesFeatures:
    """Features of series with so many points each."""
    # From the second piece on, what was forecast belongs to the series.
    more = horizon if horizon > reach.piece else 0
    seen = [min(reach.context, length + more) + 1 for length in lengths]
    return SeriesFeatures(
        len(lengths), sum(lengths), max(lengths, default=0), sum(seen), max(seen, default=0), horizon, samples
    )


def pieces(features: SeriesFeatures, reach: Reach) -> int:
    """How often a series is read again."""
    return math.ceil(features.horizon / reach.piece)


def largest(settings: SeriesSettings, reach: Reach) -> SeriesFeatures:
    """The features of the dearest request inside the envelope."""
    series = settings.max_series
    samples = min(settings.max_samples, math.ceil(settings.max_values / series / settings.max_horizon))
    return measure([settings.max_points] * series, settings.max_horizon, samples, reach)


def synthesize(lengths: Sequence[int]) -> list[list[float]]:
    """Series of exactly these lengths: a day's swing and a trend."""
    return [[10 + math.sin(at * math.tau / 24) + at / 100 for at in range(length)] for length in lengths]


def check(lengths: Sequence[int], horizon: int, samples: int, settings: SeriesSettings) -> Rejection | None:
    """The envelope. None means inside."""
    if not lengths or not all(lengths):
        return Rejection(
            Reason.OUT_OF_ENVELOPE, "a series is empty" if lengths else "there are no series", "series", limit=1, seen=0,
            unit="points" if lengths else "series", accepted="1 or more",
        )  # fmt: skip
    if len(lengths) > settings.max_series:
        return Rejection(
            Reason.BATCH_TOO_LARGE, "too many series in one request; send several requests", "series",
            limit=settings.max_series, seen=len(lengths), unit="series", accepted=f"1 to {settings.max_series} series",
        )  # fmt: skip
    values = len(lengths) * horizon * samples
    for field, seen, limit, unit in (
        ("series", max(lengths), settings.max_points, "points"),
        ("horizon", horizon, settings.max_horizon, "steps"),
        ("num_samples", samples, settings.max_samples, "samples"),
        ("num_samples", values, settings.max_values, "values in all"),
    ):
        if not 1 <= seen <= limit:
            return Rejection(
                Reason.OUT_OF_ENVELOPE, "outside what is served", field, limit=limit, seen=seen, unit=unit,
                accepted=f"1 to {limit} {unit}",
            )  # fmt: skip
    return None
