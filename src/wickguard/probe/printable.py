"""Printable text: what a target wrote, as it can stand in a line of a terminal, a comment or a report.

Promises one letter for each letter, and none that is a control code, a line's end or a change of the writing's direction. It
must not know where the text goes: markup is the business of whoever writes it.
"""

from __future__ import annotations


def printable(text: str) -> str:
    """`text` with a question mark for each letter that can't be printed."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
