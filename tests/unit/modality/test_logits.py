"""Raw token ids for a model that writes: the envelope of an answer whose size follows from a shape."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wickguard.modality import logits
from wickguard.rejection import Reason
from wickguard.units import MIB

LIMITS = st.builds(
    logits.LogitsLimit, st.integers(1, 64), st.integers(1, 4096), st.integers(1, 200_000), st.integers(1024, 64 * MIB)
)


@given(LIMITS, st.integers(1, 100), st.integers(1, 5000), st.booleans())
def test_call_is_inside_exactly_when_rows_tokens_and_answer_are(
    limit: logits.LogitsLimit, rows: int, tokens: int, spelled: bool
) -> None:
    """And what a refusal says would be accepted, is."""
    found = logits.check(rows, tokens, limit, "x", spelled=spelled)
    answer = logits.measure(rows, tokens, limit.vocab, spelled=spelled).answer_bytes
    inside = rows <= limit.rows and tokens <= limit.tokens and answer <= limit.answer_bytes
    assert (found is None) == inside
    most = logits.most_tokens(limit, spelled=spelled)
    if most:
        assert logits.check(1, min(most, limit.tokens), limit, "x", spelled=spelled) is None
    if inside:
        assert rows * tokens <= most


@given(LIMITS, st.integers(1, 64), st.integers(1, 4096), st.booleans())
def test_no_call_inside_the_envelope_is_larger_than_the_largest(
    limit: logits.LogitsLimit, rows: int, tokens: int, spelled: bool
) -> None:
    """In work: positions, their squares, and numbers spelled."""
    if logits.check(rows, tokens, limit, "x", spelled=spelled) is None:
        found, most = logits.measure(rows, tokens, limit.vocab, spelled=spelled), logits.largest(limit)
        assert found.values <= most.values and found.spelled <= most.spelled
        assert found.rows * found.tokens**2 <= most.rows * most.tokens**2
        assert found.token_bound <= most.token_bound


@pytest.mark.parametrize(
    ("vocab", "spelled", "accepted"),
    [
        (1024, True, "at most 3 token ids, or 15 with binary_data"),
        (1024, False, "at most 15 token ids"),
        (10_000, True, "at most 1 token ids with binary_data"),
        (100_000, False, "a model with a smaller vocabulary"),
    ],
)
def test_refusal_says_how_many_ids_would_do_when_the_answer_is_too_large(
    vocab: int, spelled: bool, accepted: str
) -> None:
    """In this spelling, and raw where that is more; the limit is in bytes of the answer."""
    found = logits.check(1, 1000, logits.LogitsLimit(64, 4096, vocab, 64_000), "input_ids", spelled=spelled)
    assert found is not None
    assert (found.reason, found.limit, found.unit, found.accepted) == (
        Reason.OUT_OF_ENVELOPE, 64_000, "bytes", accepted
    )  # fmt: skip
