"""Integer collisions: token ids are put in a set before their range is checked.

CPython hashes an integer to itself modulo 2^61 - 1, so multiples of that number all collide and a set of them is quadratic.
The refusal is right and comes too late. The twin has the range in the type of the ids.
"""

from __future__ import annotations

import msgspec
from tests.zoo.manifest import Manifest
from tests.zoo.program import main
from tests.zoo.service import VOCABULARY, Embeddings, Job, Refusal

MANIFEST = Manifest(
    name="int_collisions",
    defect="client integers are hashed before they are checked: colliding ones are quadratic",
    twin="the range is checked while parsing",
    cases=("J05",),
    oracles=("slope", "twin", "stall"),
    cwe=(407,),
    pattern="F5",
    exponent=2.0,
)


class Anything(msgspec.Struct):
    """A body whose input may hold any integers."""

    input: str | list[str | int | list[int]]


class Colliding(Embeddings):
    """Looks for unknown ids with a set."""

    def decode(self, body: bytes, dialect: str) -> Job:
        """Distinct ids first, types and ranges afterwards. Raises Refusal."""
        try:
            ids = msgspec.json.decode(body, type=Anything).input
        except (msgspec.DecodeError, RecursionError):
            return super().decode(body, dialect)
        flat = [i for item in ids for i in (item if isinstance(item, list) else [item]) if isinstance(i, int)]
        if any(not 0 <= distinct < VOCABULARY for distinct in set(flat)):
            raise Refusal(422, "a token id is outside the vocabulary")
        return super().decode(body, dialect)


def make(sound: bool) -> Embeddings:
    """The server."""
    return Embeddings() if sound else Colliding()


if __name__ == "__main__":
    main(make)
