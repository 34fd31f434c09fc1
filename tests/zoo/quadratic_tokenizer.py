"""Quadratic tokenizer: byte-pair merges by scanning all pairs for each merge, as in tiktoken issue 195.

Words of ordinary text are short, so nobody notices; a run without a space is one word, and its cost is the square of its
length. The twin counts in one pass.
"""

from __future__ import annotations

import zlib
from itertools import pairwise

from tests.zoo.manifest import Manifest
from tests.zoo.program import main
from tests.zoo.service import Embeddings
from tests.zoo.words import pieces
from tests.zoo.work import Stop

MANIFEST = Manifest(
    name="quadratic_tokenizer",
    defect="each merge of the tokenizer scans all pairs of the word; a word may be as long as the text",
    twin="tokens are counted in one pass",
    cases=("T03",),
    oracles=("slope", "twin"),
    cwe=(407,),
    pattern="F5",
    exponent=2.0,
)
LONGEST_TOKEN = 8
NEVER = 1 << 40


class Quadratic(Embeddings):
    """The tokenizer of the sound server, replaced."""

    def tokenise(self, text: str, stop: Stop) -> int:
        """Tokens of a text; quadratic in its longest word."""
        return max(1, sum(merge(piece, stop) for piece in pieces(text)))


def rank(pair: str) -> int:
    """The order in which pairs merge; pairs beyond the longest token never do."""
    return zlib.crc32(pair.encode()) if len(pair) <= LONGEST_TOKEN else NEVER


def merge(word: str, stop: Stop) -> int:
    """Tokens that remain when no pair merges any more."""
    parts = list(word)
    ranks = [rank(a + b) for a, b in pairwise(parts)]
    while ranks and (lowest := min(ranks)) != NEVER:
        stop.check()
        at = ranks.index(lowest)
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
        del ranks[at]
        for near in (at - 1, at):
            if 0 <= near < len(ranks):
                ranks[near] = rank(parts[near] + parts[near + 1])
    return len(parts)


def make(sound: bool) -> Embeddings:
    """The server."""
    return Embeddings() if sound else Quadratic()


if __name__ == "__main__":
    main(make)
