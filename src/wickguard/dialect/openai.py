"""The OpenAI dialect: /v1/embeddings, /v1/models, and the OpenAI error object.

Spelling follows the public API reference; fields that it has and we don't serve are refused by name. It must not know
limits, prices or processes.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from wickguard.backend import EmbedResult
from wickguard.dialect.decoding import SmallCount, decode_inputs, decode_request
from wickguard.dialect.task import EmbedTask
from wickguard.modality.text import InputLimits
from wickguard.rejection import Reason, Rejection

JSON = b"application/json"

_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


class EmbeddingsRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST /v1/embeddings. `user` is accepted and ignored: who is charged is decided by the key, never by the body."""

    input: msgspec.Raw
    model: str
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: SmallCount | None = None
    user: str | None = None


_REQUEST = msgspec.json.Decoder(EmbeddingsRequest)


class OpenAI:
    """Spells embeddings and errors as OpenAI's API does."""

    def parse_embed(self, body: bytes, limits: InputLimits) -> EmbedTask | Rejection:
        """See Dialect."""
        request = decode_request(_REQUEST, body)
        if isinstance(request, Rejection):
            return request
        inputs = decode_inputs(request.input, "input", limits)
        if isinstance(inputs, Rejection):
            return inputs
        return EmbedTask(
            request.model, inputs, "input", encoding=request.encoding_format, dimensions=request.dimensions
        )

    def render_embed(self, model: str, result: EmbedResult) -> bytes:
        """See Dialect. Vectors are JSON already (formatted in the worker, under the caller's grant)."""
        rows = b",".join(
            b'{"object":"embedding","index":%d,"embedding":%s}' % (index, vector)
            for index, vector in enumerate(result.vectors)
        )
        total = sum(result.tokens)
        name = msgspec.json.encode(model)
        usage = b'{"prompt_tokens":%d,"total_tokens":%d}' % (total, total)
        return b'{"object":"list","data":[' + rows + b'],"model":' + name + b',"usage":' + usage + b"}"

    def render_rejection(self, rejection: Rejection, request_id: str) -> tuple[bytes, bytes]:
        """See Dialect. The standard four fields, and beside them what helps to do better."""
        status = rejection.meaning.status
        error = {
            "message": sentence(rejection),
            "type": _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error"),
            "param": rejection.field,
            "code": _code(rejection.reason),
            **particulars(rejection),
            "request_id": request_id,
        }
        return JSON, msgspec.json.encode({"error": error})

    def render_models(self, models: dict[str, int]) -> bytes:
        """GET /v1/models: `models` maps each name to the time it was loaded (seconds since the epoch)."""
        data = [
            {"id": name, "object": "model", "created": created, "owned_by": "wickguard"}
            for name, created in models.items()
        ]
        return msgspec.json.encode({"object": "list", "data": data})


def _code(reason: Reason) -> str:
    # The code that OpenAI's own clients look for.
    return "context_length_exceeded" if reason is Reason.TOO_MANY_TOKENS else str(reason)


def sentence(rejection: Rejection) -> str:
    """One line for people: what is wrong, what was seen against which limit, what would be accepted."""
    parts = [rejection.meaning.title + ": " + rejection.detail if rejection.detail else rejection.meaning.title]
    if rejection.limit is not None and rejection.seen is not None:
        unit = f" {rejection.unit}" if rejection.unit else ""
        parts.append(f"seen {rejection.seen:g}{unit}, the limit is {rejection.limit:g}")
    if rejection.accepted:
        parts.append(f"accepted: {rejection.accepted}")
    return "; ".join(parts) + "."


def particulars(rejection: Rejection) -> dict[str, object]:
    """The machine-readable rest of a rejection, without empty fields."""
    found = {
        "limit": rejection.limit,
        "seen": rejection.seen,
        "unit": rejection.unit,
        "accepted": rejection.accepted,
        "retry_after_s": rejection.retry_after_s,
    }
    return {name: value for name, value in found.items() if value is not None}
