"""The dialect of the Open Inference Protocol, version 2: tensors in JSON, or raw behind it (the binary data extension).

Decides what a request describes and whether each tensor is the one that came: shapes are multiplied as whole numbers and
compared with the bytes at hand before anything is built from them. Shared memory, sequences, priorities and whatever else
Triton has are refused by name. It must not know limits, prices, models' sizes or processes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import msgspec

from wickguard.backend import ModelSpec, Task
from wickguard.dialect.decoding import decode, decode_request
from wickguard.dialect.numbers import pack
from wickguard.dialect.openai import JSON, particulars, sentence
from wickguard.dialect.structure import scan
from wickguard.modality import tensor
from wickguard.rejection import Reason, Rejection

JSON_LENGTH_HEADER = b"inference-header-content-length"
BINARY = b"application/octet-stream"
MAX_TENSORS = 8
# What the types are called in `numbers` when they come as JSON, and how far an element can shrink there: "1,".
_KINDS = {"FP32": "f", "INT64": "q", "INT32": "q"}
_LEAST_JSON_BYTES = 2
_Size = Annotated[int, msgspec.Meta(ge=-(2**62), le=2**62)]
_Count = Annotated[int, msgspec.Meta(ge=0, lt=2**31)]


class _InputParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    binary_data_size: _Count | None = None


class _Input(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    datatype: str
    shape: list[_Size]
    data: msgspec.Raw = msgspec.Raw(b"")
    parameters: _InputParameters = _InputParameters()


class _OutputParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    binary_data: bool | None = None


class _Output(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    parameters: _OutputParameters = _OutputParameters()


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of a request: the protocol's one, and what a forecaster can be told."""

    binary_data_output: bool = False
    horizon: _Count | None = None
    num_samples: _Count | None = None
    seed: _Count | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0.001, le=100)] | None = None
    top_k: Annotated[int, msgspec.Meta(ge=1, lt=2**31)] | None = None
    top_p: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None

    @property
    def plain(self) -> bool:
        """Whether nothing is said beyond the protocol."""
        return self == Parameters(self.binary_data_output)


class InferRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST /v2/models/{model}/infer."""

    inputs: msgspec.Raw
    id: str = ""
    parameters: Parameters = Parameters()
    outputs: list[_Output] | None = None


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor that is what it says: `data` is little-endian, INT32 as INT64; or texts for BYTES."""

    datatype: str
    shape: tuple[int, ...]
    data: bytes
    texts: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class InferTask:
    """What was asked: tensors by name, the id to give back, the outputs that are wanted (None: all), and whether raw."""

    id: str
    inputs: dict[str, Tensor]
    outputs: tuple[str, ...] | None
    binary: bool
    parameters: Parameters


_REQUEST = msgspec.json.Decoder(InferRequest)
_INPUTS = msgspec.json.Decoder(list[_Input])
_TEXTS = msgspec.json.Decoder(list[str])


def parse(body: bytes, json_bytes: bytes) -> InferTask | Rejection:
    """The task in a body; `json_bytes` is the head's word on how much of it is JSON."""
    split = len(body)
    if json_bytes:
        # Ten digits hold any length of a body; more are not worth converting.
        split = int(json_bytes) if json_bytes.isdigit() and len(json_bytes) <= 10 else -1
        if not 0 < split <= len(body):
            return Rejection(
                Reason.MALFORMED, "it must be within the body", "Inference-Header-Content-Length", limit=len(body)
            )
    request = decode_request(_REQUEST, body[:split])
    if isinstance(request, Rejection):
        return request
    inputs = decode(_INPUTS, bytes(request.inputs), "inputs")
    if isinstance(inputs, Rejection):
        return inputs
    outputs = request.outputs or []
    if not 1 <= len(inputs) <= MAX_TENSORS or len(outputs) > MAX_TENSORS:
        seen = len(outputs) if len(outputs) > MAX_TENSORS else len(inputs)
        return Rejection(
            Reason.OUT_OF_ENVELOPE, "too few or too many tensors", "inputs", limit=MAX_TENSORS, seen=seen, unit="tensors",
            accepted=f"1 to {MAX_TENSORS}",
        )  # fmt: skip
    tensors = _tensors(inputs, memoryview(body)[split:])
    if isinstance(tensors, Rejection):
        return tensors
    raw = {output.parameters.binary_data for output in outputs} - {None} or {request.parameters.binary_data_output}
    if len(raw) > 1:
        return Rejection(Reason.UNSUPPORTED_FIELD, "all outputs raw or none", "outputs", accepted="one binary_data")
    names = None if request.outputs is None else tuple(output.name for output in outputs)
    return InferTask(request.id, tensors, names, bool(raw.pop()), request.parameters)


def _tensors(inputs: list[_Input], rest: memoryview) -> dict[str, Tensor] | Rejection:
    found: dict[str, Tensor] = {}
    for index, one in enumerate(inputs):
        field, size = f"inputs[{index}]", one.parameters.binary_data_size
        if one.name in found:
            return Rejection(Reason.MALFORMED, "the name comes twice", f"{field}.name")
        if (size is None) == (not bytes(one.data)):
            return Rejection(Reason.MALFORMED, "data must come in JSON or raw, and once", f"{field}.data")
        if size is None:
            read = _from_json(one, field)
        elif size > len(rest):
            return Rejection(
                Reason.MALFORMED, "more raw bytes than came", f"{field}.parameters.binary_data_size", limit=len(rest),
                seen=size, unit="bytes",
            )  # fmt: skip
        else:
            read, rest = _from_raw(one, bytes(rest[:size]), field), rest[size:]
        if isinstance(read, Rejection):
            return read
        found[one.name] = read
    if len(rest):
        return Rejection(
            Reason.MALFORMED, "raw bytes that belong to no tensor", "inputs", limit=0, seen=len(rest), unit="bytes"
        )
    return found


def _from_raw(one: _Input, data: bytes, field: str) -> Tensor | Rejection:
    shape = tuple(one.shape)
    if one.datatype == "BYTES":
        count = tensor.elements(shape, field, len(data))
        if isinstance(count, Rejection):
            return count
        texts = tensor.texts(data, count, field)
        return texts if isinstance(texts, Rejection) else Tensor("BYTES", shape, b"", tuple(texts))
    refusal = tensor.check_bytes(one.datatype, shape, data, field)
    if refusal is not None:
        return refusal
    if one.datatype == "INT32":
        return Tensor("INT64", shape, tensor.widened(tensor.numbers("INT32", data)))
    return Tensor(one.datatype, shape, data)


def _from_json(one: _Input, field: str) -> Tensor | Rejection:
    data, shape = bytes(one.data), tuple(one.shape)
    most = len(data) // _LEAST_JSON_BYTES
    count = tensor.elements(shape, field, most)
    if isinstance(count, Rejection):
        return count
    if data[:1] != b"[":
        return Rejection(Reason.MALFORMED, "wrong type", f"{field}.data", accepted="a list")
    if one.datatype == "BYTES":
        return _texts(data, count, one, field)
    kind = _KINDS.get(one.datatype)
    if kind is None or scan(data).strings:
        return Rejection(
            Reason.UNSUPPORTED_FIELD, "this type, or text in it, is not taken", f"{field}.datatype",
            accepted=", ".join((*_KINDS, "BYTES")),
        )  # fmt: skip
    # Nested lists mean the same as a flat one: the shape tells, and is compared with how many there are.
    flat = b"[" + data.translate(None, b"[]") + b"]"
    packed = pack(flat, kind, f"{field}.data")
    if isinstance(packed, Rejection):
        return packed
    size = 4 if kind == "f" else 8
    if len(packed) != count * size:
        return tensor.mismatch(len(packed) // size, count, field)
    return Tensor("FP32" if kind == "f" else "INT64", shape, packed)


def _texts(data: bytes, count: int, one: _Input, field: str) -> Tensor | Rejection:
    texts = decode(_TEXTS, data, f"{field}.data")
    if isinstance(texts, Rejection):
        return texts
    if len(texts) != count:
        return tensor.mismatch(len(texts), count, field)
    return Tensor("BYTES", tuple(one.shape), b"", tuple(text.encode() for text in texts))


@dataclass(frozen=True, slots=True)
class Named:
    """A tensor that a model takes or makes; -1 is a size that the caller chooses."""

    name: str
    datatype: str
    shape: tuple[int, ...]


def signature(spec: ModelSpec) -> tuple[list[Named], list[Named]]:
    """(inputs, outputs) of a model, by the names of optimum's exports; `text` for whoever has no tokenizer.

    A forecaster takes series of one length, NaN where a value is missing, and its parameters with the request; a model that
    writes takes rows of one length.
    """
    ids = [Named(name, "INT64", (-1, -1)) for name in ("input_ids", "attention_mask", "token_type_ids")]
    if spec.task is Task.EMBED:
        return [*ids, Named("text", "BYTES", (-1,))], [Named("embeddings", "FP32", (-1, spec.dimensions))]
    if spec.image is not None:
        seen = Named("pixel_values", "FP32", (-1, 3, spec.image.height, spec.image.width))
        return [seen], [Named("logits", "FP32", (-1, len(spec.image.labels)))]
    if spec.series is not None:
        return [Named("series", "FP32", (-1, -1))], [Named("samples", "FP32", (-1, -1, -1))]
    return ids[:2], [Named("logits", "FP32", (-1, -1, spec.vocab))]


def render_server(version: str) -> bytes:
    """GET /v2."""
    return msgspec.json.encode({"name": "wickguard", "version": version, "extensions": ["binary_tensor_data"]})


def render_model(spec: ModelSpec) -> bytes:
    """GET /v2/models/{model}."""
    inputs, outputs = signature(spec)
    body = {
        "name": spec.name,
        "versions": ["1"],
        "platform": f"wickguard_{spec.architecture}",
        "inputs": inputs,
        "outputs": outputs,
    }
    return msgspec.json.encode(body)


def render(model: str, request_id: str, output: Named, data: bytes, *, binary: bool) -> tuple[bytes, int]:
    """(body, bytes of it that are JSON) of a success. data: JSON numbers between commas, or raw."""
    head: dict[str, Any] = {"model_name": model, "model_version": "1"}
    if request_id:
        head["id"] = request_id
    one: dict[str, Any] = {"name": output.name, "datatype": output.datatype, "shape": output.shape}
    if binary:
        one["parameters"] = {"binary_data_size": len(data)}
        described = msgspec.json.encode(head | {"outputs": [one]})
        return described + data, len(described)
    one["data"] = msgspec.Raw(b"[" + data + b"]")
    described = msgspec.json.encode(head | {"outputs": [one]})
    return described, len(described)


class Oip:
    """Spells errors as the Open Inference Protocol does."""

    def render_rejection(self, rejection: Rejection, request_id: str) -> tuple[bytes, bytes]:
        """See Spelling: one sentence, and beside it what helps to do better."""
        error = {"error": sentence(rejection), "code": str(rejection.reason), "param": rejection.field}
        return JSON, msgspec.json.encode(error | particulars(rejection) | {"request_id": request_id})
