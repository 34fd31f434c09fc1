"""Error list: a refusal explains every wrong element, so the answer is many times as large as the request.

The twin stops at the first.
"""

from __future__ import annotations

import json

from tests.zoo.manifest import Manifest
from tests.zoo.program import main
from tests.zoo.service import Embeddings, Job, Refusal

MANIFEST = Manifest(
    name="error_list",
    defect="one error object for each wrong element of a list",
    twin="the first error only",
    cases=("J11",),
    oracles=("amplification",),
    cwe=(405,),
    pattern="F8",
)


class Explaining(Embeddings):
    """Validates as pydantic does by default: everything, to the end."""

    def decode(self, body: bytes, dialect: str) -> Job:
        """All the errors there are. Raises Refusal."""
        try:
            return super().decode(body, dialect)
        except Refusal as first:
            if first.status != 422:
                raise
            items = json.loads(body).get("input", [])
            wrong = [i for i, item in enumerate(items) if not isinstance(item, (str, int, list))]
            where = [
                {"loc": ["body", "input", i], "msg": "Input should be a valid string", "type": "str"} for i in wrong
            ]
            raise Refusal(422, json.dumps(where) if where else first.message) from None


def make(sound: bool) -> Embeddings:
    """The server."""
    return Embeddings() if sound else Explaining()


if __name__ == "__main__":
    main(make)
