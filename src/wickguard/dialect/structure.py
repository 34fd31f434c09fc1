"""Structure: how many JSON values a body holds and how long they are, before any of them becomes a Python object.

A megabyte of `["a","a",...]` becomes 25 times its size as objects, one character outside the Basic Multilingual Plane makes
a string 4 times its size, and a length limit in the typed decoder is checked only after the value was built. So strings,
separators and brackets are counted with memchr-speed scans first. Promises: linear time, at most two copies of the input
(only when it holds a backslash), exact for valid JSON and an answer for any bytes. Validity itself is left to the decoder.
It must not know which API the body belongs to.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Structure:
    """strings: string values and keys. commas, brackets: separators and opening [ or {, outside *and inside* strings."""

    strings: int
    commas: int
    brackets: int


def scan(data: bytes) -> Structure:
    """Counts in `data`, which should be valid JSON; for anything else the counts are only bounded by its length."""
    plain = data.replace(b"\\\\", b"") if b"\\" in data else data
    quotes = plain.count(b'"') - plain.count(b'\\"')
    return Structure(strings=quotes // 2, commas=data.count(b","), brackets=data.count(b"[") + data.count(b"{"))


def longest_string(data: bytes) -> tuple[int, int]:
    """(index, UTF-8 bytes) of the longest string, never more than the decoded string has; exact when nothing is escaped.

    Time is linear and one step per string: ask only when `scan` has found few.
    """
    plain = data
    if b"\\" in data:
        plain = data.replace(b"\\\\", b"_").replace(b'\\"', b"_")
    best, index, start = (0, 0), 0, plain.find(b'"')
    while start >= 0 and (end := plain.find(b'"', start + 1)) >= 0:
        # An escape is two bytes for one, or six (\uXXXX) for at least one.
        escapes, codes = plain.count(b"\\", start, end), plain.count(b"\\u", start, end)
        best = max(best, (end - start - 1 - escapes - 4 * codes, -index))
        index, start = index + 1, plain.find(b'"', end + 1)
    return -best[1], best[0]


def longest_list(data: bytes) -> tuple[int, int]:
    """(index, elements) of the longest innermost list of numbers. One step per list: ask only when `scan` found few."""
    best, index, start = (0, 0), 0, data.rfind(b"[", 0, data.find(b"]") + 1)
    while start >= 0 and (end := data.find(b"]", start)) >= 0:
        best = max(best, (data.count(b",", start, end) + 1, -index))
        index, start = index + 1, data.find(b"[", end)
    return -best[1], best[0]
