"""Cliff: beyond 1,024 tokens the work leaves the fast path, and one token more costs ten times as much.

What a smooth price can't know: below and above the edge the cost is linear. The twin has one path.
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.zoo.manifest import Manifest
from tests.zoo.program import main
from tests.zoo.service import Embeddings

MANIFEST = Manifest(
    name="cliff",
    defect="at 1,024 tokens the cost jumps by a factor of ten",
    twin="the cost is linear throughout",
    cases=("T15", "sweep:text_bytes"),
    oracles=("cliff", "slope"),
    cwe=(405,),
    pattern="F5",
)
EDGE_TOKENS = 1024
FACTOR = 10


class Cliff(Embeddings):
    """Two paths."""

    def model_tokens(self, counts: Sequence[int]) -> int:
        """Positions of the fast path, or ten times as many."""
        return sum(counts) * (FACTOR if sum(counts) > EDGE_TOKENS else 1)


def make(sound: bool) -> Embeddings:
    """The server."""
    return Embeddings() if sound else Cliff()


if __name__ == "__main__":
    main(make)
