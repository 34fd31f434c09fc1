r"""Regex: trailing spaces are removed with `\s+$`, which tries every start of every run of spaces.

The pattern of the outage of Stack Overflow in 2016: quadratic in a run of spaces that does not end the text. The twin calls
`rstrip`.
"""

from __future__ import annotations

import re

from tests.zoo.manifest import Manifest
from tests.zoo.program import main
from tests.zoo.service import Embeddings
from tests.zoo.words import count_tokens
from tests.zoo.work import Stop

MANIFEST = Manifest(
    name="regex",
    defect="a backtracking expression is quadratic in a run of spaces",
    twin="the same is done in one pass",
    cases=("T03.space",),
    oracles=("slope", "twin", "stall"),
    cwe=(1333,),
    pattern="F6",
    exponent=2.0,
)
TRAILING = re.compile(r"(?:\s|,)+$")


class Backtracking(Embeddings):
    """Cleans a text before it is tokenised."""

    def tokenise(self, text: str, stop: Stop) -> int:
        """Tokens of the cleaned text."""
        return count_tokens(TRAILING.sub("", text))


class Sound(Embeddings):
    """Cleans a text before it is tokenised, in one pass."""

    def tokenise(self, text: str, stop: Stop) -> int:
        """Tokens of the cleaned text."""
        return count_tokens(text.rstrip(" \t\r\n,"))


def make(sound: bool) -> Embeddings:
    """The server."""
    return Sound() if sound else Backtracking()


if __name__ == "__main__":
    main(make)
