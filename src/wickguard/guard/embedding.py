"""The embedding endpoint: bodies that ask for vectors become calls, and vectors become bodies.

Decides whether a body is a well-formed task for an embedding model, inside its limits. Promises law 7: allocates at most a
constant times the bytes received; never tokenises, never allocates from a number that the caller wrote. It must not know
prices, queues or processes.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from wickguard.backend import EmbedPayload, EmbedResult, ModelSpec
from wickguard.dialect.task import Dialect, EmbedTask
from wickguard.guard.endpoint import Body
from wickguard.modality import text
from wickguard.records import Call, RawRequest
from wickguard.rejection import Reason, Rejection

_RESULT = msgspec.msgpack.Decoder(EmbedResult)
_ENCODER = msgspec.msgpack.Encoder()


def token_bound(spec: ModelSpec) -> text.TokenBound:
    """What the text modality needs of a model."""
    return text.TokenBound(spec.max_tokens, spec.special_tokens, spec.token_expansion, spec.vocab)


class Embedding:
    """Embedding requests for the models that are loaded (see endpoint.Endpoint)."""

    def __init__(
        self, models: Mapping[str, ModelSpec], dialects: Mapping[str, Dialect], settings: text.TextSettings
    ) -> None:
        self._models = models
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
        spec = self._spec(task.model)
        if isinstance(spec, Rejection):
            return spec
        if task.dimensions is not None and task.dimensions != spec.dimensions:
            return Rejection(
                Reason.UNSUPPORTED_FIELD, "the model's vectors can't be shortened", "dimensions", limit=spec.dimensions,
                seen=task.dimensions, accepted=f"{spec.dimensions}, or leave it out",
            )  # fmt: skip
        bound = token_bound(spec)
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
        )

    def _spec(self, name: str | None) -> ModelSpec | Rejection:
        if name is None:
            return next(iter(self._models.values()))
        spec = self._models.get(name)
        if spec is None:
            return Rejection(Reason.UNKNOWN_MODEL, "", "model", accepted=", ".join(self._models))
        return spec
