"""Decoding JSON strictly: typed structs, unknown fields refused, errors that never echo the input.

Turns msgspec's errors into rejections with the field they are about. What may be large (the inputs) is first taken as raw
bytes, its values counted and measured (structure.py), and only then decoded into objects; what may not (everything beside
the inputs) is measured before the decoder could put it into an error message. It must not know routes.
"""

from __future__ import annotations

import re
from typing import Annotated, TypeVar

import msgspec

from wickguard.dialect.structure import Structure, longest_list, longest_string, scan
from wickguard.modality.text import InputLimits, too_long, too_many_inputs, too_many_tokens
from wickguard.rejection import Reason, Rejection
from wickguard.units import KIB

T = TypeVar("T")

# All fields of a request but its inputs: names, switches, small numbers.
MAX_REST_BYTES = 16 * KIB
# No field of any API has a longer name or path; what msgspec says of a longer one is the caller's text, not ours.
_MAX_NAME = 64

_UNKNOWN = re.compile(r"unknown field `(?P<name>[^`]{0,64})")
_MISSING = re.compile(r"missing required field `([^`]{0,64})`")

_TEXT = msgspec.json.Decoder(str)
_TEXTS = msgspec.json.Decoder(list[str])
# A key or element typed with a range is refused at the first bad element, before hashing or big integers can cost.
_ID = msgspec.Meta(ge=0, lt=2**31)
_IDS = msgspec.json.Decoder(list[Annotated[int, _ID]])
_ID_LISTS = msgspec.json.Decoder(list[list[Annotated[int, _ID]]])

# A number that a field may hold: whatever is larger would only be echoed.
SmallCount = Annotated[int, msgspec.Meta(ge=0, lt=2**31)]


class _Inputs(msgspec.Struct, frozen=True):
    # Everything else is skipped without being built.
    input: msgspec.Raw = msgspec.Raw(b"")
    inputs: msgspec.Raw = msgspec.Raw(b"")
    prompt: msgspec.Raw = msgspec.Raw(b"")
    messages: msgspec.Raw = msgspec.Raw(b"")


_SKIM = msgspec.json.Decoder(_Inputs)


def decode_request(decoder: msgspec.json.Decoder[T], body: bytes) -> T | Rejection:
    """A request's fields. Refuses one whose fields beside its inputs (whatever they are called) are too large to be honest."""
    if len(body) > MAX_REST_BYTES:
        skimmed = decode(_SKIM, body)
        if isinstance(skimmed, Rejection):
            return skimmed
        inputs = (skimmed.input, skimmed.inputs, skimmed.prompt, skimmed.messages)
        rest = len(body) - sum(len(memoryview(raw)) for raw in inputs)
        if rest > MAX_REST_BYTES:
            return Rejection(
                Reason.MALFORMED, "what comes beside the inputs is too large", limit=MAX_REST_BYTES, seen=rest,
                unit="bytes", accepted="only the fields of this API, without padding",
            )  # fmt: skip
    return decode(decoder, body)


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
    # Plain searches only: the message may hold a caller's value, and a backtracking pattern over it is an attack.
    what, found, path = message.rpartition(" - at `$")
    if not found:
        what, path = message, ""
    path = path.partition("`")[0].lstrip(".")[:_MAX_NAME]
    unknown = _UNKNOWN.search(what)
    if unknown:
        return Rejection(Reason.UNKNOWN_FIELD, "this field is not known here; remove it", f"{inside}{unknown['name']}")
    missing = _MISSING.search(what)
    field = f"{inside}{missing[1] if missing else path}" or None
    if what.startswith("Invalid enum value"):
        what = "not one of the accepted values"
    return Rejection(Reason.MALFORMED, what[:200], field)


def decode_inputs(raw: msgspec.Raw, field: str, limits: InputLimits) -> list[str] | list[list[int]] | Rejection:
    """A text, a list of texts, a list of token ids, or a list of such lists; counted and measured before it is built."""
    data = bytes(raw)
    if data[:1] not in (b'"', b"["):
        return Rejection(Reason.MALFORMED, "wrong type", field, accepted="a string, a list of strings, or token ids")
    counts = scan(data)
    oversize = _oversize(data, counts, field, limits)
    if oversize is not None:
        return oversize
    if data[:1] == b'"':
        text = decode(_TEXT, data, field)
        return text if isinstance(text, Rejection) else [text]
    if counts.strings:
        return decode(_TEXTS, data, field)
    if counts.brackets > 1:
        return decode(_ID_LISTS, data, field)
    ids = decode(_IDS, data, field)
    if isinstance(ids, Rejection):
        return ids
    return [ids] if ids else []


def _oversize(data: bytes, counts: Structure, field: str, limits: InputLimits) -> Rejection | None:
    inputs = max(counts.strings, counts.brackets - 1 if counts.strings == 0 else 0)
    if inputs > limits.max_inputs:
        return too_many_inputs(inputs, limits.max_inputs, field)
    if counts.strings:
        index, size = longest_string(data)
        return too_long(size, limits.max_text_bytes, f"{field}[{index}]") if size > limits.max_text_bytes else None
    index, tokens = longest_list(data)
    return too_many_tokens(tokens, limits.max_tokens, f"{field}[{index}]") if tokens > limits.max_tokens else None
