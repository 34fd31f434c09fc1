"""Picture bomb: a PNG is decoded first, and only then is its size compared with the limit.

The refusal is right and comes too late: kilobytes of file have become a hundred megabytes of pixels. The twin reads the size
from the header. A classifier's front in the standard library: it decodes grey PNGs, one line after the other.
"""

from __future__ import annotations

import asyncio
import base64
import json
import struct
import zlib

import msgspec
from tests.zoo.manifest import Manifest
from tests.zoo.program import main
from tests.zoo.service import MODEL, Embeddings, Refusal, parsed
from tests.zoo.wire import Answer, Request
from tests.zoo.work import OVERHEAD_TOKENS, Stop, burn

MANIFEST = Manifest(
    name="picture_bomb",
    defect="a picture is decoded before its size is looked at",
    twin="the size is read from the header, and nothing else of a picture that is too large",
    cases=("I01", "I01.large"),
    oracles=("memory",),
    cwe=(409, 789),
    pattern="F3",
    path="/v1/classify",
)
MOST_PIXELS = 1 << 20
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# By depth: what each byte of a line becomes.
_PAINT = {
    1: [b"".join(bytes([255 * (byte >> bit & 1)]) * 3 for bit in range(7, -1, -1)) for byte in range(256)],
    8: [bytes([byte]) * 3 for byte in range(256)],
}


class ClassifyBody(msgspec.Struct, forbid_unknown_fields=True):
    """POST /v1/classify."""

    input: str
    model: str = MODEL
    top_k: int = 1


class Classifier(Embeddings):
    """The sound server: what a picture's header says is checked first."""

    def routes(self) -> dict[str, str]:
        """The one inference route."""
        return {MANIFEST.path: "openai"}

    async def infer(self, request: Request, dialect: str) -> Answer:
        """Decode the body, then look at the picture in a thread. Raises Refusal."""
        asked = parsed(request.body, ClassifyBody)
        try:
            picture = base64.b64decode(asked.input, validate=True)
        except ValueError as fault:
            raise Refusal(422, str(fault)) from None
        if asked.model != MODEL:
            raise Refusal(404, "no such model")
        shade = await asyncio.to_thread(self.look, picture)
        data = [{"index": 0, "label": "light" if shade > 127 else "dark", "score": 1.0}]
        return Answer(200, json.dumps({"object": "list", "data": data, "model": MODEL}).encode())

    def look(self, picture: bytes) -> int:
        """The first pixel's shade. Raises Refusal."""
        check_size(picture)
        return self.classify(pixels(picture))

    def classify(self, decoded: bytes) -> int:
        """What the model says."""
        burn(OVERHEAD_TOKENS, Stop())
        return decoded[0]


class DecodesFirst(Classifier):
    """The same check, after the work."""

    def look(self, picture: bytes) -> int:
        """The first pixel's shade. Raises Refusal."""
        decoded = pixels(picture)
        check_size(picture)
        return self.classify(decoded)


def header(picture: bytes) -> tuple[int, int, int]:
    """Width, height and bits of a grey PNG. Raises Refusal."""
    if picture[:8] != _SIGNATURE or picture[12:16] != b"IHDR" or len(picture) < 33:
        raise Refusal(422, "the picture is not a PNG")
    width, height, depth, colour = struct.unpack(">IIBB", picture[16:26])
    if not width or not height or depth not in (1, 8) or colour != 0:
        raise Refusal(422, "a grey PNG of 1 or 8 bits is wanted")
    return width, height, depth


def check_size(picture: bytes) -> None:
    """Raises Refusal when there are too many pixels."""
    width, height, _ = header(picture)
    if width * height > MOST_PIXELS:
        raise Refusal(413, f"at most {MOST_PIXELS} pixels")


def pixels(picture: bytes) -> bytes:
    """Three bytes for each pixel. Raises Refusal."""
    width, height, depth = header(picture)
    line_bytes = (width * depth + 7) // 8
    canvas = bytearray()
    inflater = zlib.decompressobj()
    try:
        packed = inflater.decompress(_data(picture), (line_bytes + 1) * height)
    except zlib.error:
        raise Refusal(422, "the picture is damaged") from None
    if len(packed) < (line_bytes + 1) * height:
        raise Refusal(422, "the picture ends too early")
    # Lines that are alike are painted once.
    painted: dict[bytes, bytes] = {}
    for at in range(1, len(packed), line_bytes + 1):
        line = packed[at : at + line_bytes]
        if line not in painted:
            painted = {line: _painted(line, width, depth)}
        canvas += painted[line]
    return bytes(canvas)


def _painted(line: bytes, width: int, depth: int) -> bytes:
    return b"".join(map(_PAINT[depth].__getitem__, line))[: 3 * width]


def _data(picture: bytes) -> bytes:
    found, at = b"", 8
    while at + 12 <= len(picture):
        length = int.from_bytes(picture[at : at + 4], "big")
        if picture[at + 4 : at + 8] == b"IDAT":
            found += picture[at + 8 : at + 8 + length]
        at += 12 + length
    return found


def make(sound: bool) -> Embeddings:
    """The server."""
    return Classifier() if sound else DecodesFirst()


if __name__ == "__main__":
    main(make)
