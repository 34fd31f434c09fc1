"""Images: what a picture file can cost, from its header alone.

Decides which pictures are inside the envelope: size, shape, frames and scans, minimum as well as maximum, and the pixels that
the planned resize makes on its way. Promises constant time but for one count over the bytes, no copies, and that a feature is
what the header says: the cage refuses a picture with more pixels. It must not know prices, routes or decoders.
"""

from __future__ import annotations

import random
import struct
import zlib
from dataclasses import asdict, dataclass
from typing import Annotated

from msgspec import Meta

from wickguard.modality.image_header import Header
from wickguard.rejection import Reason, Rejection
from wickguard.setting import check as check_settings
from wickguard.units import MIB


@dataclass(frozen=True, slots=True)
class ImageSettings:
    """The envelope of a picture.

    max_pixels: of one frame, decoded.
    max_side: of width and height, in pixels.
    min_side: the same; smaller pictures show nothing and break assumptions.
    max_aspect: the longer side over the shorter one.
    max_frames: of an animation; only the first is looked at.
    max_scans: passes over the pixels that a progressive JPEG may make.
    """

    max_pixels: Annotated[int, Meta(ge=1, le=1 << 30)] = 16 * MIB
    max_side: Annotated[int, Meta(ge=1, le=65_535)] = 8192
    min_side: Annotated[int, Meta(ge=1, le=65_535)] = 4
    max_aspect: Annotated[float, Meta(ge=1, le=65_535)] = 20.0
    max_frames: Annotated[int, Meta(ge=1, le=65_535)] = 1
    max_scans: Annotated[int, Meta(ge=1, le=100)] = 32

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True, slots=True)
class ImageFeatures:
    """file_bytes: of the picture as sent. width, height: decoded. scan_pixels: pixels times passes over them.

    planned_pixels: what the resize to the model's size makes on its way: columns first, then lines.
    bits: per pixel as stored. frames: of an animation.
    """

    file_bytes: int
    width: int
    height: int
    scan_pixels: int
    planned_pixels: int
    bits: int
    frames: int

    @property
    def pixels(self) -> int:
        """Decoded."""
        return self.width * self.height

    def as_dict(self) -> dict[str, int]:
        """Name to value."""
        return asdict(self)


def measure(header: Header, file_bytes: int, size: tuple[int, int]) -> ImageFeatures:
    """Features of a file with this header for a model that sees (height, width)."""
    high, wide = size
    return ImageFeatures(
        file_bytes=file_bytes,
        width=header.width,
        height=header.height,
        scan_pixels=header.pixels * header.scans,
        planned_pixels=header.height * wide + high * wide,
        bits=header.bits,
        frames=header.frames,
    )


def largest(settings: ImageSettings, file_bytes: int, size: tuple[int, int]) -> ImageFeatures:
    """At least what the dearest picture inside the envelope costs, in files of at most `file_bytes`."""
    high, wide = size
    tall = min(settings.max_side, settings.max_pixels)
    return ImageFeatures(
        file_bytes, max(1, settings.max_pixels // tall), tall, settings.max_pixels * settings.max_scans,
        tall * wide + high * wide, 64, settings.max_frames,
    )  # fmt: skip


def synthesize(width: int, height: int, bits: int = 0, seed: int = 0) -> bytes:
    """A PNG of this size: measure() of its header gives the size back.

    bits 0: grey, of a handful of bytes per thousand pixels. bits 1 to 8: colours with so much noise in each of their values,
    which no packing can take out: about bits / 8 bytes per value.
    """
    kind, line_bytes = (2, 3 * width) if bits else (0, width)
    packer = zlib.compressobj(1 if bits else 9)
    if bits:
        step = 256 >> bits
        table = bytes(value // step * step for value in range(256))
        noise = random.Random(seed)
        lines = [b"\0" + noise.randbytes(line_bytes).translate(table) for _ in range(height)]
    else:
        lines = [bytes(1 + line_bytes)] * height
    packed = b"".join([*map(packer.compress, lines), packer.flush()])
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)), (b"IDAT", packed), (b"IEND", b"")]
    spelled = (
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(spelled)


def check(header: Header, settings: ImageSettings, field: str) -> Rejection | None:
    """The envelope. None means inside."""
    short, long = sorted((header.width, header.height))
    tests: tuple[tuple[bool, str, float, float, str, str], ...] = (
        (short < settings.min_side, "the picture is too small", settings.min_side, short, "pixels", "at least"),
        (long > settings.max_side, "the picture is too long or too wide", settings.max_side, long, "pixels", "at most"),
        (header.pixels > settings.max_pixels, "the picture is too large", settings.max_pixels, header.pixels, "pixels",
         "at most"),
        (long > settings.max_aspect * short, "the picture is too narrow", settings.max_aspect, round(long / short, 1),
         "times as long as wide", "at most"),
        (header.frames > settings.max_frames, "the picture is animated", settings.max_frames, header.frames, "frames",
         "at most"),
        (header.scans > settings.max_scans, "the picture is stored in too many passes", settings.max_scans, header.scans,
         "scans", "at most"),
    )  # fmt: skip
    for outside, what, limit, seen, unit, side in tests:
        if outside:
            accepted = f"{side} {limit:g} {unit}"
            return Rejection(Reason.OUT_OF_ENVELOPE, what, field, limit=limit, seen=seen, unit=unit, accepted=accepted)
    return None
