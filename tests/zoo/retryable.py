"""Retryable: inputs that can never succeed are answered 500 and 503, so every well-behaved client sends them three times.

The twin answers 4xx.
"""

from __future__ import annotations

from tests.zoo.manifest import Manifest
from tests.zoo.program import main
from tests.zoo.service import Embeddings
from tests.zoo.wire import Answer, Request

MANIFEST = Manifest(
    name="retryable",
    defect="deterministic refusals carry codes that clients retry: 500 and 503 instead of 4xx",
    twin="deterministic refusals are 4xx",
    cases=("J07", "J16", "T01", "T09", "T19"),
    oracles=("retry", "status"),
    cwe=(755,),
    pattern="F7",
)
INSTEAD = {400: 500, 422: 500, 413: 503}


class Retryable(Embeddings):
    """The same refusals under other codes."""

    async def answer(self, request: Request) -> Answer:
        """The sound answer, with its status replaced."""
        answer = await super().answer(request)
        answer.status = INSTEAD.get(answer.status, answer.status)
        return answer


def make(sound: bool) -> Embeddings:
    """The server."""
    return Embeddings() if sound else Retryable()


if __name__ == "__main__":
    main(make)
