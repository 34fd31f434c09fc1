"""The OpenAI dialect of text that is written: /v1/chat/completions and /v1/completions, whole or as server-sent events.

Spelling follows the public API reference, with three fields that are common beside it (top_k, repetition_penalty, and text
parts). Fields that the API has and we don't serve are refused by name; a chat template is the operator's and can't be sent. It
must not know limits, prices or processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta

from wickguard.backend import GenerateResult
from wickguard.dialect.decoding import SmallCount, decode, decode_inputs, decode_request
from wickguard.dialect.structure import scan
from wickguard.modality.generation import GenerationSettings, Prompt, too_many_messages
from wickguard.modality.text import InputLimits
from wickguard.records import Delivery
from wickguard.rejection import Reason, Rejection

T = TypeVar("T")

_Penalty = Annotated[float, Meta(ge=-2, le=2)]
_Count = Annotated[int, Meta(ge=1, lt=2**31)]

# Fields of the API that ask for something else than plain text: named in the refusal instead of called unknown.
_UNSUPPORTED = frozenset(
    (
        "tools", "tool_choice", "parallel_tool_calls", "tool_calls", "tool_call_id", "functions", "function_call", "logit_bias",
        "top_logprobs", "prompt_logprobs", "audio", "modalities", "prediction", "reasoning_effort", "web_search_options",
        "service_tier", "store", "metadata", "verbosity", "suffix", "chat_template", "chat_template_kwargs", "documents",
        "add_generation_prompt", "continue_final_message", "ignore_eos", "min_tokens", "min_p", "use_beam_search",
        "guided_json", "guided_regex", "guided_choice", "guided_grammar", "structured_outputs", "name", "refusal",
    )
)  # fmt: skip
# A message has four strings, a text part of one as many again; a few parts each are plenty.
_STRINGS_PER_MESSAGE = 24


class StreamOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`include_usage`: a last event with the counts of tokens."""

    include_usage: bool = False


class TextPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of a message; only text is served."""

    type: Literal["text"]
    text: str


class ChatMessage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One message. `developer` is what newer clients call `system`."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]


class ResponseFormat(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Only plain text is served."""

    type: Literal["text"]


class _Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What both routes take. `user` is accepted and ignored: who is charged is decided by the key."""

    model: str
    max_tokens: _Count | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    top_k: SmallCount | None = None
    n: SmallCount | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    stop: str | list[str] | None = None
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    presence_penalty: _Penalty | None = None
    frequency_penalty: _Penalty | None = None
    repetition_penalty: Annotated[float, Meta(ge=0.1, le=10)] | None = None
    user: str | None = None


class ChatRequest(_Asked, frozen=True, kw_only=True):
    """POST /v1/chat/completions."""

    messages: msgspec.Raw
    max_completion_tokens: _Count | None = None
    logprobs: bool | None = None
    response_format: ResponseFormat | None = None


class CompletionRequest(_Asked, frozen=True, kw_only=True):
    """POST /v1/completions."""

    prompt: msgspec.Raw
    best_of: SmallCount | None = None
    echo: bool | None = None
    logprobs: SmallCount | None = None


_CHAT = msgspec.json.Decoder(ChatRequest)
_COMPLETION = msgspec.json.Decoder(CompletionRequest)
_MESSAGES = msgspec.json.Decoder(list[ChatMessage])


@dataclass(frozen=True, slots=True)
class GenerateTask:
    """Continue `prompt` with `model`. max_tokens None: as the policy says; answer_field: how the dialect calls it."""

    model: str
    prompt: Prompt
    max_tokens: int | None
    answer_field: str
    temperature: float
    top_p: float
    top_k: int
    seed: int | None
    stop: Sequence[str]
    repetition_penalty: float
    presence_penalty: float
    frequency_penalty: float
    delivery: Delivery


def parse_chat(body: bytes, settings: GenerationSettings) -> GenerateTask | Rejection:
    """A chat request. Nothing beyond the settings is ever built."""
    request = _decode(_CHAT, body)
    if isinstance(request, Rejection):
        return request
    messages = _messages(request.messages, settings)
    if isinstance(messages, Rejection):
        return messages
    newer = request.max_completion_tokens is not None
    most = request.max_completion_tokens if newer else request.max_tokens
    return _task(request, messages, most, "max_completion_tokens" if newer else "max_tokens")


def parse_completion(body: bytes, settings: GenerationSettings, max_ids: int) -> GenerateTask | Rejection:
    """A completion request: one prompt, as text or as at most `max_ids` token ids."""
    request = _decode(_COMPLETION, body)
    if isinstance(request, Rejection):
        return request
    prompts = decode_inputs(request.prompt, "prompt", InputLimits(1, settings.max_prompt_bytes, max_ids))
    if isinstance(prompts, Rejection):
        return prompts
    prompt: Prompt = prompts[0] if prompts else []
    return _task(request, prompt, request.max_tokens, "max_tokens")


def _decode(decoder: msgspec.json.Decoder[T], body: bytes) -> T | Rejection:
    found = decode_request(decoder, body)
    if isinstance(found, Rejection) and found.reason is Reason.UNKNOWN_FIELD and found.field in _UNSUPPORTED:
        return Rejection(Reason.UNSUPPORTED_FIELD, "this server does not do that; leave it out", found.field)
    if isinstance(found, Rejection):
        return found
    for name, neutral, said in _NEUTRAL:
        if getattr(found, name, None) not in (None, neutral):
            return Rejection(Reason.UNSUPPORTED_FIELD, said, name, accepted=f"{neutral}, or leave it out".lower())
    return found


# Fields that may be sent as long as they ask for nothing: what clients send by themselves.
_NEUTRAL = (
    ("n", 1, "there is one answer per request"),
    ("best_of", 1, "there is one answer per request"),
    ("echo", False, "the prompt is not part of the answer"),
    ("logprobs", False, "probabilities are not given out"),
)


def _messages(raw: msgspec.Raw, settings: GenerationSettings) -> list[tuple[str, str]] | Rejection:
    data = bytes(raw)
    most = settings.max_messages
    # Strings are counted before any is built; a message has at least four.
    if scan(data).strings > _STRINGS_PER_MESSAGE * most:
        return too_many_messages(scan(data).strings // 4, most)
    found = decode(_MESSAGES, data, "messages")
    if isinstance(found, Rejection):
        field = (found.field or "").rpartition(".")[2].removeprefix("messages")
        if found.reason is Reason.UNKNOWN_FIELD and field in _UNSUPPORTED:
            return Rejection(Reason.UNSUPPORTED_FIELD, "only plain messages are served", f"messages.{field}")
        return found
    if not found:
        return Rejection(Reason.OUT_OF_ENVELOPE, "there are no messages", "messages", limit=1, seen=0, unit="messages")
    return [("system" if one.role == "developer" else one.role, _text(one.content)) for one in found]


def _text(content: str | list[TextPart]) -> str:
    return content if isinstance(content, str) else "".join(part.text for part in content)


def _task(request: _Asked, prompt: Prompt, max_tokens: int | None, field: str) -> GenerateTask:
    delivery = Delivery.WHOLE
    if request.stream:
        usage = request.stream_options is not None and request.stream_options.include_usage
        delivery = Delivery.PIECES_AND_USAGE if usage else Delivery.PIECES
    stop = [] if request.stop is None else [request.stop] if isinstance(request.stop, str) else request.stop

    def given(value: float | None, otherwise: float) -> float:
        return otherwise if value is None else value

    return GenerateTask(
        request.model, prompt, max_tokens, field, given(request.temperature, 1.0), given(request.top_p, 1.0),
        request.top_k or 0, request.seed, stop, given(request.repetition_penalty, 1.0),
        given(request.presence_penalty, 0.0), given(request.frequency_penalty, 0.0), delivery,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Spelling:
    """One answer on one of the two routes. created: seconds since the epoch."""

    chat: bool
    id: str
    model: str
    created: int
    usage: bool

    def whole(self, result: GenerateResult) -> bytes:
        """The body of an answer that was waited for."""
        choice: dict[str, object] = {"index": 0, "logprobs": None, "finish_reason": result.finish}
        if self.chat:
            choice["message"] = {"role": "assistant", "content": result.text, "refusal": None}
        else:
            choice["text"] = result.text
        return msgspec.json.encode({**self._frame("chat.completion"), "choices": [choice], "usage": _usage(result)})

    def begin(self) -> bytes:
        """The first event of a stream; completions have none."""
        return self._event({"role": "assistant", "content": ""}, None) if self.chat else b""

    def piece(self, data: bytes) -> bytes:
        """The event of a piece of text (UTF-8)."""
        text = data.decode(errors="replace")
        return self._event({"content": text}, None) if self.chat else self._event(text, None)

    def end(self, result: GenerateResult) -> bytes:
        """The events after the last piece."""
        last = self._event({} if self.chat else "", result.finish)
        if self.usage:
            last += _sse({**self._frame("chat.completion.chunk"), "choices": [], "usage": _usage(result)})
        return last + b"data: [DONE]\n\n"

    def _event(self, delta: object, finish: str | None) -> bytes:
        choice = {"index": 0, "delta" if self.chat else "text": delta, "logprobs": None, "finish_reason": finish}
        usage = {"usage": None} if self.usage else {}
        return _sse({**self._frame("chat.completion.chunk"), "choices": [choice], **usage})

    def _frame(self, kind: str) -> dict[str, object]:
        prefix = "chatcmpl-" if self.chat else "cmpl-"
        return {
            "id": prefix + self.id, "object": kind if self.chat else "text_completion", "created": self.created,
            "model": self.model,
        }  # fmt: skip


def failed(error_body: bytes) -> bytes:
    """The event that ends a stream which has begun and can't go on."""
    return b"data: " + error_body + b"\n\n"


def _usage(result: GenerateResult) -> dict[str, int]:
    prompt, completion = result.tokens
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _sse(document: dict[str, object]) -> bytes:
    return b"data: " + msgspec.json.encode(document) + b"\n\n"
