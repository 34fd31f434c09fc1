"""Cases of pictures: what a few bytes become in a decoder, a resize or a loop over frames, and what headers promise.

I ids of research/attacks.md section 9, and J12. Bounds: 512 KiB a file; what a short run shows to a target has at most 48
million pixels (one million, gone through again and again, in I06), and what says or has more runs only where the risk class
says so.
"""

from __future__ import annotations

import base64
import math
import random
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from wickguard.probe import picture_file
from wickguard.probe.case import Build, Case, Intake, Profile, Risk, Spelling, family, geometric
from wickguard.probe.cases.payload import FATE, OPENAI, SPARE, each, taxonomy
from wickguard.probe.finding import Oracle, Severity
from wickguard.probe.picture_file import chunk, flat_png, flat_webp, png
from wickguard.probe.trace import Request, Step, Trace, single
from wickguard.units import KIB, MIB

_LONGEST = 16_383
_FRAMES_SIDE = 256
_CANVAS_SIDE = 512
_BURST = frozenset({Oracle.MEMORY, Oracle.STALL, Oracle.LIVENESS})
# Sixteen million pixels in three bytes each, and as much again for a copy, are what a generous service may hold.
_DECODED = replace(SPARE, memory_floor_bytes=96 * MIB)
# Of a WebP, usual decoders hold a canvas and two copies: fifteen bytes a pixel.
_DECODED_WEBP = replace(SPARE, memory_floor_bytes=288 * MIB)
_FROM_HEADER = "refuse by the size in the header, before anything is decoded"


def _asking(target: Spelling, picture: bytes) -> Request:
    return target.showing(target.as_text(picture))


def files(make: Callable[[int], bytes]) -> Build:
    """Builds one request for the picture that `make` gives for a size."""

    def build(target: Spelling, size: int, chance: random.Random) -> Trace:
        return single(_asking(target, make(size)))

    return build


def padded(attack: Callable[[int], bytes], harmless: Callable[[int], bytes]) -> Build:
    """Builds the twin: the harmless picture of as many bytes as the attack's has."""
    return files(lambda size: harmless(len(attack(size))))


def _square(pixels: int) -> tuple[int, int]:
    side = min(_LONGEST, math.isqrt(pixels))
    return side, side


def _frames(count: int) -> bytes:
    return picture_file.animated_png(_FRAMES_SIDE, count)


def _still(size_bytes: int) -> bytes:
    return picture_file.padded_png(_FRAMES_SIDE, size_bytes)


def _gif_frames(count: int) -> bytes:
    return picture_file.animated_gif(_CANVAS_SIDE, count)


def _gif_still(size_bytes: int) -> bytes:
    return picture_file.padded_gif(_CANVAS_SIDE, size_bytes)


def _described(size_bytes: int) -> bytes:
    """A small picture with a packed text of so many bytes."""
    return png((32, 32), chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(size_bytes), 9)))


def _many(target: Spelling, size: int, chance: random.Random) -> Trace:
    return single(target.showing(*[target.as_text(png((64, 64)))] * size))


def _everywhere(target: Spelling, size: int, chance: random.Random) -> Trace:
    """The same picture as base64, as a data URL and as the body itself."""
    picture = flat_png(_square(size))
    spelled = base64.b64encode(picture).decode()
    body = Request(
        path=f"{target.path}?model={quote(target.model)}", headers=(("Content-Type", "image/png"),), body=picture
    )
    ways = {
        "as ever": target.showing(target.as_text(picture)),
        "base64": target.showing(spelled),
        "data URL": target.showing(f"data:image/png;base64,{spelled}"),
        "body": body,
    }
    return Trace(
        tuple(
            Step(request, at_s=0.05 * index, group="everywhere", label=label)
            for index, (label, request) in enumerate(ways.items())
        ),
        note="the same picture in each way that routes take one",
    )


def _small_everywhere(target: Spelling, size: int, chance: random.Random) -> Trace:
    return _everywhere(target, 32 * 32, chance)


def _jpeg_without_pixels(width: int, height: int) -> bytes:
    whole = picture_file.progressive_jpeg(0)
    said = struct.pack(">HH", picture_file.JPEG_SIDE, picture_file.JPEG_SIDE)
    return whole[: whole.index(b"\xff\xda") + 10].replace(said, struct.pack(">HH", height, width), 1)


def _labelled(files: dict[str, bytes]) -> Callable[[Spelling], Sequence[tuple[str, Request]]]:
    return lambda target: [(label, _asking(target, picture)) for label, picture in files.items()]


_LYING = {
    "PNG of 6,000 x 8,000 without pixels": png((6000, 8000), data=zlib.compress(b"")),
    "PNG of 2^20 lines without pixels": png((1, 1 << 20), data=b""),
    "PNG whose lines break off": png((2000, 2000), data=zlib.compress(bytes(100))),
    "PNG that ends after its header": png((64, 48))[:34],
    "PNG with a wrong checksum": png((64, 48))[:-16] + bytes(4) + png((64, 48))[-12:],
    "PNG without width": png((0, 4000), data=zlib.compress(b"")),
    "JPEG of 6,000 x 8,000 without pixels": _jpeg_without_pixels(6000, 8000),
    "GIF of 6,000 x 8,000 without pixels": b"GIF89a" + struct.pack("<HH", 6000, 8000) + b"\0\0\0;",
    "WebP that ends after its header": flat_webp((64, 48))[:25],
    "WebP whose canvas is smaller than its picture": b"RIFF" + (44).to_bytes(4, "little") + b"WEBPVP8X\x0a\0\0\0" + bytes(4)
    + b"\x07\0\0\x07\0\0" + flat_webp((64, 48))[12:],
}  # fmt: skip
# What a decoder without any limit would make room for: more than most machines have.
_GIGANTIC = {
    "PNG of 60,000 x 60,000 without pixels": png((60_000, 60_000), data=zlib.compress(b"")),
    "PNG of 2^31-1 lines without pixels": png((1, 2**31 - 1), data=b""),
    "JPEG of 65,500 x 65,500 without pixels": _jpeg_without_pixels(65_500, 65_500),
    "GIF of 65,535 x 65,535 without pixels": b"GIF89a\xff\xff\xff\xff\0\0\0;",
}
_SMALL = {
    f"{width} x {height}": flat_png((width, height)) for width, height in ((1, 1), (2, 2), (1, 2), (3, 1), (1, 224))
}
# First bytes that a decoder library would follow into its least used corners, and nothing behind them.
_EXOTIC = {
    "GIF": picture_file.animated_gif(64, 1),
    "BMP": b"BM" + bytes(12) + (40).to_bytes(4, "little") + b"\xff\xff\xff\x7f" * 2 + b"\1\0\x18\0" + bytes(24),
    "TIFF": b"II*\0\x08\0\0\0\xff\xff" + bytes(64),
    "SVG": b'<svg xmlns="http://www.w3.org/2000/svg" width="1e9" height="1e9"/>',
    "ICO": b"\0\0\1\0\xff\xff" + bytes(64),
    "PSD": b"8BPS\0\1" + bytes(6) + b"\0\x38" + b"\0\0\x75\x30" * 2 + b"\0\x08\0\3" + bytes(64),
    "JPEG 2000": bytes.fromhex("0000000c 6a502020 0d0a870a") + bytes(64),
    "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\r" + b"\r" * 64,
    "HEIF": b"\0\0\0\x18ftypheic" + bytes(64),
    "FITS": b"SIMPLE  =                    T" + b" " * 50,
    "PDF": b"%PDF-1.7\n" + bytes(64),
    "nothing": b"",
    "no picture": b"not a picture",
}
_MODES = {
    "16 bits of grey": png((64, 48), colour=0, depth=16),
    "16 bits of RGBA": png((64, 48), colour=6, depth=16),
    "2 bits of grey": png((64, 48), colour=0, depth=2),
    "grey and alpha": png((64, 48), colour=4),
    "a palette": png((64, 48), chunk(b"PLTE", bytes(768)), colour=3),
    "a palette that is too short": png(
        (64, 48), chunk(b"PLTE", bytes(3)), colour=3, data=zlib.compress((b"\0" + b"\xff" * 64) * 48)
    ),
    "a palette that is missing": png((64, 48), colour=3),
    "depth 3": png((64, 48), colour=0, depth=3),
    "colour type 5": png((64, 48), colour=5),
}


def _spelled(target: Spelling) -> list[tuple[str, Request]]:
    before, comma, plain = target.as_text(png((32, 32))).rpartition(",")
    forms = {
        "no base64": "*" * 64,
        "base64 without its padding": plain.rstrip("=") + "A",
        "base64 with padding inside": plain[:8] + "==" + plain[8:],
        "base64 of URLs": plain.replace("+", "-").replace("/", "_"),
        "base64 in lines": "\n".join(plain[at : at + 4] for at in range(0, len(plain), 4)),
        "base64 among blanks": f" {plain} ",
    }
    addresses = {
        "data URL of another kind": f"data:video/jpeg;base64,{plain},{plain}",
        "data URL without an end": "data:" + "image/" * 200,
        "address of another server": "http://192.0.2.1/picture.png",
        "address of a file": "file:///dev/null",
    }
    texts = {label: before + comma + text for label, text in forms.items()} | addresses
    return [(label, target.showing(text)) for label, text in texts.items()]


_case = family(
    risk=Risk.LIGHT,
    dialects=OPENAI,
    takes=Intake.PICTURE,
    feature="",
    sizes=(1,),
    twin=None,
    oracles=FATE,
    expect=SPARE,
)


def _bomb(case_id: str, title: str, attack: Build, first: int, last: int, **more: Any) -> Case:
    fields = {"severity": Severity.ERROR, "remedy": _FROM_HEADER, "expect": _DECODED, "oracles": _BURST} | more
    return _case(
        case_id,
        title,
        attack,
        feature="pixels",
        sizes=geometric(first, last, 5),
        taxonomy=taxonomy("409 789"),
        **fields,
    )


_PNG = files(lambda n: flat_png(_square(n)))
_WEBP = files(lambda n: flat_webp(_square(n)))

CASES = (
    _bomb("I01", "A small PNG becomes a picture of any size", _PNG, 2 * MIB, 48 * MIB),
    _bomb(
        "I01.webp", "A WebP of 34 bytes becomes a picture of any size", _WEBP, 2 * MIB, 40 * MIB, expect=_DECODED_WEBP,
        risk=Risk.HEAVY, profile=Profile.STANDARD,
    ),
    _bomb(
        "I01.large", "A small PNG becomes a gigabyte", _PNG, 48 * MIB, 256 * MIB, risk=Risk.HEAVY, profile=Profile.STANDARD,
    ),
    _bomb(
        "I01.webp.large", "A WebP of 34 bytes becomes four gigabytes", _WEBP, 40 * MIB, 256 * MIB, risk=Risk.CRASH,
        profile=Profile.DEEP, expect=_DECODED_WEBP,
    ),
    _case(
        "I03", "What a picture's header says is believed", each(_labelled(_LYING)), oracles=FATE | {Oracle.MEMORY},
        taxonomy=taxonomy("130 789"), expect=replace(SPARE, memory_floor_bytes=64 * MIB), severity=Severity.ERROR,
        remedy="compare what a header says with limits and with the bytes that follow, before making room for it",
    ),
    _case(
        "I03.large", "What a picture's header says is believed, whatever it says", each(_labelled(_GIGANTIC)),
        oracles=FATE | {Oracle.MEMORY}, taxonomy=taxonomy("130 789"), severity=Severity.ERROR, risk=Risk.CRASH,
        expect=replace(SPARE, memory_floor_bytes=64 * MIB), profile=Profile.DEEP,
        remedy="compare what a header says with limits and with the bytes that follow, before making room for it",
    ),
    _case(
        "I03.text", "The packed text beside a picture is unpacked beyond any limit", files(_described), oracles=_BURST,
        feature="bytes when unpacked", sizes=geometric(MIB, 48 * MIB, 4), taxonomy=taxonomy("409"),
        expect=replace(SPARE, memory_floor_bytes=24 * MIB), profile=Profile.STANDARD, severity=Severity.ERROR,
        remedy="skip what is not the picture, or bound it",
    ),
    _case(
        "I04", "A picture of one column becomes many when it is resized", files(lambda n: flat_png((1, n))), feature="lines",
        oracles=_BURST, sizes=geometric(32, 1024, 5), taxonomy=taxonomy("1284 789"), severity=Severity.ERROR,
        expect=replace(SPARE, memory_floor_bytes=48 * MIB),
        remedy="bound the aspect, and the pixels that the planned resize makes on its way",
    ),
    _case(
        "I04.small", "A picture of a few pixels upsets the server", each(_labelled(_SMALL)), risk=Risk.PASSIVE,
        taxonomy=taxonomy("1284 617"), remedy="refuse pictures that are too small to show anything",
    ),
    _case(
        "I05", "Each frame of an animation is decoded", files(_frames), twin=padded(_frames, _still), feature="frames",
        sizes=geometric(4, 512, 5), oracles=frozenset({Oracle.TWIN, Oracle.SLOPE, Oracle.STALL, Oracle.MEMORY}),
        taxonomy=taxonomy("834 409"), remedy="look at the first frame only, or refuse animations by their header",
    ),
    _case(
        "I05.gif", "Each frame of an animated GIF is a canvas", files(_gif_frames), twin=padded(_gif_frames, _gif_still),
        feature="frames", sizes=geometric(4, 256, 4), taxonomy=taxonomy("834 409"), profile=Profile.STANDARD, risk=Risk.HEAVY,
        oracles=frozenset({Oracle.TWIN, Oracle.SLOPE, Oracle.STALL, Oracle.MEMORY}),
        remedy="look at the first frame only, or refuse animations by their header",
    ),
    _case(
        "I06", "A JPEG makes the decoder go through its pixels again and again", files(picture_file.progressive_jpeg),
        twin=padded(picture_file.progressive_jpeg, picture_file.padded_jpeg), feature="passes",
        sizes=geometric(64, 16_384, 5), oracles=frozenset({Oracle.TWIN, Oracle.SLOPE, Oracle.STALL}),
        taxonomy=taxonomy("834 407"), remedy="count the scans of a progressive JPEG before decoding it",
    ),
    _case(
        "I08", "Formats that nobody needs upset the server", each(_labelled(_EXOTIC)), taxonomy=taxonomy("409 776"),
        remedy="take PNG, JPEG and WebP only, by their first bytes", risk=Risk.PASSIVE,
    ),
    _case(
        "I09", "Odd kinds of pixels upset the server", each(_labelled(_MODES)), taxonomy=taxonomy("770"), risk=Risk.PASSIVE,
        remedy="turn every kind of pixel that is taken into one, and refuse the others",
    ),
    _case(
        "I10", "Any number of pictures is taken", _many, feature="pictures", sizes=geometric(1, 1024, 6),
        oracles=frozenset({Oracle.SLOPE, Oracle.STALL, Oracle.MEMORY, Oracle.RETRY}), taxonomy=taxonomy("770 405"),
        profile=Profile.STANDARD, remedy="bound the number of pictures, and of their pixels together",
    ),
    _case(
        "I16", "A picture that is refused in one form is served in another", _everywhere, twin=_small_everywhere,
        feature="pixels", sizes=geometric(4 * MIB, 32 * MIB, 4), oracles=frozenset({Oracle.EQUIVALENCE}),
        taxonomy=taxonomy("770"), severity=Severity.ERROR,
        remedy="put the limits where all forms of a picture come together",
    ),
    _case(
        "J12", "Base64 that is none upsets the server", each(_spelled), taxonomy=taxonomy("20 770 918"), risk=Risk.PASSIVE,
        remedy="decode strictly, and fetch nothing",
    ),
    _case(
        "J12.long", "Base64 is decoded at more than its length", files(bytes), feature="bytes",
        sizes=geometric(4 * KIB, 512 * KIB, 5), oracles=frozenset({Oracle.SLOPE, Oracle.STALL, Oracle.RETRY}),
        taxonomy=taxonomy("770"), profile=Profile.STANDARD, remedy="compute the decoded length, and check it first",
    ),
)  # fmt: skip
