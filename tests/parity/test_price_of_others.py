"""The prices of pictures, series and tensors against the engine: the same operations, never less memory than a call takes."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import pytest
from tests import pictures

from wickguard.backend import (
    ClassifyPayload,
    ForecastPayload,
    LogitsPayload,
    LogitsResult,
    ModelSpec,
    PixelsPayload,
)
from wickguard.cost import series as series_cost
from wickguard.cost.analytic import PriceSettings
from wickguard.cost.quote import priced_analytically, quote
from wickguard.guard.forecasting import reach
from wickguard.modality import image, image_header, logits, series
from wickguard.modality.tensor import PixelFeatures
from wickguard.records import Cost, Features

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


def memory_of(spec: ModelSpec, features: Features) -> tuple[int, int]:
    """Bytes that are reserved and granted for such a call."""
    found = quote(priced_analytically(spec, SPEED), features, PriceSettings())
    return found.reserve.peak_bytes, found.ceiling.peak_bytes


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
    reserved, granted = memory_of(spec, image.measure(header, len(file), (32, 32)))
    payload = msgspec.msgpack.encode(ClassifyPayload(file, header.pixels, 3))
    assert peak_of(model, payload) <= reserved <= granted
    assert model._model.peak_bytes(1, len(file), size[1], size[0]) <= reserved


@pytest.mark.parametrize("count", [1, 10, 64])
def test_pixels_take_no_more_memory_than_quoted_when_they_are_classified(
    digits: tuple[EngineModel, ModelSpec], count: int
) -> None:
    """Prepared images too."""
    model, spec = digits
    values = np.zeros((count, 3, 32, 32), np.float32).tobytes()
    reserved, _ = memory_of(spec, PixelFeatures(count, len(values)))
    assert peak_of(model, msgspec.msgpack.encode(PixelsPayload(values, "json"))) <= reserved


@pytest.mark.parametrize("encoding", ["raw", "json"])
@pytest.mark.parametrize(("rows", "tokens"), [(1, 1), (1, 97), (1, 512), (3, 40), (64, 2)])
def test_logits_take_no_more_memory_than_quoted_and_answer_no_more_bytes(
    shared: Path, rows: int, tokens: int, encoding: Literal["raw", "json"]
) -> None:
    """The ledger's peak is under the quote, and the answer under what admission was told."""
    model, spec = loaded(shared / "models" / "stories-llama")
    features = logits.measure(rows, tokens, spec.vocab, spelled=encoding == "json")
    reserved, _ = memory_of(spec, features)
    ids = (np.arange(rows * tokens) * 7 % spec.vocab).astype("<i8").tobytes()
    payload = msgspec.msgpack.encode(LogitsPayload(ids, rows, encoding))
    assert peak_of(model, payload) <= reserved
    result = model.run(payload, LIMITS)
    assert isinstance(result, bytes) and len(result) <= features.answer_bytes
    answer = msgspec.msgpack.decode(result, type=LogitsResult)
    assert answer.tokens == [rows * tokens]
    spelled = answer.logits.count(b",") + 1 if encoding == "json" else len(answer.logits) // 4
    assert spelled == features.values


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
    reserved, _ = memory_of(spec, features)
    given = [np.sin(np.arange(length)).astype("<f4").tobytes() for length in lengths]
    payload = msgspec.msgpack.encode(ForecastPayload(given, horizon, samples, [0.5]))
    assert peak_of(model, payload) <= reserved
    assert model._model.peak_bytes(len(lengths), max(lengths), horizon, samples) <= reserved


@pytest.mark.parametrize(("lengths", "horizon", "samples"), SHAPES)
def test_operations_are_the_engines_when_series_are_alike(
    chronos: tuple[EngineModel, ModelSpec], lengths: list[int], horizon: int, samples: int
) -> None:
    """Both formulas count the same multiply-adds for one series."""
    model, spec = chronos
    assert spec.series is not None
    features = series.measure(lengths[:1], horizon, samples, reach(spec.series))
    assert series_cost.flops(spec.series, features) == model._model.flops(lengths[0], horizon, samples)
