"""Slow reader: answers are written without waiting until they are read, and the next pipelined request is served at once.

A client that sends small requests and reads nothing fills the memory with answers (the pattern of aiohttp CVE-2026-54273).
The twin writes one answer at a time and closes after five seconds in which it did not leave.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from tests.zoo.manifest import Manifest
from tests.zoo.program import main
from tests.zoo.service import Embeddings
from tests.zoo.wire import Server

MANIFEST = Manifest(
    name="slow_reader",
    defect="answers that are not read are buffered without a bound",
    twin="the next request is served when the answer has left; a write deadline ends the connection",
    cases=("P27",),
    oracles=("memory",),
    cwe=(770,),
    pattern="F8",
)


class Verbose(Embeddings):
    """Vectors of 256 numbers: 5 KB of answer for each input."""

    dimensions_by_default = 256


@dataclass(slots=True)
class Buffering(Server):
    """Never waits for the reader."""

    async def flush(self, writer: asyncio.StreamWriter) -> None:
        """Return at once, whatever is still to be sent."""
        await asyncio.sleep(0)


def make(sound: bool) -> Server:
    """The server."""
    return Server(Verbose()) if sound else Buffering(Verbose())


if __name__ == "__main__":
    main(make)
