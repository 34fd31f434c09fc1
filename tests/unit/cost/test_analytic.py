"""The analytic price: numbers that can be checked by hand."""

from __future__ import annotations

import pytest
from tests.fakes import BOUND, MINILM, features_of

from wickguard.cost.analytic import F32, PriceSettings, TextCost, activation_bytes, flops
from wickguard.cost.quote import priced_analytically, quote
from wickguard.errors import ConfigError
from wickguard.modality.text import measure
from wickguard.records import Lane, Quote

SPEED = 4e10


def priced(*texts: str, speed: float = SPEED) -> Quote:
    """The quote for these texts without a calibration."""
    return quote(priced_analytically(MINILM, speed), features_of(*texts), PriceSettings())


def test_operations_follow_the_shape_when_counted_by_hand() -> None:
    """MiniLM, one text of 128 tokens: 6 layers of four 384 x 384 and two 384 x 1536 products, and attention."""
    dense = 2 * 128 * (4 * 384 * 384 + 2 * 384 * 1536)
    attention = 4 * 128 * 128 * 384
    assert flops(MINILM, 128, 128 * 128) == 6 * (dense + attention)


def test_activations_hold_one_pass_when_a_batch_is_large() -> None:
    """Rows beyond one pass cost time, not memory."""
    assert activation_bytes(MINILM, 8192, 512) == activation_bytes(MINILM, 4096, 512)
    rows, block, scratch = 512 * (5 * 384 + 2), 96 * (1536 + 384), 512 * 512
    assert activation_bytes(MINILM, 512, 512) == F32 * (rows + block + scratch) + 256 * 1024


def test_a_call_is_long_when_it_is_expected_to_take_long() -> None:
    """A sentence is short; a batch of long texts is not."""
    assert priced("hello").lane is Lane.SHORT
    assert priced(*["word " * 600] * 16).lane is Lane.LONG


def test_a_slow_machine_makes_a_call_dear_when_nothing_else_changes() -> None:
    """Ten times slower: the operations cost ten times as much."""
    fast, slow = (priced("word " * 600, speed=speed) for speed in (SPEED, SPEED / 10))
    assert slow.expected.cpu_s > 5 * fast.expected.cpu_s


def test_grant_has_its_floor_when_a_call_is_tiny() -> None:
    """A grant below the kernel's timer tick would kill honest calls."""
    settings = PriceSettings()
    found = priced("")
    assert (found.ceiling.cpu_s, found.ceiling.peak_bytes) == (0.25, settings.floor_bytes)
    assert found.expected.cpu_s > 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"slowdown": 0.5},
        {"floor_cpu_s": 0.0},
        {"max_cpu_s": 1e6},
        {"floor_bytes": 1},
        {"max_bytes": 1},
        {"wall_factor": 0.1},
    ],
)
def test_settings_are_refused_when_out_of_range(wrong: dict[str, float]) -> None:
    """At load."""
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        PriceSettings(**wrong)  # type: ignore[arg-type]


def test_basis_counts_the_work_when_features_are_known() -> None:
    """Per call, input and byte, and the operations of products and attention in billions."""
    features = features_of("a few words")
    model = TextCost(MINILM, SPEED)
    call, inputs, size, products, attention = model.basis(features)
    assert (call, inputs, size) == (1, 1, 11)
    assert products * 1e9 == pytest.approx(flops(MINILM, features.token_typical, 0))
    assert attention * 1e9 == pytest.approx(flops(MINILM, 0, features.square_typical))
    assert len(model.terms) == 5


def test_texts_and_ids_are_of_two_kinds_when_they_are_priced() -> None:
    """Of ids the tokens are known, of texts they are a guess."""
    model = TextCost(MINILM, SPEED)
    assert model.kind(features_of("hello")) == "text"
    assert model.kind(measure([[1, 2, 3]], BOUND)) == "ids"
    assert {"text", "ids"} == set(model.kinds)
