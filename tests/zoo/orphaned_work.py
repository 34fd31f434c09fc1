"""Orphaned work: when the client leaves, the answer is dropped and the computation goes on.

What a client cancels, or a time-out in front of the server, ends only the wait: the next clients queue behind work that
nobody wants. The model is twenty times as dear as usual, in the twin as well, which stops.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from tests.zoo.manifest import Manifest
from tests.zoo.program import main
from tests.zoo.service import Embeddings, Job, Result

MANIFEST = Manifest(
    name="orphaned_work",
    defect="work goes on after the client has left",
    twin="work stops when the client leaves",
    cases=("P30",),
    oracles=("collateral", "recovery"),
    cwe=(404,),
    pattern="F4",
)


class Sound(Embeddings):
    """A dearer model, and a longer queue."""

    queue = 64

    def model_tokens(self, counts: Sequence[int]) -> int:
        """Twenty times the usual work."""
        return 20 * sum(counts)


class Orphaning(Sound):
    """Cancelling ends the wait only."""

    async def run(self, job: Job) -> Result:
        """The result; the work is out of reach of a cancellation."""
        return await asyncio.shield(asyncio.ensure_future(super().run(job)))


def make(sound: bool) -> Embeddings:
    """The server."""
    return Sound() if sound else Orphaning()


if __name__ == "__main__":
    main(make)
