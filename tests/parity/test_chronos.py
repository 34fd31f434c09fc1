"""Forecasts as this engine computes them against what chronos-forecasting computed, and against a naive forecast."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

engine = pytest.importorskip("wickguard_engine")


@pytest.mark.parametrize("index", range(4))
def test_top_1_forecast_is_the_references_when_values_are_missing_or_not(shared: Path, index: int) -> None:
    """Twenty-four tokens, each the likeliest, are the same ones: the values agree to single precision."""
    folder = shared / "fixtures" / "chronos_t5"
    expected = load_file(folder / "expected.safetensors")
    series = expected[f"series_{index}"]
    got = np.frombuffer(engine.load(folder).forecast([series.tobytes()], 24, num_samples=1, top_k=1), "<f4")
    assert np.allclose(got, expected[f"series_{index}.top1_forecast"], rtol=1e-6, atol=0)


def test_series_do_not_touch_one_another_when_forecast_together(shared: Path) -> None:
    """A batch of unequal lengths gives what each gives alone."""
    folder = shared / "fixtures" / "chronos_t5"
    expected = load_file(folder / "expected.safetensors")
    model, series = engine.load(folder), [expected[f"series_{i}"].tobytes() for i in range(4)]
    together = model.forecast(series, 10, num_samples=2, top_k=1)
    assert together == b"".join(model.forecast([one], 10, num_samples=2, top_k=1) for one in series)


def training_series(gen: np.random.RandomState, points: int) -> np.ndarray:
    """One series as series-chronos was trained on: sums of sinusoids, trend, sometimes a random walk, noise."""
    t = np.arange(points)
    s = np.zeros(points)
    for _ in range(gen.randint(1, 4)):
        period = gen.choice([6, 7, 8, 12, 16, 24, 30, 48])
        s += gen.uniform(0.3, 2) * np.sin(2 * np.pi * (t / period + gen.rand()))
    s += gen.uniform(-0.02, 0.02) * t + gen.uniform(-3, 3)
    if gen.rand() < 0.3:
        s += np.cumsum(gen.randn(points)) * 0.1
    noise = gen.uniform(0.5, 20), gen.randn(points), gen.uniform(0.0, 0.15)
    return (s * noise[0] + noise[1] * noise[2] * s.std()).astype(np.float32)


def test_series_chronos_beats_the_last_value_when_series_are_like_those_of_its_training(shared: Path) -> None:
    """The 64 series that its card was measured on: the last value's error is the card's, the model's about the card's."""
    folder = shared / "models" / "series-chronos"
    card = json.loads((folder / "card.json").read_text())
    gen, context, horizon = np.random.RandomState(7), 192, 32
    series = np.stack([training_series(gen, context + horizon) for _ in range(64)])
    known, truth = np.ascontiguousarray(series[:, :context]), series[:, context:]
    raw = engine.load(folder).forecast([one.tobytes() for one in known], horizon, num_samples=20, seed=1)
    median = np.median(np.frombuffer(raw, "<f4").reshape(64, 20, horizon), axis=1)
    error, naive = np.abs(median - truth).mean(), np.abs(known[:, -1:] - truth).mean()
    assert naive == pytest.approx(card["mae_last_value"], rel=1e-4)
    assert error == pytest.approx(card["mae"], rel=0.05)
    assert error < naive
