"""Padding: every text of a batch is padded to the longest, so one long text makes all the short ones as dear as itself.

The product of count and longest is never checked, although both are. The twin computes each text at its own length.
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.zoo.manifest import Manifest
from tests.zoo.program import main
from tests.zoo.service import Embeddings

MANIFEST = Manifest(
    name="padding",
    defect="a batch costs count x longest: one long text with many short ones is amplified by the count",
    twin="each text costs its own length",
    cases=("T11", "sweep:padding"),
    oracles=("slope", "twin"),
    cwe=(405, 770),
    pattern="F5",
    exponent=2.0,
)
BYTES_PER_POSITION = 64


class Padded(Embeddings):
    """Padding in the tokenizer: ids, masks, offsets and strings for every pad."""

    def model_tokens(self, counts: Sequence[int]) -> int:
        """Positions of the padded batch, materialised before they are computed."""
        positions = max(counts) * len(counts)
        return len(bytearray(positions * BYTES_PER_POSITION)) // BYTES_PER_POSITION


def make(sound: bool) -> Embeddings:
    """The server."""
    return Embeddings() if sound else Padded()


if __name__ == "__main__":
    main(make)
