"""The image header against Pillow for honest files, and against everything that is wrong with hostile ones."""

from __future__ import annotations

import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tests import pictures

from wickguard.modality.image_header import MAX_STEPS, Header, Kind, read

FILES = {
    "png": pictures.saved((37, 51), "PNG"),
    "png grey": pictures.saved((37, 51), "PNG", "L"),
    "png alpha": pictures.saved((37, 51), "PNG", "RGBA"),
    "png palette": pictures.saved((37, 51), "PNG", "P"),
    "png 1 bit": pictures.saved((37, 51), "PNG", "1"),
    "png with texts": pictures.png(37, 51, *[pictures.chunk(b"tEXt", b"a\0b" * 50)] * 20),
    "jpeg": pictures.saved((37, 51), "JPEG"),
    "jpeg grey": pictures.saved((37, 51), "JPEG", "L"),
    "jpeg cmyk": pictures.saved((37, 51), "JPEG", "CMYK"),
    "jpeg progressive": pictures.saved((37, 51), "JPEG", progressive=True),
    "jpeg with thumbnail": pictures.saved((37, 51), "JPEG", exif=b"Exif\0\0" + b"\xff\xda" * 500),
    "webp": pictures.saved((37, 51), "WEBP"),
    "webp lossless": pictures.saved((37, 51), "WEBP", lossless=True),
    "webp alpha": pictures.saved((37, 51), "WEBP", "RGBA"),
    "webp with profile": pictures.saved((37, 51), "WEBP", icc_profile=b"x" * 333),
}
BITS = {"png": 24, "png grey": 8, "png alpha": 32, "png palette": 8, "png 1 bit": 1, "jpeg grey": 8, "jpeg cmyk": 32}


@pytest.mark.parametrize("name", FILES)
def test_header_is_what_pillow_finds_when_a_file_is_honest(name: str) -> None:
    """Size, kind, one frame."""
    found = read(FILES[name])
    assert isinstance(found, Header), found
    seen = Image.open(io.BytesIO(FILES[name]))
    assert (found.width, found.height) == seen.size == (37, 51)
    assert found.kind == f"image/{(seen.format or '').lower()}"
    assert found.frames == 1
    assert found.bits == BITS.get(name, found.bits)
    assert found.scans == (1 if "progressive" not in name else FILES[name].count(b"\xff\xda"))


def test_scans_of_a_thumbnail_do_not_count_when_they_stand_before_the_frame() -> None:
    """Five hundred scan markers in the EXIF data are nobody's scans."""
    found = read(pictures.saved((37, 51), "JPEG", progressive=True, exif=b"Exif\0\0" + b"\xff\xda" * 500))
    assert isinstance(found, Header)
    assert 2 <= found.scans <= 12


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_frames_are_counted_when_a_file_is_animated(kind: str) -> None:
    """Three frames are three; what a decoder would do with them nobody needs to know here."""
    found = read(pictures.animated(kind))
    assert isinstance(found, Header)
    assert found.frames == 3


def test_scans_are_counted_when_a_jpeg_repeats_them() -> None:
    """Two hundred scans more are seen."""
    few, many = read(pictures.scans((64, 48), 0)), read(pictures.scans((64, 48), 200))
    assert isinstance(few, Header)
    assert isinstance(many, Header)
    assert many.scans == few.scans + 200


def test_the_34_bytes_are_256_million_pixels_when_their_header_is_read() -> None:
    """The smallest bomb there is says what it is."""
    found = read(pictures.TINY_WEBP)
    assert len(pictures.TINY_WEBP) == 34
    assert found == Header(Kind.WEBP, 16_000, 16_000, 1, 24, 1)


JPEG = FILES["jpeg"]
FRAME = JPEG[JPEG.index(b"\xff\xc0") :][:19]
VP8L = FILES["webp lossless"][12:]
WRONG = {
    "nothing": b"",
    "gif": b"GIF89a" + bytes(30),
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "tiff": b"II*\0" + bytes(40),
    "avif": bytes(4) + b"ftypavif" + bytes(40),
    "png cut in its header": FILES["png"][:30],
    "png cut before its pixels": FILES["png"][:36],
    "png without pixels": pictures.png(0, 5),
    "png of 0 bits": pictures.png(5, 5, depth=0),
    "png of a colour that does not exist": pictures.png(5, 5, colour=5),
    "png of 2^32 - 1": pictures.png(2**32 - 1, 5),
    "png with two headers": pictures.png(5, 5, pictures.chunk(b"IHDR", bytes(13))),
    "png with a chunk of 4 GiB": pictures.png(5, 5, b"\xff\xff\xff\xfftEXt"),
    "png with endless chunks": pictures.png(5, 5, *[pictures.chunk(b"tEXt", b"")] * (MAX_STEPS + 1)),
    "jpeg of two bytes": b"\xff\xd8\xff",
    "jpeg cut before its pixels": JPEG[:200],
    "jpeg with two frames": JPEG.replace(FRAME, FRAME + FRAME),
    "jpeg without frame": JPEG.replace(FRAME, b""),
    "jpeg lossless": JPEG.replace(b"\xff\xc0", b"\xff\xc3"),
    "jpeg arithmetic": JPEG.replace(b"\xff\xc0", b"\xff\xc9"),
    "jpeg of 12 bits": JPEG.replace(FRAME, FRAME[:4] + b"\x0c" + FRAME[5:]),
    "jpeg of 7 colours": JPEG.replace(FRAME, FRAME[:9] + b"\x07" + FRAME[10:]),
    "jpeg without height": JPEG.replace(FRAME, FRAME[:5] + b"\0\0" + FRAME[7:]),
    "jpeg with endless segments": b"\xff\xd8" + b"\xff\xfe\0\2" * (MAX_STEPS + 1),
    "jpeg with a segment of length 0": b"\xff\xd8\xff\xfe\0\0" + JPEG[2:],
    "webp cut": FILES["webp"][:25],
    "webp without image": pictures.riff(pictures.canvas(8, 8)),
    "webp with a small canvas": pictures.riff(pictures.canvas(8, 8)) + VP8L,
    "webp that begins in the middle": FILES["webp"][:20] + b"\x01" + FILES["webp"][21:],
    "webp of another version": FILES["webp lossless"][:24] + b"\xf0" + FILES["webp lossless"][25:],
    "webp with endless chunks": pictures.riff(pictures.canvas(8, 8), *[(b"EXIF", b"")] * (MAX_STEPS + 1)),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said_when_a_file_is_not_honest(name: str) -> None:
    """A sentence, and no exception."""
    found = read(WRONG[name])
    assert isinstance(found, str), found
    assert found.startswith(("it ", "the "))


def test_fill_bytes_are_one_step_when_a_jpeg_has_a_million() -> None:
    """FF may be repeated before a marker as often as one likes."""
    found = read(b"\xff\xd8" + b"\xff" * 1_000_000 + JPEG[3:])
    assert isinstance(found, Header)
    assert found.width == 37


@given(st.sampled_from(sorted(FILES)), st.binary(max_size=12), st.integers(0, 400), st.integers(0, 400))
def test_any_bytes_have_an_answer_when_a_file_is_damaged(name: str, noise: bytes, at: int, keep: int) -> None:
    """Never an exception; a size is within what the format can say."""
    data = FILES[name]
    at = min(at, len(data))
    found = read((data[:at] + noise + data[at + len(noise) :])[: len(data) - keep])
    if isinstance(found, Header):
        assert 0 < found.width <= 2**31
        assert 0 < found.height <= 2**31
        assert found.frames >= 1
        assert found.scans >= 1


def test_numbers_in_a_file_allocate_nothing_when_they_are_large() -> None:
    """An animation of four billion frames is four billion in one integer."""
    found = read(pictures.png(5, 5, pictures.chunk(b"acTL", struct.pack(">II", 2**32 - 1, 0))))
    assert isinstance(found, Header)
    assert found.frames == 2**32 - 1
