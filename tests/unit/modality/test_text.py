"""Text features and the envelope."""

from __future__ import annotations

import pytest
from tests.fakes import BOUND

from wickguard.errors import ConfigError
from wickguard.modality.text import Inputs, TextSettings, check, measure
from wickguard.rejection import Reason

SETTINGS = TextSettings(max_inputs=3, max_text_bytes=100)


def test_features_are_exact_when_inputs_are_token_ids() -> None:
    """No text, so nothing has to be bounded."""
    found = measure([[1] * 10, [1] * 20], BOUND)
    assert (found.inputs, found.total_bytes, found.token_bound, found.longest_bound) == (2, 0, 34, 22)
    assert (found.square_bound, found.token_typical) == (12 * 12 + 22 * 22, 34)


def test_features_count_bytes_when_characters_are_wide() -> None:
    """A limit in characters would be wrong by four."""
    assert measure(["😀" * 10], BOUND).total_bytes == 40


def test_token_bound_is_the_models_limit_when_a_text_is_long() -> None:
    """What lies beyond is cut off or refused by the worker, never computed."""
    found = measure(["x" * 10_000], BOUND)
    assert (found.token_bound, found.token_typical) == (512, 512)


@pytest.mark.parametrize(
    ("inputs", "reason", "field"),
    [
        (["a"], None, None),
        ([""], None, None),
        (["a" * 100], None, None),
        (["é" * 50], None, None),
        ([[0, 30521]], None, None),
        ([[1] * 510], None, None),
        ([], Reason.OUT_OF_ENVELOPE, "input"),
        (["a"] * 4, Reason.BATCH_TOO_LARGE, "input"),
        (["a", "a" * 101], Reason.OUT_OF_ENVELOPE, "input[1]"),
        (["é" * 51], Reason.OUT_OF_ENVELOPE, "input[0]"),
        ([[1], []], Reason.OUT_OF_ENVELOPE, "input[1]"),
        ([[1] * 511], Reason.TOO_MANY_TOKENS, "input[0]"),
        ([[30522]], Reason.OUT_OF_ENVELOPE, "input[0]"),
    ],
)
def test_envelope_is_checked_at_its_edges_when_inputs_come(
    inputs: Inputs, reason: Reason | None, field: str | None
) -> None:
    """The largest that is allowed, and one more."""
    found = check(inputs, SETTINGS, BOUND, "input")
    assert (found.reason if found else None) is reason
    assert (found.field if found else None) == field


@pytest.mark.parametrize("wrong", [{"max_inputs": 0}, {"max_inputs": 5000}, {"max_text_bytes": 0}])
def test_settings_are_refused_when_out_of_range(wrong: dict[str, int]) -> None:
    """At load."""
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        TextSettings(**wrong)
