"""The tensor endpoint: requests of the Open Inference Protocol become calls for whatever model they name.

Decides which tensors a model takes and whether their shapes are its own: exact ones, nothing is broadcast or padded. Promises
law 7, and the same limits as the other doors to the same model. It must not know prices, queues or processes.
"""

from __future__ import annotations

import binascii
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from wickguard.backend import (
    EmbedPayload,
    EmbedResult,
    ForecastPayload,
    ForecastResult,
    LogitsPayload,
    LogitsResult,
    ModelSpec,
    PixelsPayload,
    Task,
)
from wickguard.dialect import oip
from wickguard.guard import token_rows
from wickguard.guard.embedding import token_bound
from wickguard.guard.endpoint import Body
from wickguard.guard.forecasting import reach
from wickguard.guard.routes import model_in
from wickguard.modality import generation, logits, series, tensor, text
from wickguard.records import Call, Features, RawRequest
from wickguard.rejection import Reason, Rejection

_EMBEDDED = msgspec.msgpack.Decoder(EmbedResult)
_LOGITS = msgspec.msgpack.Decoder(LogitsResult)
_SAMPLES = msgspec.msgpack.Decoder(ForecastResult)
_ENCODER = msgspec.msgpack.Encoder()
# Images in one request; each is as large as the model sees it.
MAX_IMAGES = 64


class _Note(msgspec.Struct, frozen=True, array_like=True):
    """What rendering needs again: the id, whether the output is raw, and its shape."""

    id: str
    binary: bool
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Work:
    """What a request amounts to."""

    payload: msgspec.Struct
    features: Features
    shape: tuple[int, ...]
    answer_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Limits:
    """The envelopes that hold at the other doors too."""

    text: text.TextSettings
    series: series.SeriesSettings
    generation: generation.GenerationSettings


def logits_limit(spec: ModelSpec, limits: Limits) -> logits.LogitsLimit:
    """The envelope of token ids for a model that writes."""
    return logits.LogitsLimit(limits.text.max_inputs, spec.max_tokens, spec.vocab, limits.generation.max_logits_bytes)


_NOTES = msgspec.msgpack.Decoder(_Note)


class Inference:
    """Tensors for the models that are loaded (see endpoint.Endpoint)."""

    def __init__(self, models: Mapping[str, ModelSpec], limits: Limits) -> None:
        self._models = models
        self._limits = limits
        self._settings = limits.text

    def decode(self, raw: RawRequest, dialect: str) -> Call | Rejection:
        """See Endpoint."""
        spec = self._models.get(model_in(raw.path))
        if spec is None:
            return Rejection(Reason.UNKNOWN_MODEL, "", "model", accepted=", ".join(self._models))
        inputs, outputs = oip.signature(spec)
        task = oip.parse(raw.body, raw.json_bytes)
        if isinstance(task, Rejection):
            return task
        refusal = _check_names(task, inputs, outputs)
        if refusal is not None:
            return refusal
        work = self._work(task, spec)
        if isinstance(work, Rejection):
            return work
        return Call(
            id=raw.id,
            route=raw.route,
            caller=raw.caller,
            model=spec.name,
            payload=_ENCODER.encode(work.payload),
            features=work.features,
            deadline=raw.deadline,
            note=_ENCODER.encode(_Note(task.id, task.binary, work.shape)),
            answer_bytes=work.answer_bytes,
        )

    def render(self, call: Call, result: bytes, dialect: str) -> Body:
        """See Endpoint."""
        note, spec = _NOTES.decode(call.note), self._models[call.model]
        output = oip.signature(spec)[1][0]
        if spec.task is Task.EMBED:
            vectors = _EMBEDDED.decode(result).vectors
            parts = [binascii.a2b_base64(one[1:-1]) if note.binary else one[1:-1] for one in vectors]
            data = (b"" if note.binary else b",").join(parts)
        elif spec.task is Task.FORECAST:
            data = _SAMPLES.decode(result).data[0]
        else:
            data = _LOGITS.decode(result).logits
        shaped = oip.Named(output.name, output.datatype, note.shape)
        body, size = oip.render(call.model, note.id, shaped, data, binary=note.binary)
        if not note.binary:
            return Body(body)
        return Body(body, oip.BINARY, ((oip.JSON_LENGTH_HEADER, b"%d" % size),))

    def _work(self, task: oip.InferTask, spec: ModelSpec) -> _Work | Rejection:
        if spec.task is Task.FORECAST:
            return _forecast(task, spec, self._limits.series)
        if not task.parameters.plain:
            return Rejection(Reason.UNKNOWN_FIELD, "this model takes no parameters", "parameters")
        match spec.task:
            case Task.EMBED:
                return self._embed(task, spec)
            case Task.GENERATE:
                return self._logits(task, spec)
            case _:
                return _classify(task, spec)

    def _embed(self, task: oip.InferTask, spec: ModelSpec) -> _Work | Rejection:
        bound, found = token_bound(spec), task.inputs.get("text")
        if (found is None) == ("input_ids" not in task.inputs) or (found is not None and len(task.inputs) > 1):
            return Rejection(Reason.MALFORMED, "ask with input_ids and attention_mask, or with text", "inputs")
        inputs = self._ids(task, spec) if found is None else _texts(found)
        if isinstance(inputs, Rejection):
            return inputs
        if found is None:
            # These bring their special tokens along.
            bound = text.TokenBound(bound.max_tokens, 0, bound.expansion, bound.vocab)
        refusal = text.check(inputs, self._settings, bound, "inputs")
        if refusal is not None:
            return refusal
        encoding = "base64" if task.binary else "float"
        payload = EmbedPayload(list(inputs), self._settings.truncate, True, encoding, found is not None)  # type: ignore[arg-type]
        return _Work(payload, text.measure(inputs, bound), (len(inputs), spec.dimensions))

    def _ids(self, task: oip.InferTask, spec: ModelSpec) -> list[list[int]] | Rejection:
        """The rows of input_ids without their padding."""
        found = token_rows.sizes(task.inputs)
        if isinstance(found, Rejection):
            return found
        rows, columns = found
        if rows > self._settings.max_inputs:
            return text.too_many_inputs(rows, self._settings.max_inputs, "input_ids")
        if columns > spec.max_tokens:
            return text.too_many_tokens(columns, spec.max_tokens, "input_ids")
        return token_rows.cut(task.inputs)

    def _logits(self, task: oip.InferTask, spec: ModelSpec) -> _Work | Rejection:
        found = token_rows.sizes(task.inputs)
        if isinstance(found, Rejection):
            return found
        rows, columns = found
        limit = logits_limit(spec, self._limits)
        refusal = logits.check(rows, columns, limit, "input_ids", spelled=not task.binary)
        if refusal is not None:
            return refusal
        ids = token_rows.whole(task.inputs, spec.vocab)
        if isinstance(ids, Rejection):
            return ids
        payload = LogitsPayload(ids, rows, "raw" if task.binary else "json")
        features = logits.measure(rows, columns, spec.vocab, spelled=not task.binary)
        return _Work(payload, features, (rows, columns, spec.vocab), features.answer_bytes)


def _check_names(task: oip.InferTask, inputs: list[oip.Named], outputs: list[oip.Named]) -> Rejection | None:
    taken = {one.name: one for one in inputs}
    for name, given in task.inputs.items():
        if name not in taken:
            return Rejection(
                Reason.UNKNOWN_FIELD, "the model takes no such tensor", "inputs", accepted=", ".join(taken)
            )
        if given.datatype != taken[name].datatype:
            return Rejection(
                Reason.UNSUPPORTED_FIELD, f"{name} has another type", "inputs", accepted=taken[name].datatype
            )
    made = [one.name for one in outputs]
    if task.outputs is not None and set(task.outputs) != set(made):
        return Rejection(Reason.UNKNOWN_FIELD, "the model makes no such tensor", "outputs", accepted=", ".join(made))
    return None


def _classify(task: oip.InferTask, spec: ModelSpec) -> _Work | Rejection:
    shape, pixels = spec.image, task.inputs["pixel_values"]
    if shape is None:
        raise AssertionError(f"{spec.name} takes no pictures")
    if pixels.shape[1:] != (3, shape.height, shape.width):
        return token_rows.wrong_shape("pixel_values", pixels.shape, (-1, 3, shape.height, shape.width))
    images = pixels.shape[0]
    if images > MAX_IMAGES:
        return text.too_many_inputs(images, MAX_IMAGES, "pixel_values")
    refusal = tensor.finite(tensor.numbers("FP32", pixels.data), "pixel_values")
    if refusal is not None:
        return refusal
    payload = PixelsPayload(pixels.data, "raw" if task.binary else "json")
    return _Work(payload, tensor.PixelFeatures(images, len(pixels.data)), (images, len(shape.labels)))


def _forecast(task: oip.InferTask, spec: ModelSpec, settings: series.SeriesSettings) -> _Work | Rejection:
    shape, given, asked = spec.series, task.inputs["series"], task.parameters
    if shape is None:
        raise AssertionError(f"{spec.name} takes no series")
    if len(given.shape) != 2:
        return token_rows.wrong_shape("series", given.shape, (-1, -1))
    rows, points = given.shape
    horizon = shape.piece if asked.horizon is None else asked.horizon
    samples = shape.samples if asked.num_samples is None else asked.num_samples
    lengths = [points] * min(rows, settings.max_series + 1)
    refusal = series.check(lengths, horizon, samples, settings)
    if refusal is not None:
        return refusal
    cut = [given.data[at : at + 4 * points] for at in range(0, len(given.data), 4 * points)]
    payload = ForecastPayload(
        cut, horizon, samples, [], asked.temperature, asked.top_k, asked.top_p, asked.seed or 0,
        encoding="raw" if task.binary else "json",
    )  # fmt: skip
    each = logits.RAW_BYTES if task.binary else logits.SPELLED_BYTES
    features = series.measure(lengths, horizon, samples, reach(shape))
    return _Work(payload, features, (rows, samples, horizon), each * rows * samples * horizon)


def _texts(found: oip.Tensor) -> list[str] | Rejection:
    if len(found.shape) != 1:
        return token_rows.wrong_shape("text", found.shape, (-1,))
    try:
        return [one.decode() for one in found.texts]
    except UnicodeDecodeError:
        return Rejection(Reason.MALFORMED, "it is not valid UTF-8", "text")
