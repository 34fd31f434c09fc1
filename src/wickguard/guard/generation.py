"""The generation endpoint: bodies that ask for text become calls, and what a model writes becomes bodies and events.

Decides whether a body is a well-formed task for a model that writes, inside its limits; an answer whose length was not
asked for has the policy's. A seed that was not given is drawn here: a worker that was forked would draw what its siblings draw,
and an answer that is begun again must be the same. Answers of about the same length can be written together.
Promises law 7: allocates at most a constant times the bytes received; never tokenises. It must not know prices, queues or
processes.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import cast

import msgspec

from wickguard import clock
from wickguard.backend import (
    GenerateBatch,
    GenerateBatchResult,
    GeneratePayload,
    GenerateResult,
    ModelSpec,
    Refusal,
    Task,
)
from wickguard.dialect import openai_generation as openai
from wickguard.guard.catalogue import find_model
from wickguard.guard.embedding import token_bound
from wickguard.guard.endpoint import Body
from wickguard.guard.sharing import Part
from wickguard.modality import generation, text
from wickguard.records import Call, Delivery, RawRequest
from wickguard.rejection import Reason, Rejection

_PAYLOAD = msgspec.msgpack.Decoder(GeneratePayload)
_RESULT = msgspec.msgpack.Decoder(GenerateResult)
_TOGETHER = msgspec.msgpack.Decoder(GenerateBatchResult)
_ENCODER = msgspec.msgpack.Encoder()
CHAT_PATH = "/v1/chat/completions"


def prompt_limit(spec: ModelSpec, weights: text.TokenWeights = text.USUAL) -> generation.PromptLimit:
    """What the generation modality needs of a model; `weights`: its tokens per character, when they were measured."""
    writer = spec.writer
    chat, message = (writer.chat_tokens or 0, writer.message_tokens or 0) if writer else (0, 0)
    return generation.PromptLimit(token_bound(spec, weights), chat, message)


class GenerationMerger:
    """Answers that are written together as one job (see sharing.Merger)."""

    def merge(self, payloads: Sequence[bytes]) -> bytes:
        """See Merger."""
        return _ENCODER.encode(GenerateBatch([_PAYLOAD.decode(payload) for payload in payloads]))

    def split(self, payloads: Sequence[bytes], result: bytes) -> list[Part]:
        """See Merger."""
        whole = _TOGETHER.decode(result)
        members = zip(whole.results, whole.refusals, whole.shares, strict=True)
        return [Part(_answer(found, refusal), share) for found, refusal, share in members]


def _answer(result: GenerateResult | None, refusal: Refusal | None) -> bytes | Refusal:
    if result is not None:
        return _ENCODER.encode(result)
    if refusal is None:
        raise ValueError("neither a result nor a refusal")
    return refusal


class Generation:
    """Requests for text, for the models that write (see endpoint.Endpoint)."""

    def __init__(
        self,
        models: Mapping[str, ModelSpec],
        settings: generation.GenerationSettings,
        weights: Mapping[str, text.TokenWeights] | None = None,
    ) -> None:
        self._models = models
        self._weights = weights or {}
        self._settings = settings

    def decode(self, raw: RawRequest, dialect: str) -> Call | Rejection:
        """See Endpoint."""
        if raw.route == CHAT_PATH:
            task = openai.parse_chat(raw.body, self._settings)
        else:
            most = max((spec.max_tokens for spec in self._models.values()), default=0)
            task = openai.parse_completion(raw.body, self._settings, most)
        if isinstance(task, Rejection):
            return task
        spec = find_model(self._models, Task.GENERATE, task.model)
        if isinstance(spec, Rejection):
            return spec
        limit = prompt_limit(spec, self._weights.get(spec.name, text.USUAL))
        rejection = self._check(task, spec, limit)
        return rejection if rejection is not None else self._call(raw, task, spec, limit)

    def render(self, call: Call, result: bytes, dialect: str) -> Body:
        """See Endpoint."""
        return Body(self.spelling(call).whole(_RESULT.decode(result)))

    def spelling(self, call: Call) -> openai.Spelling:
        """How the answer to `call` is spelled."""
        usage = call.delivery is Delivery.PIECES_AND_USAGE
        return openai.Spelling(call.route == CHAT_PATH, call.id, call.model, int(clock.utc()), usage)

    def render_end(self, call: Call, result: bytes) -> bytes:
        """See endpoint.Streaming."""
        return self.spelling(call).end(_RESULT.decode(result))

    def _check(self, task: openai.GenerateTask, spec: ModelSpec, limit: generation.PromptLimit) -> Rejection | None:
        if generation.is_chat(task.prompt) and (spec.writer is None or spec.writer.chat_tokens is None):
            return Rejection(Reason.UNSUPPORTED_FIELD, "this model has no template for conversations", "messages")
        rejection = generation.check(task.prompt, self._settings, limit)
        if rejection is None and task.max_tokens is not None:
            rejection = generation.check_answer(task.max_tokens, self._settings, limit, task.answer_field)
        return rejection or generation.check_stops(task.stop, self._settings)

    def _call(self, raw: RawRequest, task: openai.GenerateTask, spec: ModelSpec, limit: generation.PromptLimit) -> Call:
        default = min(self._settings.default_max_tokens, self._settings.most_tokens, spec.max_tokens - 1)
        features = generation.measure(task.prompt, task.max_tokens or default, limit)
        messages = cast("list[tuple[str, str]]", task.prompt) if generation.is_chat(task.prompt) else []
        payload = GeneratePayload(
            prompt="" if messages else cast("str | list[int]", task.prompt),
            messages=messages,
            prompt_tokens=features.prompt_bound,
            max_tokens=features.max_tokens,
            clip=task.max_tokens is None,
            temperature=task.temperature,
            top_p=task.top_p,
            top_k=task.top_k,
            seed=secrets.randbits(63) if task.seed is None else task.seed % 2**64,
            stop=list(task.stop),
            repetition_penalty=task.repetition_penalty,
            presence_penalty=task.presence_penalty,
            frequency_penalty=task.frequency_penalty,
            stream=task.delivery is not Delivery.WHOLE,
        )
        return Call(
            id=raw.id, route=raw.route, caller=raw.caller, model=spec.name, payload=_ENCODER.encode(payload),
            features=features, deadline=raw.deadline, batch=f"generate/{payload.max_tokens.bit_length()}",
            delivery=task.delivery,
        )  # fmt: skip
