"""The dialect of Hugging Face text-embeddings-inference: /embed and its error object.

`truncate` defaults to true, as there. Fields that TEI has and we don't serve are refused by name. It must not know limits,
prices or processes.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from wickguard.backend import EmbedResult
from wickguard.dialect.decoding import SmallCount, decode_inputs, decode_request
from wickguard.dialect.openai import JSON, particulars, sentence
from wickguard.dialect.task import EmbedTask
from wickguard.modality.text import InputLimits
from wickguard.rejection import Reason, Rejection

_TYPES = {
    401: "Unauthorized",
    403: "Unauthorized",
    429: "Overloaded",
    503: "Overloaded",
    500: "Backend",
    504: "Backend",
}


def _spell(field: str | None) -> str | None:
    # Workers call the inputs `input`, whatever the dialect.
    return "inputs" + field.removeprefix("input") if field is not None and field.split("[")[0] == "input" else field


class EmbedRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST /embed."""

    inputs: msgspec.Raw
    truncate: bool | None = None
    normalize: bool = True
    truncation_direction: Literal["right", "Right", "left", "Left"] = "Right"
    prompt_name: str | None = None
    dimensions: SmallCount | None = None


_REQUEST = msgspec.json.Decoder(EmbedRequest)


class Tei:
    """Spells embeddings and errors as text-embeddings-inference does."""

    def parse_embed(self, body: bytes, limits: InputLimits) -> EmbedTask | Rejection:
        """See Dialect."""
        request = decode_request(_REQUEST, body)
        if isinstance(request, Rejection):
            return request
        if request.truncation_direction in ("left", "Left"):
            return Rejection(
                Reason.UNSUPPORTED_FIELD, "only the end is cut off", "truncation_direction", accepted="Right"
            )
        if request.prompt_name is not None:
            return Rejection(
                Reason.UNSUPPORTED_FIELD, "prompts are the operator's; send the text itself", "prompt_name"
            )
        inputs = decode_inputs(request.inputs, "inputs", limits)
        if isinstance(inputs, Rejection):
            return inputs
        truncate = True if request.truncate is None else request.truncate
        return EmbedTask(
            None, inputs, "inputs", truncate=truncate, normalize=request.normalize, dimensions=request.dimensions
        )

    def render_embed(self, model: str, result: EmbedResult) -> bytes:
        """See Dialect: a list of vectors."""
        return b"[" + b",".join(result.vectors) + b"]"

    def render_rejection(self, rejection: Rejection, request_id: str) -> tuple[bytes, bytes]:
        """See Dialect."""
        kind = "Empty" if rejection.seen == 0 and rejection.unit == "inputs" else "Validation"
        error = {
            "error": sentence(rejection),
            "error_type": _TYPES.get(rejection.meaning.status, kind),
            "code": str(rejection.reason),
            "param": _spell(rejection.field),
            **particulars(rejection),
            "request_id": request_id,
        }
        return JSON, msgspec.json.encode(error)
