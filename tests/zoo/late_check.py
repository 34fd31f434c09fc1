"""Late check: the limits exist and are enforced, after the work (the pattern of vLLM CVE-2026-55646).

The body is read to 8 MiB, tokenised and computed, and then refused as too long: the refusal looks right and costs as much
as an answer. The twin refuses on the head. Speaks the dialect of text-embeddings-inference.
"""

from __future__ import annotations

from tests.zoo.manifest import Manifest
from tests.zoo.program import main
from tests.zoo.service import Embeddings, Job, Result
from tests.zoo.wire import Answer, Request
from tests.zoo.work import OVERHEAD_TOKENS, Stop, burn

MANIFEST = Manifest(
    name="late_check",
    defect="too long inputs are read, tokenised and computed before they are refused",
    twin="too long inputs are refused before they are read",
    cases=("T01", "P16", "P16.declared"),
    oracles=("early_rejection",),
    cwe=(408,),
    pattern="F1",
    dialect="tei",
    path="/embed",
)


class Sound(Embeddings):
    """Also TEI."""

    tei = True


class Late(Sound):
    """The order of check and work is wrong."""

    max_body_bytes = 8 * 1024 * 1024

    async def infer(self, request: Request, dialect: str) -> Answer:
        """Decode, compute, check."""
        job = self.decode(await self.body(request), dialect)
        result = await self.run(job)
        self.check(job)
        return self.encode(job, result)

    def compute(self, job: Job, stop: Stop) -> Result:
        """Tokenise and run the model, however long."""
        counts = [self.tokenise(item, stop) if isinstance(item, str) else len(item) for item in job.inputs]
        burn(OVERHEAD_TOKENS + sum(counts), stop)
        return Result([[0.0] * job.dimensions] * len(counts), sum(counts))


def make(sound: bool) -> Embeddings:
    """The server."""
    return Sound() if sound else Late()


if __name__ == "__main__":
    main(make)
