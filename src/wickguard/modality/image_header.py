"""The image header: what a PNG, JPEG or WebP file says of itself, without decoding it.

Decides what kind of file it is and reads size, frames, colour depth and scans by skipping from one length field to the next,
a bounded number of steps; beside that there is at most one memchr-speed count over the bytes. Promises: nothing is allocated
from a number in the file; a file that the decoder would read as larger than is said here is refused (two frame headers, a
canvas that its image does not fill); nothing is raised. It must not know limits, prices or decoders.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

# Pieces before the image data: real files have a dozen, with metadata of cameras a few dozen.
MAX_STEPS = 128
_PNG = b"\x89PNG\r\n\x1a\n"
# Colour type -> (channels, bit depths); a palette's entries are colours of 24 bits.
_PNG_COLOURS = {0: (1, (1, 2, 4, 8, 16)), 2: (3, (8, 16)), 3: (1, (1, 2, 4, 8)), 4: (2, (8, 16)), 6: (4, (8, 16))}
_PNG_LONGEST = 2**31 - 1
# Baseline, extended sequential, progressive; what else there is (lossless, hierarchical, arithmetic) nobody sends.
_JPEG_FRAMES = {0xC0, 0xC1, 0xC2}
_JPEG_OTHER_FRAMES = set(range(0xC0, 0xD0)) - _JPEG_FRAMES - {0xC4, 0xC8, 0xCC}
_JPEG_SCAN, _JPEG_START, _JPEG_END = 0xDA, 0xD8, 0xD9
_VP8X_ANIMATED, _VP8X_ALPHA = 0x02, 0x10


class Kind(StrEnum):
    """The formats that are opened; the value is the media type."""

    PNG = "image/png"
    JPEG = "image/jpeg"
    WEBP = "image/webp"


@dataclass(frozen=True, slots=True)
class Header:
    """Width and height in pixels; frames of an animation, 1 for a still; bits per pixel as stored; passes over the pixels
    that decoding makes (the scans of a progressive JPEG).
    """

    kind: Kind
    width: int
    height: int
    frames: int
    bits: int
    scans: int

    @property
    def pixels(self) -> int:
        """Of one frame."""
        return self.width * self.height


def read(data: bytes) -> Header | str:
    """The header of a file, or what is wrong with it."""
    if data.startswith(_PNG):
        found = _png(data)
    elif data.startswith(b"\xff\xd8\xff"):
        found = _jpeg(data)
    elif data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        found = _webp(data)
    else:
        return "it is neither PNG, JPEG nor WebP"
    if isinstance(found, Header) and (found.width == 0 or found.height == 0):
        return "it has no pixels"
    return found


def _png(data: bytes) -> Header | str:
    if len(data) < 33 or data[8:16] != b"\0\0\0\rIHDR":
        return "the PNG header is broken"
    width, height = (int.from_bytes(data[at : at + 4], "big") for at in (16, 20))
    depth, colour, packing, filtering, interlace = data[24:29]
    channels, depths = _PNG_COLOURS.get(colour, (0, ()))
    if depth not in depths or packing or filtering or interlace > 1 or max(width, height) > _PNG_LONGEST:
        return "the PNG header is broken"
    frames, at = 1, 33
    for _ in range(MAX_STEPS):
        name = data[at + 4 : at + 8]
        if name == b"IDAT":
            return Header(Kind.PNG, width, height, frames, depth * channels, 1)
        if len(name) < 4 or name == b"IHDR":
            return "the PNG breaks off before its pixels, or has two headers"
        if name == b"acTL":
            # What is counted is what it says; a decoder that goes by the chunks sees the first frame all the same.
            frames = max(2, int.from_bytes(data[at + 8 : at + 12], "big"))
        at += 12 + int.from_bytes(data[at : at + 4], "big")
    return f"the PNG has more than {MAX_STEPS} chunks before its pixels"


def _jpeg(data: bytes) -> Header | str:
    frame: Header | None = None
    at = 2
    for _ in range(MAX_STEPS):
        # Any number of fill bytes may stand before a marker; a run of them is one step.
        if data[at : at + 1] == b"\xff" and data[at + 1 : at + 2] == b"\xff":
            at = _end_of_fill(data, at)
        if len(data) < at + 4 or data[at] != 0xFF:
            return "the JPEG breaks off before its pixels"
        marker, size = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker in _JPEG_OTHER_FRAMES or marker in (0, 0x01, _JPEG_START, _JPEG_END) or size < 2:
            return "the JPEG is of a kind that is not read, or broken"
        if marker == _JPEG_SCAN:
            return frame or "the JPEG has no frame header"
        if marker in _JPEG_FRAMES:
            if frame is not None or size < 8 or len(data) < at + 10:
                return "the JPEG has two frame headers, or a broken one"
            precision, components = data[at + 4], data[at + 9]
            height, width = (int.from_bytes(data[at + i : at + i + 2], "big") for i in (5, 7))
            if precision != 8 or components not in (1, 3, 4):
                return "the JPEG has a precision or a number of colours that is not read"
            # In entropy-coded data FF is followed by 00 or a restart marker, so no scan is missed; garbage may add some.
            scans = max(1, data.count(b"\xff\xda", at)) if marker == 0xC2 else 1
            frame = Header(Kind.JPEG, width, height, 1, 8 * components, scans)
        at += 2 + size
    return f"the JPEG has more than {MAX_STEPS} segments before its pixels"


def _end_of_fill(data: bytes, at: int) -> int:
    """Where the last of a run of FF stands; linear, in few steps: they double as long as they succeed."""
    size = 64
    while size:
        found = data[at + 1 : at + 1 + size] == b"\xff" * size
        at, size = (at + size, 2 * size) if found else (at, size // 2)
    return at


def _webp(data: bytes) -> Header | str:
    name = data[12:16]
    if name != b"VP8X":
        return _webp_image(data, 12)
    if len(data) < 30:
        return "the WebP header is broken"
    flags = data[20]
    width, height = (1 + int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
    bits = 32 if flags & _VP8X_ALPHA else 24
    if flags & _VP8X_ANIMATED:
        # Every frame is a chunk; the name in the middle of image data only adds to the count.
        return Header(Kind.WEBP, width, height, max(2, data.count(b"ANMF")), bits, 1)
    at = 12
    for _ in range(MAX_STEPS):
        at += 8 + int.from_bytes(data[at + 4 : at + 8], "little")
        at += at % 2
        name = data[at : at + 4]
        if name in (b"VP8 ", b"VP8L"):
            image = _webp_image(data, at)
            if isinstance(image, Header) and (image.width, image.height) != (width, height):
                return "the WebP's canvas and image differ in size"
            return image
        if len(name) < 4:
            return "the WebP breaks off before its pixels"
    return f"the WebP has more than {MAX_STEPS} chunks before its pixels"


def _webp_image(data: bytes, at: int) -> Header | str:
    name, body = data[at : at + 4], at + 8
    if name == b"VP8 " and data[body + 3 : body + 6] == b"\x9d\x01\x2a" and len(data) >= body + 10:
        if data[body] & 1:
            return "the WebP does not begin with a key frame"
        width, height = (int.from_bytes(data[body + i : body + i + 2], "little") & 0x3FFF for i in (6, 8))
        return Header(Kind.WEBP, width, height, 1, 24, 1)
    if name == b"VP8L" and data[body : body + 1] == b"\x2f" and len(data) >= body + 5:
        bits = int.from_bytes(data[body + 1 : body + 5], "little")
        if bits >> 29:
            return "the WebP has a version that is not read"
        alpha = bits >> 28 & 1
        return Header(Kind.WEBP, (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, 1, 32 if alpha else 24, 1)
    return "the WebP header is broken"
