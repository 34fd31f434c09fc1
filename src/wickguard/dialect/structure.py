"""Structure: how many JSON values a body holds, counted before any of them becomes a Python object.

A megabyte of `["a","a",...]` becomes 25 times its size as objects, and a length limit in the typed decoder is checked only
after the list was built. So strings, separators and brackets are counted with memchr-speed scans first. Promises: linear
time, at most one copy of the input (only when it holds a backslash), exact for valid JSON and an answer for any bytes.
Validity itself is left to the decoder. It must not know which API the body belongs to.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Structure:
    """strings: string values and keys. commas, brackets: separators and opening [ or {, outside *and inside* strings."""

    strings: int
    commas: int
    brackets: int


def scan(raw: bytes | memoryview) -> Structure:
    """Counts in `raw`, which should be valid JSON; for anything else the counts are only bounded by its length."""
    data = bytes(raw)
    plain = data.replace(b"\\\\", b"") if b"\\" in data else data
    quotes = plain.count(b'"') - plain.count(b'\\"')
    return Structure(strings=quotes // 2, commas=data.count(b","), brackets=data.count(b"[") + data.count(b"{"))
