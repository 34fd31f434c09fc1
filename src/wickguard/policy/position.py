"""Positions: on which line of a TOML text a key is set.

The parser of the standard library gives no positions. A text that is valid is valid too when it ends after any of its
statements, so the line of a key is where the text, read up to there, first has it: found by bisection, with no second grammar
that could disagree with the parser. Promises the first line of a value that spans several. It must not know what keys mean.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Sequence
from typing import Any


def line_of(source: str, path: Sequence[str]) -> int | None:
    """The 1-based line on which `path` (table, key ...) first appears in a valid TOML text; None when it does not."""
    lines = source.replace("\r\n", "\n").split("\n")
    if not _has(tomllib.loads(source), path):
        return None
    # What is read up to `low` lacks the path, what is read up to `high` has it; both end after a statement.
    low, high = 0, len(lines)
    while high - low > 1:
        middle = (low + high) // 2
        # A statement may span the middle: then try where it began, then where it ends.
        end = _first_whole(lines, range(middle, low, -1)) or _first_whole(lines, range(middle + 1, high))
        if end is None:
            break
        if _has(_read(lines, end), path):
            high = end
        else:
            low = end
    return low + 1


def _first_whole(lines: Sequence[str], ends: Iterable[int]) -> int | None:
    for end in ends:
        try:
            _read(lines, end)
        except tomllib.TOMLDecodeError:
            continue
        return end
    return None


def _read(lines: Sequence[str], end: int) -> dict[str, Any]:
    return tomllib.loads("\n".join(lines[:end]))


def _has(document: Any, path: Sequence[str]) -> bool:
    for name in path:
        if not isinstance(document, dict) or name not in document:
            return False
        document = document[name]
    return True
