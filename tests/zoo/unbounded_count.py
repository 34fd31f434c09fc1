"""Unbounded count: `dimensions` is a number that the caller writes, and vectors of that length are built.

The pattern of vLLM CVE-2026-34756 (`n`): sixty bytes of request, as many bytes of memory and answer as the number says. The
twin accepts 1 to 256.
"""

from __future__ import annotations

from tests.zoo.manifest import Manifest
from tests.zoo.program import main
from tests.zoo.service import Embeddings

MANIFEST = Manifest(
    name="unbounded_count",
    defect="a count that the caller writes is allocated and answered without a bound",
    twin="the count has a range",
    cases=("N01.dimensions",),
    oracles=("amplification", "slope", "memory"),
    cwe=(770, 1284),
    pattern="F4",
    exponent=1.0,
)


class Unbounded(Embeddings):
    """Believes the number."""

    def dimensions(self, asked: int | None) -> int:
        """How long the vectors are to be."""
        return asked or self.dimensions_by_default


def make(sound: bool) -> Embeddings:
    """The server."""
    return Embeddings() if sound else Unbounded()


if __name__ == "__main__":
    main(make)
