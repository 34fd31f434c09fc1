"""Loop stall: the model is called in the coroutine that answers, so nothing else is answered meanwhile, health included.

The model is twenty times as dear as that of the other servers (a second for the largest batch), in the twin as well, which
calls it in a thread.
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.zoo.manifest import Manifest
from tests.zoo.program import main
from tests.zoo.service import Embeddings, Job, Result
from tests.zoo.work import Stop

MANIFEST = Manifest(
    name="loop_stall",
    defect="the model runs on the event loop: health and every other client wait",
    twin="the model runs in a thread",
    cases=("T01", "T10", "sweep:text_bytes", "sweep:inputs x text_bytes"),
    oracles=("stall",),
    cwe=(400,),
    pattern="F4",
)


class Sound(Embeddings):
    """A dearer model."""

    def model_tokens(self, counts: Sequence[int]) -> int:
        """Twenty times the usual work."""
        return 20 * sum(counts)


class Stalling(Sound):
    """The model on the loop."""

    async def run(self, job: Job) -> Result:
        """Nothing is awaited here."""
        return self.compute(job, Stop())


def make(sound: bool) -> Embeddings:
    """The server."""
    return Sound() if sound else Stalling()


if __name__ == "__main__":
    main(make)
