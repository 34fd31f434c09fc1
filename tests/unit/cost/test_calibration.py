"""The plan of a sweep, and what is concluded from it."""

from __future__ import annotations

import dataclasses
import itertools
import random

import msgspec
import pytest
from tests.fakes import MINILM, SPEED

from wickguard.backend import EmbedPayload, EmbedResult
from wickguard.cost.analytic import TextCost, flops
from wickguard.cost.calibration import LEAST_CALLS, STRATA, CalibrationSettings, Point, Run, conclude, plan
from wickguard.cost.text_sweep import TextSweep, measured, sweep_of
from wickguard.errors import ConfigError, ModelError
from wickguard.modality.text import Inputs, TextSettings, TokenWeights, count_kinds
from wickguard.records import Cost

SETTINGS = CalibrationSettings()
SWEEP = sweep_of(MINILM, TextSettings(), SPEED[MINILM.name], SETTINGS)
MODEL = TextCost(MINILM, SPEED[MINILM.name])
TRUE = TokenWeights(letter=0.3, rare=0.9, digit=0.5, space=0.1, mark=0.8, wide=1.4)


def tokens_of(item: object) -> int:
    """What a tokenizer with these weights and no chance would make of an input."""
    if not isinstance(item, str):
        assert isinstance(item, list)
        return len(item) + MINILM.special_tokens
    weights = [getattr(TRUE, field.name) for field in dataclasses.fields(TRUE)]
    made = sum(weight * count for weight, count in zip(weights, count_kinds(item, item.encode()), strict=True))
    return min(MINILM.max_tokens, MINILM.special_tokens + round(made))


def run_of(point: Point[Inputs], order: random.Random) -> Run[Inputs]:
    """A machine that computes 4e10 operations a second, give or take 3 %, and 1 ms per call."""
    counts = [tokens_of(item) for item in point.subject]
    work = flops(MINILM, sum(counts), sum(count * count for count in counts))
    seconds = (0.001 + work / SPEED[MINILM.name]) * order.lognormvariate(0.0, 0.03)
    result = msgspec.msgpack.encode(EmbedResult([b"[]"] * len(counts), counts))
    return Run(point, Cost(seconds, seconds * 1.05, 1_000_000 + 2000 * sum(counts)), result)


@pytest.fixture(scope="module")
def runs() -> list[Run[Inputs]]:
    """A thousand calls of the sweep."""
    order = random.Random(5)
    return [run_of(point, order) for point in itertools.islice(plan(SWEEP, SETTINGS), 1000)]


def test_the_sweep_is_the_same_when_the_seed_is() -> None:
    """And another one for another seed."""
    first, again = (list(itertools.islice(plan(SWEEP, SETTINGS), 60)) for _ in range(2))
    assert first == again
    assert first != list(itertools.islice(plan(SWEEP, CalibrationSettings(seed=2)), 60))


def test_every_round_has_all_sizes_and_the_fixed_call_when_a_sweep_is_planned() -> None:
    """A machine that slows down half way slows small and large calls alike."""
    points = list(itertools.islice(plan(SWEEP, SETTINGS), 20 * (STRATA + 1)))
    for start in range(0, len(points), STRATA + 1):
        some = points[start : start + STRATA + 1]
        assert sum(point.anchor for point in some) == 1
        sizes = [len(point.payload) for point in some if not point.anchor]
        assert max(sizes) > 20 * min(sizes)
        assert sizes != sorted(sizes)


def test_calls_are_of_all_sorts_when_a_sweep_is_long() -> None:
    """Texts, ids, singles, batches, both encodings, odd ones; no call beyond the envelope or what it may cost."""
    points = [point for point in itertools.islice(plan(SWEEP, SETTINGS), 800) if not point.anchor]
    payloads = [msgspec.msgpack.decode(point.payload, type=EmbedPayload) for point in points]
    assert {payload.encoding for payload in payloads} == {"float", "base64"}
    assert {isinstance(payload.inputs[0], str) for payload in payloads} == {True, False}
    counts = [len(payload.inputs) for payload in payloads]
    assert 0.5 < counts.count(1) / len(counts) < 0.9
    assert 16 < max(counts) <= TextSettings().max_inputs
    assert 0 < sum(point.weight == 0 for point in points) < len(points) / 10
    assert all(measured(MINILM, point.subject, {}).longest_bytes <= TextSettings().max_text_bytes for point in points)


def test_tokens_per_character_are_found_when_answers_tell_them(runs: list[Run[Inputs]]) -> None:
    """The weights of the tokenizer that counted, from the calls that ran."""
    learned = SWEEP.learn(runs)
    for field in dataclasses.fields(TRUE):
        assert learned[field.name] == pytest.approx(getattr(TRUE, field.name), rel=0.1, abs=0.05)


def test_a_calibration_is_good_when_its_model_is_true(runs: list[Run[Inputs]]) -> None:
    """The error is the machine's own noise, and the last fifth is covered by a curve through the rest."""
    found = conclude(MODEL, SWEEP, runs)
    assert found.quality.calls == 1000
    assert found.quality.error < 0.05
    assert 0.9 <= found.quality.covered <= 0.99
    assert found.quality.noise == pytest.approx(0.03, rel=0.35)
    products = found.curve.cpu[MODEL.terms.index("giga-operation of products")]
    assert products == pytest.approx(1e9 / SPEED[MINILM.name], rel=0.1)


def test_a_calibration_is_refused_when_too_few_calls_ran(runs: list[Run[Inputs]]) -> None:
    """The message says what to do."""
    with pytest.raises(ModelError, match="more seconds"):
        conclude(MODEL, SWEEP, runs[: LEAST_CALLS - 1])


def test_usual_weights_serve_when_no_text_was_measured(runs: list[Run[Inputs]]) -> None:
    """A sweep of ids alone says nothing of characters."""
    ids = [run for run in runs if not isinstance(run.point.subject[0], str)]
    assert SWEEP.learn(ids) == {}
    assert measured(MINILM, ["hello"], {}) == measured(MINILM, ["hello"], dataclasses.asdict(TokenWeights()))


def test_the_dearest_call_fits_the_time_when_a_machine_is_slow() -> None:
    """A hundred times slower: a hundred times fewer tokens, so that enough calls run."""
    slow = sweep_of(MINILM, TextSettings(), SPEED[MINILM.name] / 100, SETTINGS)
    assert isinstance(slow, TextSweep)
    assert slow.most_tokens == pytest.approx(SWEEP.most_tokens / 100, rel=0.1)


@pytest.mark.parametrize("wrong", [{"seconds": 0.5}, {"dearest_s": 0.0}, {"seed": -1}])
def test_settings_are_refused_when_out_of_range(wrong: dict[str, float]) -> None:
    """At load."""
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        CalibrationSettings(**wrong)  # type: ignore[arg-type]
