"""Laws 4 to 6 for text: the round trip, prices that never fall, and the ceiling for what can't be measured."""

from __future__ import annotations

import dataclasses

from hypothesis import given
from hypothesis import strategies as st
from tests.fakes import BOUND, MINILM, SPEED, call_of, features_of

from wickguard.cost import analytic
from wickguard.guard.price import Pricer
from wickguard.modality.text import TextFeatures, measure, synthesize
from wickguard.records import Quote
from wickguard.rejection import Rejection

SIZES = st.lists(st.integers(0, 5000), max_size=12)
TEXTS = st.lists(st.text(max_size=400), min_size=1, max_size=8)
SETTINGS = analytic.PriceSettings()


def price(features: TextFeatures) -> Quote:
    """The quote on an ordinary machine."""
    return analytic.quote(MINILM, features, SPEED[MINILM.name], SETTINGS)


@given(SIZES)
def test_measuring_gives_the_sizes_back_when_texts_are_synthesized(sizes: list[int]) -> None:
    """Law 4: a feature means the same to the guard, which measures, and to the probe, which makes."""
    texts = synthesize(sizes)
    assert [len(text.encode()) for text in texts] == sizes
    found = measure(texts, BOUND)
    assert (found.inputs, found.total_bytes, found.longest_bytes) == (len(sizes), sum(sizes), max(sizes, default=0))
    assert synthesize(sizes) == texts


@given(TEXTS)
def test_the_bound_holds_when_each_byte_is_a_token(texts: list[str]) -> None:
    """The bound is never below one token per byte and never above the model's limit."""
    found = measure(texts, BOUND)
    worst = [min(MINILM.max_tokens, len(text.encode()) + MINILM.special_tokens) for text in texts]
    assert found.token_bound >= sum(worst)
    assert found.longest_bound <= MINILM.max_tokens
    assert found.square_bound >= sum(count * count for count in worst)
    assert found.token_typical <= found.token_bound


@given(TEXTS, st.text(max_size=200), st.integers(0, 7))
def test_a_price_does_not_fall_when_a_text_grows(texts: list[str], more: str, which: int) -> None:
    """Law 5, for inputs: longer text, more texts; expectation and ceiling, time and memory."""
    longer = list(texts)
    longer[which % len(texts)] += more
    for grown in (longer, [*texts, more]):
        small, large = price(features_of(*texts)), price(features_of(*grown))
        for less, more_ in ((small.expected, large.expected), (small.ceiling, large.ceiling)):
            assert less.cpu_s <= more_.cpu_s
            assert less.wall_s <= more_.wall_s
            assert less.peak_bytes <= more_.peak_bytes


FEATURES = st.builds(TextFeatures, *[st.integers(0, 10**6)] * len(dataclasses.fields(TextFeatures)))


@given(FEATURES, st.sampled_from([field.name for field in dataclasses.fields(TextFeatures)]), st.integers(1, 10**6))
def test_a_price_does_not_fall_when_one_feature_grows(features: TextFeatures, name: str, step: int) -> None:
    """Law 5, for each feature alone, in combinations that no text has."""
    grown = dataclasses.replace(features, **{name: getattr(features, name) + step})
    small, large = price(features), price(grown)
    assert small.expected.cpu_s <= large.expected.cpu_s
    assert small.ceiling.cpu_s <= large.ceiling.cpu_s
    assert small.expected.peak_bytes <= large.expected.peak_bytes
    assert small.ceiling.peak_bytes <= large.ceiling.peak_bytes


@given(TEXTS)
def test_the_ceiling_covers_the_expectation_when_a_call_is_priced(texts: list[str]) -> None:
    """A grant below the prediction would kill honest calls; a price of zero would be a gift."""
    found = price(features_of(*texts))
    assert 0 < found.expected.cpu_s <= found.ceiling.cpu_s
    assert 0 < found.expected.peak_bytes <= found.ceiling.peak_bytes


class Unknown:
    """Features of a modality that no price curve knows."""

    def as_dict(self) -> dict[str, int]:
        """Nothing is known."""
        return {}


@given(TEXTS, st.booleans())
def test_the_price_is_the_maximum_when_a_call_can_not_be_estimated(texts: list[str], no_speed: bool) -> None:
    """Law 6: never the minimum; for unknown features and for a model whose speed is unknown."""
    call = call_of(*texts)
    if not no_speed:
        call = dataclasses.replace(call, features=Unknown())
    pricer = Pricer({MINILM.name: MINILM}, {} if no_speed else SPEED, SETTINGS)
    known = Pricer({MINILM.name: MINILM}, SPEED, SETTINGS).price(call_of(*texts))
    found = pricer.price(call)
    assert isinstance(found, Quote)
    assert not isinstance(known, Rejection)
    assert (found.expected.cpu_s, found.ceiling.peak_bytes) == (SETTINGS.max_cpu_s, SETTINGS.max_bytes)
    assert found.expected.cpu_s >= known.expected.cpu_s
    assert found.ceiling.peak_bytes >= known.ceiling.peak_bytes
