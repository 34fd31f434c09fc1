"""Attacks with pictures (I01 to I16): what a few bytes could make a decoder, a resize or a network spend."""

from __future__ import annotations

import base64
import contextlib
import json
import struct
import zlib

import pytest
from tests import pictures
from tests.attacks.harness import Reply, Target, converse, siege

from wickguard.units import MIB

MODEL = "digits-vit"


def media_of(picture: bytes) -> str:
    """The type that belongs to the first bytes."""
    return {b"\x89": "image/png", b"\xff": "image/jpeg"}.get(picture[:1], "image/webp")


def classify(target: Target, picture: bytes, media: str = "", query: str = f"?model={MODEL}") -> Reply:
    """Send a picture as the body."""
    lines = [
        f"POST /v1/classify{query} HTTP/1.1", "host: x", f"content-type: {media or media_of(picture)}",
        f"authorization: Bearer {target.key}", f"content-length: {len(picture)}",
    ]  # fmt: skip
    return target.talk("\r\n".join([*lines, "", ""]).encode() + picture)


def as_json(target: Target, value: object) -> Reply:
    """Send a picture inside JSON."""
    return target.post(json.dumps({"model": MODEL, "input": value}).encode(), path="/v1/classify")


OUTSIDE = {
    "I01-webp-of-34-bytes": pictures.TINY_WEBP,
    "I01-png-of-one-colour": pictures.flat((9000, 9000), mode="1"),
    "I01-webp-of-one-colour": pictures.flat((8192, 8192), "WEBP", "RGB"),
    "I03-png-header-without-pixels": pictures.png(60_000, 60_000),
    "I03-jpeg-header-without-pixels": pictures.saved((64, 48), "JPEG").replace(
        struct.pack(">HH", 48, 64), struct.pack(">HH", 65_500, 65_500), 1
    ),
    "I04-1xN": pictures.flat((1, 8000)),
    "I04-Nx1": pictures.flat((8000, 1)),
    "I04-1x1": pictures.flat((1, 1)),
    "I04-2x2": pictures.flat((2, 2), "WEBP", "RGB"),
    "I04-narrow": pictures.flat((100, 8000)),
    "I05-animated-png": pictures.animated("PNG", 8, (512, 512)),
    "I05-animated-webp": pictures.animated("WEBP", 200, (512, 512)),
    "I05-four-billion-frames": pictures.png(64, 64, pictures.chunk(b"acTL", struct.pack(">II", 2**32 - 1, 0))),
    "I06-two-hundred-scans": pictures.scans((1024, 1024), 200),
}
BROKEN = {
    "I03-truncated": pictures.saved((64, 48), "PNG")[:34],
    "I03-0xN": pictures.png(0, 4000),
    "I03-lying-canvas": pictures.riff(pictures.canvas(8, 8)) + pictures.TINY_WEBP[12:],
    "I08-gif": b"GIF89a" + bytes(64),
    "I08-svg": b"<svg xmlns='http://www.w3.org/2000/svg' width='1e9' height='1e9'/>",
    "I08-tiff": b"II*\0" + bytes(64),
    "I08-text": b"not a picture",
}


@pytest.mark.parametrize("name", list(OUTSIDE))
def test_picture_is_refused_by_its_header_when_it_is_outside_the_envelope(gallery: Target, name: str) -> None:
    """422 that names the limit, at the cost of a header, whatever would have come out of the decoder."""
    with siege(gallery, cpu_s=0.1, front_bytes=4 * MIB):
        reply = classify(gallery, OUTSIDE[name])
    assert (reply.status, reply.code) == (422, "out_of_envelope"), reply.body
    error = json.loads(reply.body)["error"]
    assert error["limit"] < error["seen"] or error["accepted"].startswith("at least")


@pytest.mark.parametrize("name", list(BROKEN))
def test_picture_is_refused_when_it_is_broken_or_of_another_kind(gallery: Target, name: str) -> None:
    """400 without a decoder having been asked."""
    with siege(gallery, cpu_s=0.1, front_bytes=4 * MIB):
        reply = classify(
            gallery, BROKEN[name], "image/png" if name.startswith("I03-t") or "0x" in name else "image/webp"
        )
    assert (reply.status, reply.code) == (400, "malformed"), reply.body


@pytest.mark.parametrize("media", ["image/gif", "image/svg+xml", "image/avif", "video/mp4", "multipart/form-data"])
def test_i08_other_media_are_refused_on_the_head_when_they_are_sent(gallery: Target, media: str) -> None:
    """415, before a byte of the body is read."""
    reply = classify(gallery, pictures.flat((64, 64)), media)
    assert (reply.status, reply.code) == (415, "unsupported_media_type")


def test_i03_worker_refuses_when_the_pixels_are_not_what_the_header_promised(gallery: Target) -> None:
    """Headers that pass and data that breaks off or is garbage: the cage says 422, and nobody dies."""
    lies = [
        pictures.png(2000, 2000),
        pictures.png(2000, 2000, data=zlib.compress(bytes(100))),
        pictures.saved((800, 600), "JPEG")[:2000],
        pictures.saved((800, 600), "WEBP")[:2000],
        pictures.saved((500, 400), "PNG")[:-1000],
    ]
    with siege(gallery, cpu_s=1.0, front_bytes=4 * MIB):
        replies = [classify(gallery, lie) for lie in lies]
    # A JPEG that breaks off still has pixels: decoders fill up what is missing, and so does this one.
    assert {reply.status for reply in replies} <= {200, 422}, [reply.body for reply in replies]
    assert replies[0].status == 422
    assert gallery.server.metric('wickguard_calls_total{model="digits-vit",outcome="crashed"}') == 0


_PROGRESSIVE = b"\xff\xd8\xff\xc2\0\x0b\x08\0\x40\0\x40\x01\x01\x11\0"
_ANIMATED = pictures.riff(pictures.canvas(64, 64, 2))
LARGE = {
    "fill-bytes": b"\xff\xd8" + b"\xff" * (8 * MIB - 2),
    "fill-bytes-before-every-segment": b"\xff\xd8" + (b"\xff" * 60_000 + b"\xe1\0\2") * 139,
    "scans": _PROGRESSIVE + b"\xff\xda" * (4 * MIB - 16),
    "almost-scans": _PROGRESSIVE + b"\xff" * (8 * MIB - 32),
    "frames": _ANIMATED + b"ANMF" * (2 * MIB - 64),
    "nothing-but-length": pictures.png(64, 64, data=bytes(8 * MIB - 200)),
}


@pytest.mark.parametrize("name", list(LARGE))
def test_i15_largest_file_costs_a_pass_over_its_bytes_when_it_is_hostile(gallery: Target, name: str) -> None:
    """Eight mebibytes: refused by the header or in the cage, and the front holds a few copies for as long as that takes."""
    with siege(gallery, cpu_s=0.5, front_bytes=5 * 8 * MIB):
        reply = classify(gallery, LARGE[name])
    assert reply.status in {400, 422}, reply.body


def test_i15_callers_are_held_to_their_bytes_when_they_send_large_files_at_once(gallery: Target) -> None:
    """Two of eight mebibytes are what one may have on their way; the third is told to come back, and all is given back."""
    replies: list[Reply] = []
    connections = [gallery.connect() for _ in range(5)]
    head = (
        f"POST /v1/classify HTTP/1.1\r\nhost: x\r\ncontent-type: image/png\r\nauthorization: Bearer {gallery.key}\r\n"
    )
    with siege(gallery, cpu_s=1.0, front_bytes=4 * 16 * MIB):
        for connection in connections:
            # Whoever is refused may find its connection closed while it still sends.
            with contextlib.suppress(OSError):
                connection.sendall(f"{head}content-length: {8 * MIB}\r\n\r\n".encode() + bytes(7 * MIB))
        for connection in connections:
            replies.append(converse(connection, bytes(MIB), wait_s=0.3))
            connection.close()
    assert 429 in {reply.status for reply in replies} or 503 in {reply.status for reply in replies}
    assert gallery.server.metric("wickguard_body_bytes_in_flight") == 0


def test_i01_largest_picture_is_classified_within_its_grant_when_it_is_all_that_is_allowed(gallery: Target) -> None:
    """Sixteen megapixels from a few kilobytes: admitted, decoded in the cage, answered; the front holds the file only."""
    file = pictures.flat((4096, 4096), "WEBP", "RGB")
    with siege(gallery, cpu_s=3.0, front_bytes=4 * MIB):
        reply = classify(gallery, file)
    assert reply.status == 200, reply.body


@pytest.mark.parametrize(
    ("mode", "kind"), [("CMYK", "JPEG"), ("RGBA", "PNG"), ("LA", "PNG"), ("P", "PNG"), ("I;16", "PNG")]
)
def test_i09_picture_is_classified_when_its_colours_are_unusual(gallery: Target, mode: str, kind: str) -> None:
    """Conversion happens line by line and costs no copy."""
    assert classify(gallery, pictures.saved((320, 240), kind, mode)).status == 200


def test_i10_i11_one_picture_is_one_when_more_are_smuggled_in(gallery: Target) -> None:
    """Lists of pictures, frames in a data URL, a video: refused by name."""
    picture = base64.b64encode(pictures.flat((64, 64))).decode()
    for value in (
        [picture] * 1000,
        f"data:video/jpeg;base64,{picture},{picture}",
        f"data:image/png;base64,{picture},{picture}",
        f"data:image/png,{picture}",
        "data:image/png;base64" + ";x" * 1000 + f",{picture}",
        "http://127.0.0.1/picture.png",
        picture + "\n" + picture,
        {"url": "file:///etc/passwd"},
        None,
    ):
        reply = as_json(gallery, value)
        assert (reply.status, reply.code) == (400, "malformed"), (value, reply.body)


@pytest.mark.parametrize("name", ["I01-webp-of-34-bytes", "I04-1xN", "I05-animated-webp", "I08-gif", "fine"])
def test_i16_verdicts_agree_when_a_picture_comes_in_json_or_as_it_is(gallery: Target, name: str) -> None:
    """No way around a limit through the other door."""
    picture = {**OUTSIDE, **BROKEN, "fine": pictures.saved((64, 48), "JPEG")}[name]
    plain = classify(gallery, picture)
    text = base64.b64encode(picture).decode()
    for value in (text, *([f"data:{media_of(picture)};base64,{text}"] if name != "I08-gif" else [])):
        packed = as_json(gallery, value)
        assert packed.status == plain.status
        if plain.status != 200:
            assert packed.code == plain.code


def test_i16_type_and_picture_must_agree_when_both_are_said(gallery: Target) -> None:
    """A JPEG that is called a PNG is not opened as either."""
    reply = classify(gallery, pictures.saved((64, 48), "JPEG"), "image/png")
    assert (reply.status, reply.code) == (400, "malformed")


@pytest.mark.parametrize(
    "query", ["?model=nobody", "?model=digits-vit&model=digits-vit", "?top_k=0", "?top_k=11", "?top_k=-1", "?top_k=1e9", "?x=1",
              "?a&b&c&d&e&f&g", "?top_k=" + "9" * 500, "?%ff=%ff"]
)  # fmt: skip
def test_query_is_refused_when_it_is_not_exactly_what_is_known(gallery: Target, query: str) -> None:
    """Names that don't exist, twice, ranges, junk."""
    reply = classify(gallery, pictures.flat((64, 64)), query=query)
    assert reply.status in {400, 404, 422}, reply.body


def test_many_large_pictures_are_within_quota_when_they_come_at_once(gallery: Target) -> None:
    """Forty pictures of four megapixels, one after another: each is priced by its pixels; the neighbour notices nothing."""
    file = pictures.flat((2048, 2048), "WEBP", "RGB")
    with siege(gallery, cpu_s=8.0, front_bytes=8 * MIB):
        statuses = [classify(gallery, file).status for _ in range(40)]
    assert set(statuses) <= {200, 429, 503}
    assert statuses[0] == 200
