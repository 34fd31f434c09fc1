"""Leak: results are kept by input, to be quick when the same text comes again, and nothing ever leaves.

The pattern of xgrammar GHSA-hf3c-wxg2-49q9: small requests, each different, fill the memory. The twin keeps the last 64.
"""

from __future__ import annotations

from collections import OrderedDict

from tests.zoo.manifest import Manifest
from tests.zoo.program import main
from tests.zoo.service import Embeddings, Job, Result
from tests.zoo.work import Stop

MANIFEST = Manifest(
    name="leak",
    defect="a cache by input without a bound: 64 KiB stay for each distinct request",
    twin="a cache of the last 64",
    cases=("N02",),
    oracles=("memory",),
    cwe=(401, 770),
    pattern="F8",
)
KEPT_BYTES = 64 * 1024
MOST_KEPT = 64


class Caching(Embeddings):
    """What a cache keeps of each distinct request: the result with its activations."""

    most_kept = MOST_KEPT

    def __init__(self) -> None:
        super().__init__()
        self.kept: OrderedDict[str, tuple[Result, bytearray]] = OrderedDict()

    def compute(self, job: Job, stop: Stop) -> Result:
        """From the cache, or anew."""
        key = repr(job.inputs)
        if (known := self.kept.get(key)) is not None:
            return known[0]
        result = super().compute(job, stop)
        self.kept[key] = (result, bytearray(b"a" * KEPT_BYTES))
        while len(self.kept) > self.most_kept:
            self.kept.popitem(last=False)
        return result


class Hoarding(Caching):
    """The bound is forgotten."""

    most_kept = 1 << 40


def make(sound: bool) -> Embeddings:
    """The server."""
    return Caching() if sound else Hoarding()


if __name__ == "__main__":
    main(make)
