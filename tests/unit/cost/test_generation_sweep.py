"""The sweep of a model that writes: sizes, the envelope, and what it learns from the answers."""

from __future__ import annotations

import math
import random

import msgspec
import pytest
from tests.fakes import WRITER

from wickguard.backend import GeneratePayload, GenerateResult, LogitsPayload
from wickguard.cost.calibration import CalibrationSettings, Run
from wickguard.cost.generation_sweep import Asked, GenerationSweep, sweep_of
from wickguard.modality.generation import GenerationFeatures, GenerationSettings
from wickguard.modality.logits import LogitsFeatures
from wickguard.modality.text import TokenWeights, count_kinds
from wickguard.records import Cost


@pytest.fixture
def sweep() -> GenerationSweep:
    """The sweep of a small model."""
    return sweep_of(WRITER, GenerationSettings(), 4e10, CalibrationSettings())


def test_every_call_fits_the_model_when_it_is_drawn(sweep: GenerationSweep) -> None:
    """A text whose every byte is a token leaves room for the answer, which is written to its end; tensors fit theirs."""
    order = random.Random(3)
    kinds = set()
    for index in range(300):
        point = sweep.point(index / 300, order)
        job = msgspec.msgpack.decode(point.payload, type=GeneratePayload | LogitsPayload)
        if isinstance(job, LogitsPayload):
            assert isinstance(point.subject, LogitsFeatures)
            assert len(job.input_ids) == 8 * point.subject.tokens <= 8 * WRITER.max_tokens
            assert point.subject.answer_bytes <= GenerationSettings().max_logits_bytes
            assert (point.subject.spelled > 0) == (job.encoding == "json")
            kinds.add(job.encoding)
            continue
        tokens = len(job.prompt.encode()) + 1 if isinstance(job.prompt, str) else len(job.prompt)
        assert tokens + job.max_tokens <= WRITER.max_tokens
        assert job.to_the_end and tokens <= job.prompt_tokens
        kinds.add(type(job.prompt))
    assert kinds == {str, list, "raw", "json"}


def test_calls_become_dearer_when_the_size_grows(sweep: GenerationSweep) -> None:
    """By the median of what they are predicted to take, as far as the model's length allows."""
    order = random.Random(5)
    means = []
    for size in (0.1, 0.4, 0.7):
        found = [sweep.features(sweep.point(size, order).subject, {}) for _ in range(40)]
        asked = [one.max_tokens for one in found if isinstance(one, GenerationFeatures)]
        means.append(sum(asked) / len(asked))
    assert means == sorted(means) and means[0] < means[2]


def test_tokens_per_character_are_found_when_the_answers_tell_them(sweep: GenerationSweep) -> None:
    """A tokenizer that makes a token of each letter is recognised as one."""
    order, runs = random.Random(7), []
    for index in range(200):
        point = sweep.point(index / 200, order)
        if not isinstance(point.subject, Asked):
            runs.append(Run(point, Cost(0.01, 0.01, 1), b""))
            continue
        prompt = point.subject.prompt
        tokens = 1 + (sum(count_kinds(prompt, prompt.encode())) if isinstance(prompt, str) else 0)
        result = msgspec.msgpack.encode(GenerateResult("", "length", (tokens, point.subject.answer)))
        runs.append(Run(point, Cost(0.01, 0.01, 1), result))
    learned = TokenWeights(**sweep.learn(runs))
    assert math.isclose(learned.letter, 1.0, abs_tol=0.15)
    assert math.isclose(learned.space, 1.0, abs_tol=0.3)
