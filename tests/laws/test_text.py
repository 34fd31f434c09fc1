"""Laws 4 to 6 for text: the round trip, prices that never fall, and the ceiling for what can't be measured."""

from __future__ import annotations

import dataclasses

from hypothesis import given
from hypothesis import strategies as st
from tests.fakes import BOUND, MINILM, PRICES, SPEED, call_of, features_of

from wickguard.cost import analytic
from wickguard.cost.analytic import TextCost
from wickguard.cost.curve import BANDS, Band, Curve
from wickguard.cost.quote import Priced, priced_analytically, quote
from wickguard.guard.price import Pricer
from wickguard.modality.lexicon import Register
from wickguard.modality.text import TextFeatures, count_kinds, measure, synthesize, synthesize_ids
from wickguard.records import Quote
from wickguard.rejection import Rejection

SIZES = st.lists(st.integers(0, 5000), max_size=12)
TEXTS = st.lists(st.text(max_size=400), min_size=1, max_size=8)
SETTINGS = analytic.PriceSettings()


COEFFICIENTS = st.floats(0.0, 0.1)
LOGARITHMS = st.floats(0.0, 3.0)


@st.composite
def curves(draw: st.DrawFn) -> Curve:
    """Any curve that a calibration could give, however odd: bands that know nothing of one another."""

    def bands() -> tuple[Band, ...]:
        return tuple(Band(name, from_s, 0.1, draw(LOGARITHMS), draw(LOGARITHMS)) for name, from_s in BANDS)

    cpu = tuple(draw(st.tuples(st.floats(1e-6, 0.01), *[COEFFICIENTS] * 4)))
    wall = tuple(draw(st.tuples(*[COEFFICIENTS] * 5)))
    memory = draw(st.tuples(st.floats(0, 1e6), st.floats(0, 2)))
    # Whether a call is ids or text does not change when it grows, so both kinds may differ; features that no call has may
    # cross over, so in here they don't.
    both = bands()
    return Curve(cpu, wall, memory, draw(LOGARITHMS), {"ids": both, "text": both})


PRICED = st.one_of(
    st.just(priced_analytically(MINILM, SPEED[MINILM.name])),
    st.builds(Priced, st.just(TextCost(MINILM, SPEED[MINILM.name])), curves()),
)
FACTORS = st.dictionaries(
    st.sampled_from([f"{kind}, {name}" for kind in TextCost.kinds for name, _ in BANDS]), st.floats(0.8, 2.0)
)


def prices(features: TextFeatures, priced: Priced, factors: dict[str, float]) -> list[float]:
    """Everything that a quote says of time and memory."""
    found = quote(priced, features, SETTINGS, lambda name: factors.get(name, 1.0))
    costs = (found.expected, found.reserve, found.ceiling)
    return [value for cost in costs for value in (cost.cpu_s, cost.wall_s, cost.peak_bytes)]


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


@given(SIZES, st.sampled_from(Register), st.integers(0, 2**40))
def test_sizes_come_back_when_texts_are_of_any_register(sizes: list[int], register: Register, seed: int) -> None:
    """Law 4, for scripts of one to four bytes a character; the same seed makes the same texts."""
    texts = synthesize(sizes, register, seed)
    assert [len(text.encode()) for text in texts] == sizes
    assert texts == synthesize(sizes, register, seed)
    found = measure(texts, BOUND)
    assert (found.inputs, found.total_bytes, found.longest_bytes) == (len(sizes), sum(sizes), max(sizes, default=0))


@given(st.lists(st.integers(1, 600), max_size=8), st.integers(0, 2**40))
def test_counts_come_back_when_ids_are_synthesized(counts: list[int], seed: int) -> None:
    """Law 4, for token ids: every id is in the vocabulary."""
    lists = synthesize_ids(counts, MINILM.vocab, seed)
    assert [len(ids) for ids in lists] == counts
    assert all(0 <= token < MINILM.vocab for ids in lists for token in ids)
    found = measure(lists, BOUND)
    assert (found.inputs, found.total_bytes) == (len(counts), 0)
    assert found.token_bound == sum(min(MINILM.max_tokens, count + MINILM.special_tokens) for count in counts)


@given(st.text())
def test_every_character_is_counted_once_when_a_text_is_measured(text: str) -> None:
    """The kinds of characters are a partition."""
    assert sum(count_kinds(text, text.encode())) == len(text)


@given(st.text(max_size=200), st.text(max_size=200))
def test_kinds_add_up_when_texts_are_joined(left: str, right: str) -> None:
    """So that no text can be made cheaper by adding to it."""
    both = [a + b for a, b in zip(count_kinds(left, left.encode()), count_kinds(right, right.encode()), strict=True)]
    assert list(count_kinds(left + right, (left + right).encode())) == both


@given(TEXTS, st.text(max_size=200), st.integers(0, 7), PRICED, FACTORS)
def test_a_price_does_not_fall_when_a_text_grows(
    texts: list[str], more: str, which: int, priced: Priced, factors: dict[str, float]
) -> None:
    """Law 5, for inputs: longer text, more texts; whatever was measured and whatever was learned since."""
    longer = list(texts)
    longer[which % len(texts)] += more
    for grown in (longer, [*texts, more]):
        small, large = (prices(features_of(*inputs), priced, factors) for inputs in (texts, grown))
        if any(texts):
            assert all(less <= more_ for less, more_ in zip(small, large, strict=True))


FEATURES = st.builds(TextFeatures, *[st.integers(0, 10**6)] * len(dataclasses.fields(TextFeatures)))


@given(
    FEATURES,
    st.sampled_from([field.name for field in dataclasses.fields(TextFeatures)]),
    st.integers(1, 10**6),
    PRICED,
)
def test_a_price_does_not_fall_when_one_feature_grows(
    features: TextFeatures, name: str, step: int, priced: Priced
) -> None:
    """Law 5, for each feature alone, in combinations that no text has."""
    grown = dataclasses.replace(features, **{name: getattr(features, name) + step})
    small, large = prices(features, priced, {}), prices(grown, priced, {})
    assert all(less <= more for less, more in zip(small, large, strict=True))


@given(TEXTS, PRICED, FACTORS)
def test_the_ceiling_covers_the_reserve_when_a_call_is_priced(
    texts: list[str], priced: Priced, factors: dict[str, float]
) -> None:
    """A grant below the reservation would kill honest calls; a price of zero would be a gift."""
    found = quote(priced, features_of(*texts), SETTINGS, lambda name: factors.get(name, 1.0))
    assert 0 < found.expected.cpu_s <= found.reserve.cpu_s <= found.ceiling.cpu_s
    assert 0 < found.expected.wall_s <= found.reserve.wall_s
    assert 0 < found.expected.peak_bytes <= found.reserve.peak_bytes <= found.ceiling.peak_bytes
    assert found.ceiling.cpu_s >= SETTINGS.floor_cpu_s
    assert found.spread > 0


@given(TEXTS, PRICED, FACTORS)
def test_a_price_stays_between_the_analytic_bounds_when_anything_was_measured(
    texts: list[str], priced: Priced, factors: dict[str, float]
) -> None:
    """Neither a poisoned curve nor a poisoned factor moves a price out of them."""
    features = features_of(*texts)
    bounds = priced.model.bounds(features)
    found = quote(priced, features, SETTINGS, lambda name: factors.get(name, 1.0))
    most_s = bounds.most_s * SETTINGS.slowdown
    assert bounds.least_s <= found.expected.cpu_s <= found.reserve.cpu_s <= most_s
    assert found.ceiling.cpu_s <= max(SETTINGS.floor_cpu_s, most_s)
    assert found.ceiling.peak_bytes <= max(SETTINGS.floor_bytes, bounds.most_bytes * 5 // 4)


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
    pricer = Pricer({} if no_speed else PRICES, SETTINGS)
    known = Pricer(PRICES, SETTINGS).price(call_of(*texts))
    found = pricer.price(call)
    assert isinstance(found, Quote)
    assert not isinstance(known, Rejection)
    assert (found.expected.cpu_s, found.ceiling.peak_bytes) == (SETTINGS.max_cpu_s, SETTINGS.max_bytes)
    assert found.expected.cpu_s >= known.expected.cpu_s
    assert found.ceiling.peak_bytes >= known.ceiling.peak_bytes
