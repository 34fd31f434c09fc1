"""Units, deadlines, records' small promises."""

from __future__ import annotations

import pytest

from wickguard.deadline import Deadline
from wickguard.units import format_bytes, format_seconds, parse_bytes


@pytest.mark.parametrize(
    ("text", "count"),
    [("0", 0), ("4096", 4096), ("16k", 16384), ("2 MiB", 2 << 20), (" 1G ", 1 << 30), ("7b", 7), ("3kib", 3072)],
)
def test_sizes_are_read_when_they_are_sizes(text: str, count: int) -> None:
    """Binary multiples, any case, spaces."""
    assert parse_bytes(text) == count


@pytest.mark.parametrize("text", ["", "k", "-1", "1.5M", "12 parsecs", "1e3", "1t", "9" * 16])
def test_sizes_are_refused_when_they_are_none(text: str) -> None:
    """With what to write instead."""
    with pytest.raises(ValueError, match="not a size"):
        parse_bytes(text)


def test_numbers_are_readable_when_shown_to_people() -> None:
    """A unit that fits."""
    assert [format_bytes(count) for count in (12, 2048, 90_868_376, 5 << 30)] == [
        "12 B",
        "2.0 KiB",
        "86.7 MiB",
        "5.0 GiB",
    ]
    assert [format_seconds(seconds) for seconds in (1.26, 0.012, 4e-5)] == ["1.3 s", "12 ms", "40 µs"]


def test_deadline_is_an_instant_when_made_from_a_duration() -> None:
    """What is left is never negative."""
    due = Deadline.after(2.0, 10.0, by_client=True)
    assert (due.at, due.by_client) == (12.0, True)
    assert (due.remaining_s(11.5), due.remaining_s(99.0)) == (0.5, 0.0)
    assert (due.passed(11.9), due.passed(12.0)) == (False, True)
