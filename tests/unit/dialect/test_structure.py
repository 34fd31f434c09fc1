"""Structure scans against Python's own JSON."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wickguard.dialect.structure import longest_list, longest_string, scan

TEXTS = st.lists(st.text(max_size=30), max_size=12)


@given(TEXTS, st.booleans())
def test_strings_are_counted_exactly_when_the_json_is_valid(texts: list[str], ascii_only: bool) -> None:
    """Escapes, quotes and backslashes inside a string never change the count."""
    assert scan(json.dumps(texts, ensure_ascii=ascii_only).encode()).strings == len(texts)


@given(TEXTS)
def test_longest_string_is_exact_when_only_quotes_can_be_escaped_away(texts: list[str]) -> None:
    """The measure never exceeds the real UTF-8 length, so nothing honest is refused by it."""
    _, size = longest_string(json.dumps(texts).encode())
    assert size <= max((len(text.encode()) for text in texts), default=0)


@given(st.lists(st.text(alphabet="aé€😀", max_size=30), min_size=1, max_size=12))
def test_longest_string_is_exact_when_nothing_is_escaped(texts: list[str]) -> None:
    """Index and size are those of the first longest text."""
    sizes = [len(text.encode()) for text in texts]
    assert longest_string(json.dumps(texts, ensure_ascii=False).encode()) == (sizes.index(max(sizes)), max(sizes))


@given(st.lists(st.lists(st.integers(0, 9999), min_size=1, max_size=9), min_size=1, max_size=9))
def test_longest_list_is_exact_when_lists_hold_numbers(lists: list[list[int]]) -> None:
    """Also with the outer list around them."""
    sizes = [len(inner) for inner in lists]
    assert longest_list(json.dumps(lists).encode()) == (sizes.index(max(sizes)), max(sizes))


@pytest.mark.parametrize(("text", "elements"), [(b"[1,2,3]", 3), (b"[7]", 1), (b"[[1],[2,3]]", 2)])
def test_longest_list_counts_when_the_list_is_flat(text: bytes, elements: int) -> None:
    """A flat list is its own innermost list."""
    assert longest_list(text)[1] == elements


@given(st.binary(max_size=200))
def test_scans_answer_when_the_bytes_are_no_json(data: bytes) -> None:
    """Counts are bounded by the length, and nothing raises."""
    counts = scan(data)
    assert max(counts.strings, counts.commas, counts.brackets) <= len(data)
    assert longest_string(data)[1] <= len(data)
    assert longest_list(data)[1] <= len(data) + 1
