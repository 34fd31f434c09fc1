"""Slow head: a connection may take as long as it likes to say what it wants, and there are 64 of them.

Sixty-four sockets that send a byte now and then close the server for everybody. The twin ends a head after eight seconds and
has room for 500.
"""

from __future__ import annotations

from tests.zoo.manifest import Manifest
from tests.zoo.program import main
from tests.zoo.service import Embeddings
from tests.zoo.wire import Limits, Server

MANIFEST = Manifest(
    name="slow_head",
    defect="no deadline for the head of a request, and few connections",
    twin="a head has eight seconds",
    cases=("P02", "P01"),
    oracles=("connection",),
    cwe=(400, 410),
    pattern="F8",
)


def make(sound: bool) -> Server:
    """The server."""
    return Server(Embeddings(), Limits() if sound else Limits(head_s=3600, idle_s=3600, connections=64))


if __name__ == "__main__":
    main(make)
