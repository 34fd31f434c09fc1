"""Picture files of the probe: what Pillow, which had no part in them, makes of them."""

from __future__ import annotations

import io
import tracemalloc
import warnings
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageSequence
from tests import pictures

from wickguard.probe import picture_file
from wickguard.probe.picture_file import JPEG_SIDE, chunk, flat_png, flat_webp, png
from wickguard.units import MIB

SIDES = st.integers(1, 300)


def decoded(picture: bytes) -> Image.Image:
    """The picture with all its pixels."""
    found = Image.open(io.BytesIO(picture))
    found.load()
    return found


def frames(picture: bytes) -> int:
    """How many frames come out."""
    return sum(1 for _ in ImageSequence.Iterator(Image.open(io.BytesIO(picture))))


@given(SIDES, SIDES)
@settings(max_examples=40, deadline=None)
def test_flat_pictures_are_decoded_at_their_size_when_they_are_small(width: int, height: int) -> None:
    """Every pixel is there."""
    assert decoded(flat_png((width, height))).size == (width, height)
    webp = flat_webp((width, height))
    assert decoded(webp).size == (width, height)
    assert len(webp) == 34


@pytest.mark.parametrize("make", [flat_png, flat_webp])
def test_flat_pictures_promise_their_size_when_they_are_large(make: Callable[[tuple[int, int]], bytes]) -> None:
    """Headers are read, and nothing is decoded."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        assert Image.open(io.BytesIO(make((12_000, 13_000)))).size == (12_000, 13_000)


def test_tiny_webp_of_the_attacks_is_one_that_decoders_take() -> None:
    """It had been one that every decoder refuses, and so it tested nothing behind the header."""
    assert flat_webp((16_000, 16_000)) == pictures.TINY_WEBP


@pytest.mark.parametrize(
    ("colour", "depth"), [(0, 1), (0, 2), (0, 8), (0, 16), (2, 8), (2, 16), (4, 8), (6, 8), (6, 16)]
)
def test_png_is_decoded_when_its_pixels_are_of_any_kind(colour: int, depth: int) -> None:
    """Every kind but palettes, which need one."""
    assert decoded(png((33, 20), colour=colour, depth=depth)).size == (33, 20)


def test_png_with_a_palette_is_decoded_when_it_has_one() -> None:
    """And chunks stand where they belong."""
    assert decoded(png((33, 20), chunk(b"PLTE", bytes(768)), colour=3)).mode == "P"


@pytest.mark.parametrize("count", [1, 2, 7])
def test_animation_has_its_frames_when_it_is_played(count: int) -> None:
    """As PNG and as GIF."""
    assert frames(picture_file.animated_png(64, count)) == count
    assert frames(picture_file.animated_gif(64, count)) == count


@given(st.integers(1, 400), st.sampled_from(["png", "gif"]))
@settings(max_examples=30, deadline=None)
def test_still_has_the_bytes_of_the_animation_when_it_stands_beside_it(count: int, kind: str) -> None:
    """One frame, and padding that nobody decodes."""
    moving, still = {
        "png": (picture_file.animated_png(64, count), picture_file.padded_png),
        "gif": (picture_file.animated_gif(64, count), picture_file.padded_gif),
    }[kind]
    twin = still(64, len(moving))
    assert abs(len(twin) - len(moving)) <= 64
    assert frames(twin) == 1


@pytest.mark.parametrize("passes", [1, 300])
def test_jpeg_is_decoded_when_its_passes_are_repeated(passes: int) -> None:
    """Decoders may grumble; they go through all of it."""
    found = decoded(picture_file.progressive_jpeg(passes))
    assert found.size == (JPEG_SIDE, JPEG_SIDE)
    assert found.getextrema() == (128, 128)
    assert found.info["progressive"] == 1


@given(st.integers(3000, 300_000))
@settings(max_examples=20, deadline=None)
def test_jpeg_has_as_many_bytes_when_it_is_padded(size_bytes: int) -> None:
    """In comments, which cost a look each."""
    twin = picture_file.padded_jpeg(size_bytes)
    assert abs(len(twin) - size_bytes) <= 8
    assert decoded(twin).size == (JPEG_SIDE, JPEG_SIDE)


def test_making_a_bomb_takes_little_memory_when_it_is_large() -> None:
    """A quarter of a gigabyte of pixels is packed in pieces."""
    picture_file._zeros.cache_clear()
    tracemalloc.start()
    try:
        assert len(flat_png((16_380, 16_383))) < 64 * 1024
        assert tracemalloc.get_traced_memory()[1] < 8 * MIB
    finally:
        tracemalloc.stop()
