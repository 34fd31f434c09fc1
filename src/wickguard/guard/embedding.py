"""The embedding endpoint: bodies that ask for vectors become calls, and vectors become bodies.

Decides whether a body is a well-formed task for an embedding model, inside its limits. Promises law 7: allocates at most a
constant times the bytes received; never tokenises, never allocates from a number that the caller wrote. It must not know
prices, queues or processes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from wickguard.backend import EmbedPayload, EmbedResult, ModelSpec, Task
from wickguard.dialect.task import Dialect, EmbedTask
from wickguard.guard.catalogue import find_model
from wickguard.guard.endpoint import Body
from wickguard.guard.sharing import Part
from wickguard.modality import text
from wickguard.records import Call, RawRequest
from wickguard.rejection import Reason, Rejection

_PAYLOAD = msgspec.msgpack.Decoder(EmbedPayload)
_RESULT = msgspec.msgpack.Decoder(EmbedResult)
_ENCODER = msgspec.msgpack.Encoder()


def token_bound(spec: ModelSpec, weights: text.TokenWeights = text.USUAL) -> text.TokenBound:
    """What the text modality needs of a model; `weights`: its tokens per character, when they were measured."""
    return text.TokenBound(spec.max_tokens, spec.special_tokens, spec.token_expansion, spec.vocab, weights)


class EmbeddingMerger:
    """Embedding jobs as one (see sharing.Merger): alike in all but their inputs."""

    def merge(self, payloads: Sequence[bytes]) -> bytes:
        """See Merger."""
        jobs = [_PAYLOAD.decode(payload) for payload in payloads]
        inputs = [item for job in jobs for item in job.inputs]
        return _ENCODER.encode(msgspec.structs.replace(jobs[0], inputs=inputs))

    def split(self, payloads: Sequence[bytes], result: bytes) -> list[Part]:
        """See Merger."""
        whole, found, start = _RESULT.decode(result), list[Part](), 0
        for payload in payloads:
            end = start + len(_PAYLOAD.decode(payload).inputs)
            found.append(Part(_ENCODER.encode(EmbedResult(whole.vectors[start:end], whole.tokens[start:end]))))
            start = end
        return found


class Embedding:
    """Embedding requests for the models that are loaded (see endpoint.Endpoint)."""

    def __init__(
        self,
        models: Mapping[str, ModelSpec],
        dialects: Mapping[str, Dialect],
        settings: text.TextSettings,
        weights: Mapping[str, text.TokenWeights] | None = None,
    ) -> None:
        self._models = models
        self._weights = weights or {}
        self._dialects = dialects
        self._settings = settings

    def decode(self, raw: RawRequest, dialect: str) -> Call | Rejection:
        """See Endpoint."""
        settings = self._settings
        # The exact limit of the model is checked when its name is known; until then the largest one holds.
        most = max((spec.max_tokens for spec in self._models.values()), default=0)
        limits = text.InputLimits(settings.max_inputs, settings.max_text_bytes, most)
        task = self._dialects[dialect].parse_embed(raw.body, limits)
        if isinstance(task, Rejection):
            return task
        spec = find_model(self._models, Task.EMBED, task.model)
        if isinstance(spec, Rejection):
            return spec
        if task.dimensions is not None and task.dimensions != spec.dimensions:
            return Rejection(
                Reason.UNSUPPORTED_FIELD, "the model's vectors can't be shortened", "dimensions", limit=spec.dimensions,
                seen=task.dimensions, accepted=f"{spec.dimensions}, or leave it out",
            )  # fmt: skip
        bound = token_bound(spec, self._weights.get(spec.name, text.USUAL))
        rejection = text.check(task.inputs, self._settings, bound, task.field)
        if rejection is not None:
            return rejection
        return self._call(raw, task, spec, bound)

    def render(self, call: Call, result: bytes, dialect: str) -> Body:
        """See Endpoint."""
        return Body(self._dialects[dialect].render_embed(call.model, _RESULT.decode(result)))

    def _call(self, raw: RawRequest, task: EmbedTask, spec: ModelSpec, bound: text.TokenBound) -> Call:
        truncate = self._settings.truncate if task.truncate is None else task.truncate
        payload = EmbedPayload(list(task.inputs), truncate, task.normalize, task.encoding)
        return Call(
            id=raw.id,
            route=raw.route,
            caller=raw.caller,
            model=spec.name,
            payload=_ENCODER.encode(payload),
            features=text.measure(task.inputs, bound),
            deadline=raw.deadline,
            batch=_batch(payload),
        )


def _batch(payload: EmbedPayload) -> str:
    """Single inputs that want the same of the model can be one job."""
    if len(payload.inputs) != 1:
        return ""
    kind = "text" if isinstance(payload.inputs[0], str) else "ids"
    return f"embed/{kind}/{payload.truncate:d}{payload.normalize:d}/{payload.encoding}"
