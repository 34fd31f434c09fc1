"""The dialect of /v1/classify: a picture as the body, or as base64 in JSON.

    POST /v1/classify?model=NAME&top_k=5      content-type: image/png, image/jpeg or image/webp
    POST /v1/classify                         {"model": NAME, "input": base64 or data URL, "top_k": 5}
    -> {"data": [{"index", "label", "score"}]}

It must not know limits, prices or processes.
"""

from __future__ import annotations

import binascii
from dataclasses import dataclass
from urllib.parse import parse_qsl

import msgspec

from wickguard.dialect.decoding import SmallCount, decode, decode_request
from wickguard.modality.image_header import Kind
from wickguard.rejection import Reason, Rejection

DEFAULT_TOP_K = 5
_KINDS = {kind.value: kind for kind in Kind}
MEDIA = (b"application/json", *(kind.encode() for kind in _KINDS))
_DATA_URL = b"data:"
# "data:image/png;base64," and nothing much longer stands before the comma.
_LONGEST_PREFIX = 64


class ClassifyRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST /v1/classify as JSON."""

    input: msgspec.Raw
    model: str | None = None
    top_k: SmallCount = DEFAULT_TOP_K


@dataclass(frozen=True, slots=True)
class ClassifyTask:
    """Classify `image`, of a kind if the caller said which; `field` is how the request calls it."""

    model: str | None
    image: bytes
    kind: Kind | None
    top_k: int
    field: str


_REQUEST = msgspec.json.Decoder(ClassifyRequest)
_STRING = msgspec.json.Decoder(str)
_COUNT = msgspec.json.Decoder(SmallCount)


def parse(body: bytes, media: str, query: bytes) -> ClassifyTask | Rejection:
    """The task in a request."""
    if media != "application/json":
        return _from_query(body, _KINDS.get(media), query)
    if query:
        return Rejection(Reason.UNKNOWN_FIELD, "a JSON request has its fields in the body", "query")
    request = decode_request(_REQUEST, body)
    if isinstance(request, Rejection):
        return request
    found = _decode_image(request.input)
    if isinstance(found, Rejection):
        return found
    image, kind = found
    return ClassifyTask(request.model, image, kind, request.top_k, "input")


def render(data: bytes) -> bytes:
    """The success body; `data` is the list, made in the cage."""
    return b'{"data":' + data + b"}"


def _from_query(image: bytes, kind: Kind | None, query: bytes) -> ClassifyTask | Rejection:
    fields: dict[str, str] = {}
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, strict_parsing=bool(query), max_num_fields=4)
    except ValueError:
        return Rejection(Reason.MALFORMED, "it must be name=value pairs", "query", accepted="model, top_k")
    for name, value in pairs:
        if name not in ("model", "top_k") or name in fields:
            return Rejection(Reason.UNKNOWN_FIELD, "unknown, or given twice", "query", accepted="model, top_k")
        fields[name] = value
    top_k = decode(_COUNT, fields.get("top_k", str(DEFAULT_TOP_K)).encode(), "top_k")
    if isinstance(top_k, Rejection):
        return top_k
    return ClassifyTask(fields.get("model"), image, kind, top_k, "body")


def _decode_image(raw: msgspec.Raw) -> tuple[bytes, Kind | None] | Rejection:
    """The file in a JSON string, and its kind where a data URL says it. Allocates a constant times the string's bytes."""
    data = bytes(raw)
    wrong = Rejection(Reason.MALFORMED, "it must be one picture as base64, or a data URL of one", "input")
    if data[:1] != b'"':
        return wrong
    if b"\\" in data:
        # JSON may spell a slash as \/ and any letter as \uXXXX.
        text = decode(_STRING, data, "input")
        if isinstance(text, Rejection) or not text.isascii():
            return wrong
        data = b'"' + text.encode() + b'"'
    data, kind = data[1:-1], None
    if data[:5].lower() == _DATA_URL:
        prefix, comma, _ = data[:_LONGEST_PREFIX].partition(b",")
        words = prefix[len(_DATA_URL) :].decode("latin-1").lower().split(";")
        kind = _KINDS.get(words[0])
        if not comma or words[-1] != "base64" or kind is None:
            return Rejection(
                Reason.MALFORMED, "the data URL is not one of a picture in base64", "input",
                accepted=", ".join(f"data:{name};base64,..." for name in _KINDS),
            )  # fmt: skip
        data = data[len(prefix) + 1 :]
    try:
        return binascii.a2b_base64(data, strict_mode=True), kind
    except binascii.Error:
        return wrong
