"""Deep JSON: the recursion limit was raised for some large document, so a deeply nested body overflows the stack and kills.

A supervisor starts the server again, as in production. The twin refuses with 400.
"""

from __future__ import annotations

import json
import sys

from tests.zoo.manifest import Manifest
from tests.zoo.program import main
from tests.zoo.service import Embeddings, Job, Refusal

MANIFEST = Manifest(
    name="deep_json",
    defect="nesting is parsed recursively without a limit: the process dies of it",
    twin="nesting beyond the parser's limit is refused",
    cases=("J01.deep", "J01.open"),
    oracles=("liveness",),
    cwe=(674,),
    pattern="F7",
    may_crash=True,
)


class Deep(Embeddings):
    """Parses with the standard library and no limit."""

    def __init__(self) -> None:
        super().__init__()
        sys.setrecursionlimit(1 << 30)

    def decode(self, body: bytes, dialect: str) -> Job:
        """The same typed decode after a recursive parse. Raises Refusal."""
        try:
            json.loads(body)
        except ValueError:
            raise Refusal(400, "the body is not JSON") from None
        sys.setrecursionlimit(1000)
        try:
            return super().decode(body, dialect)
        finally:
            sys.setrecursionlimit(1 << 30)


def make(sound: bool) -> Embeddings:
    """The server."""
    return Embeddings() if sound else Deep()


if __name__ == "__main__":
    main(make, supervised=True)
