"""Evicting limiter: each API key has a bucket, the table of buckets is bounded, and whoever is evicted starts full again.

A caller that has used up its bucket sends one request under each of 200 other keys, and its debt is forgotten. In the twin
only buckets without a debt are evicted, and keys that find no room share one bucket. Any key is accepted; without one, all
share the bucket of the anonymous.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass

from tests.zoo.manifest import Manifest
from tests.zoo.program import main
from tests.zoo.service import Embeddings, refused
from tests.zoo.wire import Answer, Request

MANIFEST = Manifest(
    name="evicting_limiter",
    defect="spraying identities evicts a debt from the limiter, and the debtor starts afresh",
    twin="a debt is never evicted; identities without room share one bucket",
    cases=("E03",),
    oracles=("equivalence",),
    cwe=(799, 770),
    pattern="F8",
)
RATE_PER_S = 10.0
DEPTH = 60.0
MOST_BUCKETS = 200
CROWD = "the crowd"


@dataclass(slots=True)
class Bucket:
    """Requests that were used up and have not leaked away, at an instant."""

    level: float
    at: float

    def take(self, now: float) -> bool:
        """Use one request, or say no."""
        self.leak(now)
        if self.level + 1 > DEPTH:
            return False
        self.level += 1
        return True

    def leak(self, now: float) -> float:
        """The level now."""
        self.level = max(0.0, self.level - (now - self.at) * RATE_PER_S)
        self.at = now
        return self.level


class Limited(Embeddings):
    """Sixty requests at once, ten a second for ever, per key."""

    def __init__(self) -> None:
        super().__init__()
        self.buckets: OrderedDict[str, Bucket] = OrderedDict({CROWD: Bucket(0.0, 0.0)})

    async def answer(self, request: Request) -> Answer:
        """429 when the bucket of the key is full."""
        if request.path in self.routes():
            identity = request.headers.get("authorization", "anonymous")
            if not self.bucket(identity, time.monotonic()).take(time.monotonic()):
                return refused(429, "too many requests")
        return await super().answer(request)

    def bucket(self, identity: str, now: float) -> Bucket:
        """The bucket of an identity; the crowd's when there is no room and nobody without a debt."""
        if identity not in self.buckets:
            if len(self.buckets) >= MOST_BUCKETS and not self.make_room(now):
                return self.buckets[CROWD]
            self.buckets[identity] = Bucket(0.0, now)
        self.buckets.move_to_end(identity)
        return self.buckets[identity]

    def make_room(self, now: float) -> bool:
        """Forget one identity that owes nothing, among the longest unseen."""
        for identity, bucket in list(self.buckets.items())[:8]:
            if identity != CROWD and bucket.leak(now) == 0:
                del self.buckets[identity]
                return True
        return False


class Forgetful(Limited):
    """The longest unseen goes, whatever it owes."""

    def make_room(self, now: float) -> bool:
        """Forget the one that was not seen for longest."""
        del self.buckets[next(identity for identity in self.buckets if identity != CROWD)]
        return True


def make(sound: bool) -> Embeddings:
    """The server."""
    return Limited() if sound else Forgetful()


if __name__ == "__main__":
    main(make)
