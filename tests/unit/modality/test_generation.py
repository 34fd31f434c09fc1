"""What a prompt and an answer can cost: the round trip, the bounds and the envelope."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wickguard.errors import SettingError
from wickguard.modality import generation
from wickguard.modality.text import TokenBound
from wickguard.rejection import Reason

LIMIT = generation.PromptLimit(TokenBound(1024, 1, 1.0, 500), chat_tokens=7, message_tokens=5)
SETTINGS = generation.GenerationSettings()


@given(messages=st.integers(0, 40), size=st.integers(0, 3000), answer=st.integers(1, 1023))
def test_measuring_gives_the_numbers_back_when_a_prompt_was_made_of_them(messages: int, size: int, answer: int) -> None:
    """The round-trip law: measure(synthesize(f)) == f."""
    size = max(size, 4 * messages)
    found = generation.measure(generation.synthesize(size, messages), answer, LIMIT)
    assert (found.prompt_bytes, found.messages, found.max_tokens) == (size, messages, answer)
    again = generation.measure(generation.synthesize(found.prompt_bytes, found.messages), found.max_tokens, LIMIT)
    assert again == found


@given(size=st.integers(0, 5000), more=st.integers(0, 500), answer=st.integers(1, 900), extra=st.integers(0, 100))
def test_no_feature_shrinks_when_prompt_or_answer_grow(size: int, more: int, answer: int, extra: int) -> None:
    """Monotone: what is longer never looks cheaper."""
    small = generation.measure("a" * size, answer, LIMIT).as_dict()
    large = generation.measure("a" * (size + more), answer + extra, LIMIT).as_dict()
    assert all(large[name] >= value for name, value in small.items())


def test_conversations_count_with_their_frame_when_they_are_measured() -> None:
    """What the template adds is part of the bound; multi-byte characters count in bytes."""
    found = generation.measure([("user", "é"), ("assistant", "")], 10, LIMIT)
    assert (found.prompt_bytes, found.messages) == (4 + 2 + 9, 2)
    assert found.prompt_bound == 15 + 7 + 2 * 5
    assert found.token_bound == found.prompt_bound + 10


def test_token_ids_are_exact_when_they_are_measured() -> None:
    """Nothing is added to them."""
    found = generation.measure([3, 4, 5], 10, LIMIT)
    assert (found.prompt_bytes, found.prompt_bound, found.prompt_typical, found.token_bound) == (0, 3, 3, 13)


def test_dearest_call_is_no_cheaper_than_any_other_when_it_is_inside_the_envelope() -> None:
    """The survey of a policy prices it."""
    most = generation.largest(SETTINGS, LIMIT)
    assert most.prompt_bound + most.max_tokens == 1024
    assert most.max_tokens == 1023


@pytest.mark.parametrize(
    ("prompt", "reason"),
    [
        ("a" * (64 * 1024 + 1), Reason.OUT_OF_ENVELOPE),
        ("é" * (32 * 1024 + 1), Reason.OUT_OF_ENVELOPE),
        ([("user", "a" * 40_000), ("user", "a" * 40_000)], Reason.OUT_OF_ENVELOPE),
        ([("user", "")] * 129, Reason.OUT_OF_ENVELOPE),
        ([], Reason.OUT_OF_ENVELOPE),
        ([1] * 1024, Reason.TOO_MANY_TOKENS),
        ([500], Reason.OUT_OF_ENVELOPE),
        ("", None),
        ([("user", "")], None),
        ([499] * 1023, None),
    ],
)
def test_prompt_is_refused_when_it_is_outside_the_envelope(prompt: generation.Prompt, reason: Reason | None) -> None:
    """Bytes, messages, ids."""
    rejection = generation.check(prompt, SETTINGS, LIMIT)
    assert (rejection.reason if rejection else None) == reason


def test_answer_is_refused_when_it_is_longer_than_policy_or_model_allow() -> None:
    """The policy's limit first, then the model's."""
    settings = generation.GenerationSettings(most_tokens=2000)
    by_policy = generation.check_answer(2001, settings, LIMIT, "max_tokens")
    by_model = generation.check_answer(1024, settings, LIMIT, "max_tokens")
    assert by_policy is not None and by_policy.reason is Reason.OUT_OF_ENVELOPE
    assert by_model is not None and by_model.reason is Reason.TOO_MANY_TOKENS
    assert generation.check_answer(1023, settings, LIMIT, "max_tokens") is None


@pytest.mark.parametrize(
    ("stops", "fine"), [([], True), (["a"] * 4, True), (["a"] * 5, False), ([""], False), (["é" * 65], False)]
)
def test_stop_strings_are_refused_when_there_are_too_many_or_too_long(stops: list[str], fine: bool) -> None:
    """Count and bytes."""
    assert (generation.check_stops(stops, SETTINGS) is None) == fine


def test_settings_are_refused_when_out_of_range() -> None:
    """As every settings type."""
    with pytest.raises(SettingError):
        generation.GenerationSettings(default_max_tokens=0)
