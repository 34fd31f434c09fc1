"""Decoding JSON strictly: typed structs, unknown fields refused, errors that never echo the input.

Turns msgspec's errors into rejections with the field they are about. A list of inputs is first taken as raw bytes and its
values counted (structure.py), and only then decoded into objects. It must not know routes.
"""

from __future__ import annotations

import re
from typing import Annotated, TypeVar

import msgspec

from wickguard.dialect.structure import scan
from wickguard.modality.text import too_many_inputs
from wickguard.rejection import Reason, Rejection

T = TypeVar("T")

_AT = re.compile(r"^(?P<what>.*?)(?: - at `\$\.?(?P<path>[^`]{0,80})[^`]*`)?$", re.DOTALL)
_UNKNOWN = re.compile(r"unknown field `(?P<name>[^`]{0,64})")

_TEXT = msgspec.json.Decoder(str)
_TEXTS = msgspec.json.Decoder(list[str])
# A key or element typed with a range is refused at the first bad element, before hashing or big integers can cost.
_ID = msgspec.Meta(ge=0, lt=2**31)
_IDS = msgspec.json.Decoder(list[Annotated[int, _ID]])
_ID_LISTS = msgspec.json.Decoder(list[list[Annotated[int, _ID]]])


def decode(decoder: msgspec.json.Decoder[T], body: bytes, inside: str = "") -> T | Rejection:
    """`body` as the decoder's type, or why not. `inside` prefixes the field in messages."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        return _invalid(str(error), inside)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Rejection(Reason.MALFORMED, "the body is not valid JSON in UTF-8", accepted="one JSON object")
    except RecursionError:
        return Rejection(Reason.MALFORMED, "the body is nested too deeply", accepted="one flat JSON object")


def _invalid(message: str, inside: str) -> Rejection:
    unknown = _UNKNOWN.search(message)
    if unknown:
        name = unknown["name"]
        return Rejection(Reason.UNKNOWN_FIELD, "this field is not known here; remove it", f"{inside}{name}")
    match = _AT.match(message)
    what, path = (match["what"], match["path"]) if match else (message, None)
    if what.startswith("Invalid enum value"):
        what = "not one of the accepted values"
    missing = re.search(r"missing required field `([^`]{0,64})`", what)
    field = missing[1] if missing else path
    return Rejection(Reason.MALFORMED, what[:200], f"{inside}{field}" if field else inside or None)


def decode_inputs(raw: msgspec.Raw, field: str, max_inputs: int) -> list[str] | list[list[int]] | Rejection:
    """A text, a list of texts, a list of token ids, or a list of such lists; counted before it is built."""
    data = bytes(raw)
    first = data[:1]
    if first == b'"':
        text = decode(_TEXT, data, field)
        return text if isinstance(text, Rejection) else [text]
    if first != b"[":
        return Rejection(Reason.MALFORMED, "wrong type", field, accepted="a string, a list of strings, or token ids")
    counts = scan(data)
    inputs = max(counts.strings, counts.brackets - 1 if counts.strings == 0 else 0)
    if inputs > max_inputs:
        return too_many_inputs(inputs, max_inputs, field)
    if counts.strings:
        return decode(_TEXTS, data, field)
    if counts.brackets > 1:
        return decode(_ID_LISTS, data, field)
    ids = decode(_IDS, data, field)
    if isinstance(ids, Rejection):
        return ids
    return [ids] if ids else []
