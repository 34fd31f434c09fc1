"""Series through the engine: what is refused, what a call takes, and what chance may change."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

engine = pytest.importorskip("wickguard_engine")


def series(*values: float) -> bytes:
    """A series as the engine takes it."""
    return np.asarray(values, "<f4").tobytes()


@pytest.fixture(scope="module")
def chronos(shared: Path) -> engine.Forecaster:
    """The demonstration forecaster."""
    return engine.load(shared / "models" / "series-chronos")


def test_model_says_what_it_is_when_asked(chronos: engine.Forecaster) -> None:
    """What its configuration has."""
    spec = chronos.spec
    assert (spec.task, spec.architecture, spec.vocab, spec.max_tokens) == ("forecast", "chronos-t5", 512, 193)
    assert (chronos.context, chronos.horizon, chronos.num_samples) == (192, 32, 20)


def test_same_seed_draws_the_same_when_asked_twice_and_another_does_not(chronos: engine.Forecaster) -> None:
    """Forty samples are decoded in two groups; the first twenty do not depend on there being a second."""
    waves = [np.sin(np.arange(100) / 5).astype("<f4").tobytes()] * 2
    first = chronos.forecast(waves, 12, num_samples=40, seed=3)
    assert first == chronos.forecast(waves, 12, num_samples=40, seed=3)
    assert first != chronos.forecast(waves, 12, num_samples=40, seed=4)
    rows = np.frombuffer(first, "<f4").reshape(2, 40, 12)
    assert not np.array_equal(rows[0], rows[1])
    assert np.array_equal(
        rows[:, :20], np.frombuffer(chronos.forecast(waves, 12, num_samples=20, seed=3), "<f4").reshape(2, 20, 12)
    )


def test_horizon_goes_on_from_the_median_when_it_is_longer_than_the_models(chronos: engine.Forecaster) -> None:
    """Seventy points in three pieces: the second is the forecast of the series with the first one's median."""
    wave = np.sin(np.arange(150) / 4).astype("<f4") * 3
    whole = np.frombuffer(chronos.forecast([wave.tobytes()], 70, num_samples=5, top_k=1), "<f4").reshape(5, 70)
    longer = np.concatenate([wave, np.sort(whole[:, :32], 0)[2]])
    second = np.frombuffer(chronos.forecast([longer.tobytes()], 32, num_samples=1, top_k=1), "<f4")
    assert np.array_equal(whole[0, 32:64], second)


@pytest.mark.parametrize(
    "values", [[np.nan], [np.nan] * 5, [0.0], [0.0] * 50, [1e30, -1e30], [1e-40], [5.0, np.nan, 5.0]]
)
def test_forecast_is_finite_when_a_series_is_odd(chronos: engine.Forecaster, values: list[float]) -> None:
    """All missing, all zero, constant, enormous, denormal."""
    assert np.isfinite(np.frombuffer(chronos.forecast([series(*values)], 5, num_samples=2), "<f4")).all()


@pytest.mark.parametrize(
    ("given", "kwargs", "says"),
    [
        ([], {}, "no series"),
        ([b""], {}, "series 0 is empty"),
        ([series(1), b""], {}, "series 1 is empty"),
        ([series(1.0)[:-1]], {}, "no whole number"),
        ([series(1.0, np.inf)], {}, "series 0: .*infinite value at 1"),
        ([series(3e38, 3e38)], {}, "too large"),
        ([series(1.0)], {"num_samples": 0}, "num_samples is 0"),
        ([series(1.0)], {"num_samples": 1 << 60}, "num_samples is"),
        ([series(1.0)], {"temperature": 0.0}, "temperature"),
        ([series(1.0)], {"temperature": float("nan")}, "temperature"),
        ([series(1.0)], {"top_k": 0}, "top_k"),
        ([series(1.0)], {"top_p": 0.0}, "top_p"),
        ([series(1.0)], {"top_p": 1.5}, "top_p"),
    ],
)
def test_call_is_refused_when_something_is_out_of_range(
    chronos: engine.Forecaster, given: list[bytes], kwargs: dict[str, float], says: str
) -> None:
    """BadShape says what; nothing panics."""
    with pytest.raises(engine.BadShape, match=says):
        chronos.forecast(given, 8, **kwargs)
    with pytest.raises(engine.BadShape):
        chronos.forecast([series(1.0)], 0)
    assert not engine.panicked()


def test_peak_bytes_bounds_the_ledger_when_calls_of_many_shapes_are_made(chronos: engine.Forecaster) -> None:
    """Long and short, one piece and four, one sample and a hundred: never above, and not far below."""
    for count, points, horizon, samples in [
        (1, 1, 1, 1),
        (1, 50, 8, 20),
        (3, 192, 32, 20),
        (1, 5000, 32, 100),
        (2, 192, 100, 33),
        (40, 10, 4, 2),
        (1, 20, 128, 1),
    ]:
        given = [np.sin(np.arange(points) / 3).astype("<f4").tobytes()] * count
        base = engine.ledger().current
        engine.reset_peak()
        chronos.forecast(given, horizon, num_samples=samples)
        peak, bound = engine.ledger().peak - base, chronos.peak_bytes(count, points, horizon, samples)
        assert peak <= bound < 2 * peak + (256 << 10), (count, points, horizon, samples, peak, bound)
        assert engine.ledger().current == base


def test_operations_grow_as_the_work_does_when_features_grow(chronos: engine.Forecaster) -> None:
    """Samples and pieces multiply what decoding costs; points beyond the context cost nothing."""
    once = chronos.flops(192, 32, 20)
    assert chronos.flops(192, 64, 20) == 2 * once
    assert chronos.flops(10_000, 32, 20) == once
    assert 1.5 * once < chronos.flops(192, 32, 40) < 2 * once
    assert chronos.flops(96, 32, 20) < once


def bent(shared: Path, folder: Path, **changes: object) -> Path:
    """The demonstration model with another configuration."""
    source = shared / "models" / "series-chronos"
    config = json.loads((source / "config.json").read_text())
    inner = {k: v for k, v in changes.items() if k in config["chronos_config"]}
    config |= {k: v for k, v in changes.items() if k not in inner}
    config["chronos_config"] |= inner
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").symlink_to(source / "model.safetensors")
    return folder


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"feed_forward_proj": "gated-gelu"}, "Unsupported", "feed_forward_proj"),
        ({"tokenizer_class": "Other"}, "Unsupported", "tokenizer_class"),
        ({"model_type": "causal"}, "Unsupported", "model_type"),
        ({"n_tokens": 4}, "BadWeights", "no bins"),
        ({"n_tokens": 513}, "BadWeights", "n_tokens"),
        ({"context_length": 1 << 40}, "BadWeights", "context_length"),
        ({"prediction_length": 0}, "BadWeights", "prediction_length"),
        ({"relative_attention_num_buckets": 6}, "BadWeights", "relative_attention_num_buckets"),
        ({"d_kv": 17}, "BadWeights", "shape"),
        ({"num_layers": 4}, "BadWeights", "missing"),
        ({"decoder_start_token_id": 512}, "BadWeights", "decoder_start_token_id"),
        ({"chronos_config": {}}, "BadWeights", "chronos_config"),
    ],
)
def test_model_is_refused_when_its_configuration_does_not_fit(
    shared: Path, tmp_path: Path, changes: dict[str, object], error: str, says: str
) -> None:
    """The message names the field or the tensor."""
    folder = bent(shared, tmp_path, **changes)
    with pytest.raises(getattr(engine, error), match=says):
        engine.load(folder)


def test_need_is_refused_before_it_is_taken_when_it_does_not_fit(shared: Path) -> None:
    """The named need suffices."""
    folder = shared / "models" / "series-chronos"
    with pytest.raises(engine.OutOfMemory) as refused:
        engine.load(folder, memory_limit=2 << 20)
    need = int(str(refused.value).split()[2])
    base = engine.ledger().current
    engine.reset_peak()
    engine.load(folder, memory_limit=need)
    assert engine.ledger().peak - base <= need
