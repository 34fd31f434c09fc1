"""Units: the only names for sizes and times that cross a module border.

Decides nothing. It promises that a number whose name ends in `_s` is seconds, in `_bytes` is bytes, and that the binary
multiples used in settings and messages are spelled once. It must not know what the numbers are for.
"""

from __future__ import annotations

import re

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

_SUFFIXES = {"": 1, "b": 1, "k": KIB, "kib": KIB, "m": MIB, "mib": MIB, "g": GIB, "gib": GIB}
# Also part of the JSON Schema of the policy, hence plain.
SIZE_PATTERN = r"\s*([0-9]{1,15})\s*([bB]|[kKmMgG]([iI][bB])?)?\s*"
_SIZE = re.compile(SIZE_PATTERN)


def parse_bytes(text: str) -> int:
    """Bytes in `text`, e.g. "16k", "2 MiB", "4096". Raises ValueError when it is not a size."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f"not a size: {text[:40]!r}; write bytes or a number with k, M or G, e.g. 512M")
    return int(match[1]) * _SUFFIXES[(match[2] or "").lower()]


def spell_bytes(count: int) -> str:
    """`count` bytes as `parse_bytes` reads them, exactly and as short as possible: "64M", "1k", "1500"."""
    for suffix, size in (("G", GIB), ("M", MIB), ("k", KIB)):
        if count and count % size == 0:
            return f"{count // size}{suffix}"
    return str(count)


def format_bytes(count: float) -> str:
    """`count` bytes for people: "90.9 MB" style with binary multiples, e.g. "86.7 MiB"."""
    for unit, size in (("GiB", GIB), ("MiB", MIB), ("KiB", KIB)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count:.0f} B"


def format_seconds(seconds: float) -> str:
    """`seconds` for people: "1.3 s", "12 ms", "40 µs"."""
    if seconds >= 1:
        return f"{seconds:.1f} s"
    if seconds >= 1e-3:
        return f"{seconds * 1e3:.0f} ms"
    return f"{seconds * 1e6:.0f} µs"
