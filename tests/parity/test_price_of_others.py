"""The prices of pictures and series against the engine: the same operations, and never less memory than a call takes."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from tests import pictures

from wickguard.backend import ClassifyPayload, ForecastPayload, ModelSpec, PixelsPayload
from wickguard.cost import image as image_cost
from wickguard.cost import series as series_cost
from wickguard.cost.analytic import PriceSettings
from wickguard.guard.forecasting import reach
from wickguard.modality import image, image_header, series
from wickguard.modality.tensor import PixelFeatures
from wickguard.records import Cost

engine = pytest.importorskip("wickguard_engine")
from wickguard.workers.prepare import EngineModel, load  # noqa: E402  needs the engine

LIMITS = Cost(60.0, 60.0, 1 << 30)
SPEED = 1e10


def loaded(path: Path) -> tuple[EngineModel, ModelSpec]:
    """A model as a worker has it, and its shape as the guard knows it."""
    model = load(str(path), None)
    return model, msgspec.convert({**model.spec, "name": "m"}, ModelSpec)


@pytest.fixture(scope="module")
def digits(shared: Path) -> tuple[EngineModel, ModelSpec]:
    """digits-vit."""
    return loaded(shared / "models" / "digits-vit")


@pytest.fixture(scope="module")
def chronos(shared: Path) -> tuple[EngineModel, ModelSpec]:
    """series-chronos."""
    return loaded(shared / "models" / "series-chronos")


def peak_of(model: EngineModel, payload: bytes) -> int:
    """Bytes that a job takes in the ledger."""
    engine.reset_peak()
    before = engine.ledger().current
    model.run(payload, LIMITS)
    return engine.ledger().peak - before


@pytest.mark.parametrize("size", [(8, 8), (64, 48), (20, 400), (400, 20), (1200, 900)])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "progressive", "lossless"])
def test_picture_takes_no_more_memory_than_quoted_when_it_is_classified(
    digits: tuple[EngineModel, ModelSpec], size: tuple[int, int], kind: str
) -> None:
    """For every decoder, the quote is at least what the engine bounds, which is at least what it takes."""
    how = {"progressive": {"progressive": True, "subsampling": 0}, "lossless": {"lossless": True}}.get(kind, {})
    file = pictures.saved(size, {"progressive": "JPEG", "lossless": "WEBP"}.get(kind, kind), **how)
    model, spec = digits
    header = image_header.read(file)
    assert isinstance(header, image_header.Header)
    quote = image_cost.quote(spec, image.measure(header, len(file), (32, 32)), SPEED, PriceSettings())
    payload = msgspec.msgpack.encode(ClassifyPayload(file, header.pixels, 3))
    assert peak_of(model, payload) <= quote.expected.peak_bytes <= quote.ceiling.peak_bytes
    assert model._model.peak_bytes(1, len(file), size[1], size[0]) <= quote.expected.peak_bytes


@pytest.mark.parametrize("count", [1, 10, 64])
def test_pixels_take_no_more_memory_than_quoted_when_they_are_classified(
    digits: tuple[EngineModel, ModelSpec], count: int
) -> None:
    """Prepared images too."""
    model, spec = digits
    values = np.zeros((count, 3, 32, 32), np.float32).tobytes()
    quote = image_cost.quote_pixels(spec, PixelFeatures(count, len(values)), SPEED, PriceSettings())
    assert peak_of(model, msgspec.msgpack.encode(PixelsPayload(values))) <= quote.expected.peak_bytes


SHAPES = [
    ([1], 1, 1), ([192], 32, 20), ([5000], 32, 100), ([192, 192], 100, 33), ([10] * 40, 4, 2), ([20], 128, 1),
    ([300, 20], 70, 200), ([1], 512, 1),
]  # fmt: skip


@pytest.mark.parametrize(("lengths", "horizon", "samples"), SHAPES)
def test_forecast_takes_no_more_memory_than_quoted_when_it_runs(
    chronos: tuple[EngineModel, ModelSpec], lengths: list[int], horizon: int, samples: int
) -> None:
    """The ledger's peak and the engine's own bound are under the quote."""
    model, spec = chronos
    assert spec.series is not None
    features = series.measure(lengths, horizon, samples, reach(spec.series))
    quote = series_cost.quote(spec, features, SPEED, PriceSettings())
    given = [np.sin(np.arange(length)).astype("<f4").tobytes() for length in lengths]
    payload = msgspec.msgpack.encode(ForecastPayload(given, horizon, samples, [0.5]))
    assert peak_of(model, payload) <= quote.expected.peak_bytes
    assert model._model.peak_bytes(len(lengths), max(lengths), horizon, samples) <= quote.expected.peak_bytes


@pytest.mark.parametrize(("lengths", "horizon", "samples"), SHAPES)
def test_operations_are_the_engines_when_series_are_alike(
    chronos: tuple[EngineModel, ModelSpec], lengths: list[int], horizon: int, samples: int
) -> None:
    """Both formulas count the same multiply-adds for one series."""
    model, spec = chronos
    assert spec.series is not None
    features = series.measure(lengths[:1], horizon, samples, reach(spec.series))
    assert series_cost.flops(spec.series, features) == model._model.flops(lengths[0], horizon, samples)
