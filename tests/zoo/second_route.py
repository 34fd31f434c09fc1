"""Second route: /v1/embeddings has limits, and /embed of the same server, added later for another client, has none.

The pattern of starlette CVE-2026-54283 and vLLM CVE-2026-34755. The twin has the same limits on both.
"""

from __future__ import annotations

from tests.zoo.manifest import Manifest
from tests.zoo.program import main
from tests.zoo.service import Embeddings, Job, Result
from tests.zoo.wire import Answer, Request
from tests.zoo.work import OVERHEAD_TOKENS, Stop, burn

MANIFEST = Manifest(
    name="second_route",
    defect="the limits of /v1/embeddings don't hold on /embed",
    twin="both routes have the same limits",
    cases=("J17", "J17.batch"),
    oracles=("equivalence",),
    cwe=(770,),
    pattern="F2",
)
UNLIMITED = "tei"


class Sound(Embeddings):
    """Two routes, one set of limits."""

    tei = True


class Bypassed(Sound):
    """Two routes, and limits on one."""

    def admit(self, head: Request) -> int | Answer:
        """The limit of the body, of the first route only."""
        allowed = super().admit(head)
        return 8 * 1024 * 1024 if allowed == self.max_body_bytes and self.routes()[head.path] == UNLIMITED else allowed

    def check(self, job: Job) -> None:
        """Counts and sizes, of the first route only."""
        if job.dialect != UNLIMITED:
            super().check(job)

    def compute(self, job: Job, stop: Stop) -> Result:
        """Tokens are limited on the first route only."""
        if job.dialect != UNLIMITED:
            return super().compute(job, stop)
        counts = [self.tokenise(item, stop) for item in job.inputs if isinstance(item, str)]
        burn(OVERHEAD_TOKENS + sum(counts), stop)
        return Result([[0.0] * job.dimensions] * len(counts), sum(counts))


def make(sound: bool) -> Embeddings:
    """The server."""
    return Sound() if sound else Bypassed()


if __name__ == "__main__":
    main(make)
