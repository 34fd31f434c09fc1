"""The price of text that is written: memory is the engine's own bound, operations are its count, more is never cheaper."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.engine.decoder import TinyDecoder, decoder_config

from wickguard.backend import ModelSpec, Task, WriterShape
from wickguard.cost import generation
from wickguard.cost.analytic import PriceSettings
from wickguard.cost.quote import priced_analytically, quote
from wickguard.modality.generation import GenerationFeatures

SPEC = ModelSpec(
    name="w", architecture="llama", layers=4, hidden=128, heads=4, intermediate=344, vocab=1024, max_tokens=1024,
    dimensions=0, parameters=1_000_000, weight_bytes=4_000_000, token_expansion=1.0, special_tokens=1,
    task=Task.GENERATE, writer=WriterShape(2, 32, 7, 5),
)  # fmt: skip
PRICED = priced_analytically(SPEC, 4e10)


def features(prompt: int, answer: int, size: int = 0) -> GenerationFeatures:
    """A call whose prompt has as many tokens as it may."""
    return GenerationFeatures(size, 0, prompt, max(1, prompt // 4), answer, prompt + answer)


@given(prompt=st.integers(1, 800), answer=st.integers(1, 200), more=st.integers(0, 100), extra=st.integers(0, 100))
def test_price_never_falls_when_prompt_or_answer_grow(prompt: int, answer: int, more: int, extra: int) -> None:
    """All three prices, and memory."""
    small = quote(PRICED, features(prompt, answer), PriceSettings())
    large = quote(PRICED, features(prompt + more, answer + extra), PriceSettings())
    for name in ("expected", "reserve", "ceiling"):
        one, other = getattr(small, name), getattr(large, name)
        assert one.cpu_s <= other.cpu_s and one.peak_bytes <= other.peak_bytes
    assert 0 < small.expected.cpu_s <= small.reserve.cpu_s <= small.ceiling.cpu_s


def test_long_answer_is_dearer_than_a_long_prompt_when_both_have_as_many_tokens() -> None:
    """Writing is a step per token; reading goes together."""
    read = quote(PRICED, features(900, 1), PriceSettings()).expected.cpu_s
    written = quote(PRICED, features(1, 900), PriceSettings()).expected.cpu_s
    assert written > 3 * read


@given(prompt=st.integers(1, 800), answer=st.integers(1, 200))
def test_what_is_done_once_is_part_of_the_price_when_answers_are_written_together(prompt: int, answer: int) -> None:
    """Reading the weights: of a longer answer more, of a longer prompt no less and no more."""
    one, longer = (quote(PRICED, features(prompt, tokens), PriceSettings()) for tokens in (answer, answer + 1))
    other = quote(PRICED, features(prompt + 50, answer), PriceSettings())
    assert 0 < one.shared_s < one.expected.cpu_s
    assert one.shared_s < longer.shared_s
    assert one.shared_s == pytest.approx(other.shared_s)


def test_most_is_done_once_when_answers_are_long_and_little_when_prompts_are() -> None:
    """So that calls come together where it pays."""
    written = quote(PRICED, features(20, 200), PriceSettings())
    read = quote(PRICED, features(900, 4), PriceSettings())
    assert written.shared_s > 0.7 * written.expected.cpu_s
    assert read.shared_s < 0.2 * read.expected.cpu_s


@pytest.mark.parametrize(
    "changes",
    [{}, {"model_type": "qwen2", "tie_word_embeddings": True}, {"num_attention_heads": 24, "num_key_value_heads": 1}],
)
@pytest.mark.parametrize(("prompt", "answer"), [(1, 1), (10, 500), (300, 20), (590, 9)])
def test_memory_is_the_engines_bound_when_a_model_is_loaded(
    tmp_path: Path, changes: dict[str, object], prompt: int, answer: int
) -> None:
    """Never less than the engine says, and not much more; operations are exactly the engine's."""
    engine = pytest.importorskip("wickguard_engine")
    model = engine.load(TinyDecoder(tmp_path, config=decoder_config(**changes)).write())
    found = model.spec
    spec = dataclasses.replace(
        SPEC, layers=found.layers, hidden=found.hidden, heads=found.heads, intermediate=found.intermediate,
        vocab=found.vocab, max_tokens=found.max_tokens, token_expansion=found.token_expansion,
        writer=WriterShape(found.kv_heads, found.head_width, None, None),
    )  # fmt: skip
    size = 4 * prompt
    ours = generation.peak_bytes(spec, features(prompt, answer, size))
    theirs = model.peak_bytes(prompt, answer, size)
    assert theirs <= ours <= theirs + 1.2 * 1024 * 1024 + 4 * size
    assert generation.flops(spec, prompt) == model.flops(prompt, 1)
