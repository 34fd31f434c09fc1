"""Picture files for tests, honest and hostile, made from their bytes or by Pillow."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image

# 34 bytes that a decoder turns into a gigabyte: lossless WebP, 16,000 x 16,000, one colour.
TINY_WEBP = b"RIFF\x1a\0\0\0WEBPVP8L\x0e\0\0\0\x2f\x7f\xfe\x9f\x0f\x88\x88\x08" + b"\0" * 6


def saved(size: tuple[int, int], kind: str, mode: str = "RGB", **how: object) -> bytes:
    """A picture of soft noise as Pillow writes it."""
    noise = np.random.default_rng(1).integers(90, 160, (size[1], size[0], 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).convert(mode).save(file, kind, **how)
    return file.getvalue()


def as_png(pixels: np.ndarray) -> bytes:
    """A PNG of these pixels."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def flat(size: tuple[int, int], kind: str = "PNG", mode: str = "L") -> bytes:
    """A picture of one colour: small files of many pixels."""
    file = io.BytesIO()
    Image.new(mode, size).save(file, kind)
    return file.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    """One chunk of a PNG."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, *before: bytes, data: bytes = b"", colour: int = 0, depth: int = 8) -> bytes:
    """A PNG that says this size, with chunks before its image data, whatever that is."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    body = header + b"".join(before) + chunk(b"IDAT", data or zlib.compress(b"\0")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def animated(kind: str, frames: int = 3, size: tuple[int, int] = (64, 48)) -> bytes:
    """An animation."""
    pictures = [Image.new("RGB", size, (40 * at % 256, 0, 90)) for at in range(frames)]
    file = io.BytesIO()
    pictures[0].save(file, kind, save_all=True, append_images=pictures[1:])
    return file.getvalue()


def scans(size: tuple[int, int], extra: int) -> bytes:
    """A progressive JPEG whose last scan comes `extra` times more."""
    file = io.BytesIO()
    Image.new("RGB", size).save(file, "JPEG", progressive=True)
    whole = file.getvalue()
    last = whole.rindex(b"\xff\xda")
    return whole[:-2] + whole[last:-2] * extra + whole[-2:]


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    """A WebP of these chunks."""
    body = b"".join(name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2) for name, data in chunks)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def canvas(width: int, height: int, flags: int = 0) -> tuple[bytes, bytes]:
    """The extended header of a WebP."""
    return b"VP8X", bytes([flags, 0, 0, 0]) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
