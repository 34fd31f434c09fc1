"""Inflation: a gzip body is inflated whole before its size is looked at (the pattern of vLLM CVE-2026-54233).

The limit of 256 KiB bounds what comes over the wire: a thousand times as much is built from it. The twin inflates at most
one byte more than the limit and refuses.
"""

from __future__ import annotations

import asyncio
import gzip
import zlib

from tests.zoo.manifest import Manifest
from tests.zoo.program import main
from tests.zoo.service import MAX_BODY_BYTES, Embeddings, Refusal
from tests.zoo.wire import Request

MANIFEST = Manifest(
    name="inflation",
    defect="a compressed body is inflated without a limit; the limit counts bytes on the wire",
    twin="inflation stops at the limit",
    cases=("P19", "P19.deflate"),
    oracles=("memory", "slope"),
    cwe=(409,),
    pattern="F3",
    exponent=1.0,
)


class Inflating(Embeddings):
    """Accepts gzip, bounded."""

    def codings(self) -> tuple[str, ...]:
        """Content encodings that are accepted."""
        return ("identity", "gzip")

    async def body(self, request: Request) -> bytes:
        """The body without its content-encoding. Raises Refusal."""
        if request.headers.get("content-encoding") != "gzip":
            return request.body
        try:
            return await asyncio.to_thread(self.inflate, request.body)
        except (EOFError, OSError, zlib.error):
            raise Refusal(400, "the body is not gzip") from None

    def inflate(self, packed: bytes) -> bytes:
        """At most the limit."""
        inflater = zlib.decompressobj(wbits=31)
        plain = inflater.decompress(packed, MAX_BODY_BYTES + 1)
        if len(plain) > MAX_BODY_BYTES:
            raise Refusal(413, f"at most {MAX_BODY_BYTES} bytes when inflated")
        return plain


class Unlimited(Inflating):
    """Inflates whatever comes."""

    def inflate(self, packed: bytes) -> bytes:
        """All of it."""
        return gzip.decompress(packed)


def make(sound: bool) -> Embeddings:
    """The server."""
    return Inflating() if sound else Unlimited()


if __name__ == "__main__":
    main(make)
