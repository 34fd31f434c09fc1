"""Picture files: few bytes of many pixels, frames or passes, and headers that lie, written byte by byte.

Decides how each format spells what a case wants to see decoded. Promises bytes that depend on the arguments alone, valid but
where the name says otherwise, and that making them takes no more memory than a few of their lines. It must not know targets.
Formats: PNG (W3C, third edition, with animation), WebP lossless (RFC 9649), GIF 89a, JPEG (ITU T.81).
"""

from __future__ import annotations

import struct
import zlib
from functools import lru_cache

# Samples of a pixel by the colour type of PNG: grey, RGB, palette, grey and alpha, none that is known, RGBA.
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 5: 1, 6: 4}
# One run of the progressive coding ends so many blocks: a square of this side, in blocks of 8 x 8.
JPEG_SIDE = 1024
_JPEG_BLOCKS = (JPEG_SIDE // 8) ** 2
_JPEG_FIRST = bytes.fromhex("ffda 0008 01 0100 00 00 00") + bytes(_JPEG_BLOCKS // 8)
# One code says that 2^14 blocks are over, and its 14 bits add none.
_JPEG_PASS = bytes.fromhex("ffda 0008 01 0100 01 3f 00 0001")
_LONGEST_COMMENT = 65_533


def chunk(name: bytes, data: bytes) -> bytes:
    """One chunk of a PNG."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(size: tuple[int, int], *before: bytes, colour: int = 2, depth: int = 8, data: bytes | None = None) -> bytes:
    """A PNG of this (width, height), all zeros, unless `data` stands in the place of its packed lines. before: chunks."""
    width, height = size
    packed = _zeros((width * _SAMPLES[colour] * depth + 7) // 8, height) if data is None else data
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(before) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def flat_png(size: tuple[int, int]) -> bytes:
    """One bit a pixel, all black: a kilobyte for eight million pixels."""
    return png(size, colour=0, depth=1)


def flat_webp(size: tuple[int, int]) -> bytes:
    """34 bytes, whatever the size: a code of one symbol takes no bits, and each of the five codes has one."""
    width, height = size
    stream = b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14) + b"\x88\x88\x08" + bytes(6)
    body = b"WEBPVP8L" + struct.pack("<I", len(stream)) + stream
    return b"RIFF" + struct.pack("<I", len(body)) + body


def animated_png(side: int, frames: int) -> bytes:
    """So many whole frames of one bit a pixel."""
    line_bytes = (side + 7) // 8
    moving = [chunk(b"acTL", struct.pack(">II", frames, 0)), _frame(0, side)]
    later = []
    for index in range(1, frames):
        later.append(_frame(2 * index - 1, side))
        later.append(chunk(b"fdAT", struct.pack(">I", 2 * index) + _zeros(line_bytes, side)))
    still = png((side, side), *moving, colour=0, depth=1)
    end = chunk(b"IEND", b"")
    return still[: -len(end)] + b"".join(later) + end


def padded_png(side: int, size_bytes: int) -> bytes:
    """The first frame of the same, with a text beside it that fills the file up to `size_bytes`."""
    still = png((side, side), colour=0, depth=1)
    room = max(0, size_bytes - len(still) - 14)
    return png((side, side), chunk(b"tEXt", b"a\0" + b" " * room), colour=0, depth=1)


def animated_gif(side: int, frames: int) -> bytes:
    """So many frames of one pixel on a canvas that each of them makes anew: twenty bytes a frame."""
    frame = b"\x21\xf9\x04\x08\x0a\0\0\0" + b"\x2c" + struct.pack("<HHHH", 0, 0, 1, 1) + b"\0" + b"\x02\x02\x44\x01\0"
    return _gif_head(side) + frame * frames + b"\x3b"


def padded_gif(side: int, size_bytes: int) -> bytes:
    """One frame of the same, with a comment that fills the file up to `size_bytes`."""
    still = animated_gif(side, 1)
    room = size_bytes - len(still) - 3
    text = b"".join(
        bytes([length]) + b" " * length for at in range(0, room, 256) if (length := min(255, room - at - 1))
    )
    return still[:-1] + (b"\x21\xfe" + text + b"\0" if text else b"") + b"\x3b"


def progressive_jpeg(passes: int) -> bytes:
    """A grey square of JPEG_SIDE whose pixels are gone through again so many times, twelve bytes each."""
    return _jpeg_head(b"") + _JPEG_FIRST + _JPEG_PASS * passes + b"\xff\xd9"


def padded_jpeg(size_bytes: int) -> bytes:
    """The same square in one pass, with comments that fill the file up to `size_bytes`."""
    room = max(0, size_bytes - len(progressive_jpeg(1)))
    comments = b""
    while len(comments) < room:
        text = bytes(min(_LONGEST_COMMENT, max(1, room - len(comments) - 4)))
        comments += b"\xff\xfe" + struct.pack(">H", len(text) + 2) + text
    return _jpeg_head(comments) + _JPEG_FIRST + _JPEG_PASS + b"\xff\xd9"


def _jpeg_head(comments: bytes) -> bytes:
    # One component, quantised by ones, and Huffman tables of one code each: no difference, and the long run of blocks.
    tables = b"\xff\xdb\0\x43\0" + b"\1" * 64
    for kind, symbol in ((0x00, 0x00), (0x10, 0xE0)):
        tables += b"\xff\xc4" + struct.pack(">H", 20) + bytes([kind, 1]) + bytes(15) + bytes([symbol])
    frame = b"\xff\xc2\0\x0b\x08" + struct.pack(">HH", JPEG_SIDE, JPEG_SIDE) + b"\x01\x01\x11\0"
    return b"\xff\xd8" + comments + tables + frame


def _gif_head(side: int) -> bytes:
    return b"GIF89a" + struct.pack("<HH", side, side) + b"\x80\0\0" + bytes(3) + b"\xff\xff\xff"


def _frame(number: int, side: int) -> bytes:
    return chunk(b"fcTL", struct.pack(">IIIIIHHBB", number, side, side, 0, 0, 1, 10, 0, 0))


@lru_cache(maxsize=32)
def _zeros(line_bytes: int, lines: int) -> bytes:
    """Packed lines of nothing; made in pieces, so that a gigabyte takes a megabyte."""
    packer = zlib.compressobj(9)
    at_once = max(1, min(lines, (1 << 20) // (line_bytes + 1)))
    piece = bytes((line_bytes + 1) * at_once)
    packed = [packer.compress(piece) for _ in range(lines // at_once)]
    packed.append(packer.compress(piece[: (line_bytes + 1) * (lines % at_once)]))
    return b"".join([*packed, packer.flush()])
