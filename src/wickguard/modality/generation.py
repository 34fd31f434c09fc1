"""Generation: what a prompt and the answer that is asked for can cost.

Decides how many tokens a prompt can become at most, without tokenising (modality/text.py says why bytes bound tokens), and
what is inside the envelope. Promises O(bytes) time and no copies of the text but one UTF-8 length each, that the bound holds
(the worker counts again, and refuses what is longer), and that `measure` of what `synthesize` makes gives its numbers back. It
must not know prices, routes or tokenizers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Annotated, cast

from msgspec import Meta

from wickguard.modality import text
from wickguard.rejection import Reason, Rejection
from wickguard.setting import check as check_settings
from wickguard.units import GIB, KIB, MIB

Messages = Sequence[tuple[str, str]]
Prompt = str | Sequence[int] | Messages


@dataclass(frozen=True, slots=True)
class GenerationSettings:
    """The envelope of a call that writes.

    default_max_tokens: of an answer, when the request says nothing; fewer if the model has no room for so many.
    most_tokens: that a request may ask for.
    max_messages: of one conversation.
    max_prompt_bytes: UTF-8 bytes of the prompt, or of all messages together.
    max_stops: stop strings of one request.
    max_stop_bytes: of one stop string.
    max_logits_bytes: of an answer in raw tensors, which has as many numbers after each token as there are tokens.
    """

    default_max_tokens: Annotated[int, Meta(ge=1, le=1 << 20)] = 256
    most_tokens: Annotated[int, Meta(ge=1, le=1 << 20)] = 2048
    max_messages: Annotated[int, Meta(ge=1, le=4096)] = 128
    max_prompt_bytes: Annotated[int, Meta(ge=1, le=16 * MIB)] = 64 * KIB
    max_stops: Annotated[int, Meta(ge=0, le=16)] = 4
    max_stop_bytes: Annotated[int, Meta(ge=1, le=256)] = 128
    max_logits_bytes: Annotated[int, Meta(ge=KIB, le=GIB)] = 8 * MIB

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True, slots=True)
class PromptLimit:
    """What the measuring needs of a model: tokens of prompt and answer together, and how text becomes tokens.

    chat_tokens, message_tokens: of its template, see backend.WriterShape.
    """

    text: text.TokenBound
    chat_tokens: int
    message_tokens: int


@dataclass(frozen=True, slots=True)
class GenerationFeatures:
    """prompt_bytes: UTF-8 bytes of the prompt or of all messages (0 for token ids). messages: 0 for a bare prompt.

    prompt_bound: the most tokens that the prompt can become; prompt_typical: the same for ordinary prose. max_tokens: of the
    answer. token_bound: the most tokens of both, for quotas.
    """

    prompt_bytes: int
    messages: int
    prompt_bound: int
    prompt_typical: int
    max_tokens: int
    token_bound: int

    def as_dict(self) -> dict[str, int]:
        """Name to value."""
        return asdict(self)


def measure(prompt: Prompt, max_tokens: int, limit: PromptLimit) -> GenerationFeatures:
    """Features of a prompt and of an answer of at most `max_tokens`."""
    if isinstance(prompt, str):
        texts, messages, frame = [prompt], 0, limit.text.special_tokens
    elif is_chat(prompt):
        found = cast(Messages, prompt)
        texts, messages = [part for message in found for part in message], len(found)
        frame = limit.chat_tokens + messages * limit.message_tokens
    else:
        return _features(0, 0, (len(prompt), len(prompt)), max_tokens, limit)
    bare = replace(limit.text, special_tokens=0)
    size = typical = 0
    for item in texts:
        data = item.encode()
        size += len(data)
        typical += text.typical_tokens(item, data, bare)
    bound = math.ceil(size * limit.text.expansion) + frame
    return _features(size, messages, (bound, typical + frame), max_tokens, limit)


def _features(
    size: int, messages: int, prompt: tuple[int, int], max_tokens: int, limit: PromptLimit
) -> GenerationFeatures:
    most = max(1, limit.text.max_tokens - 1)
    bound, typical = (max(1, min(most, tokens)) for tokens in prompt)
    # What does not fit together is refused when it has been counted: neither alone is more than the model takes.
    answer = min(max_tokens, most)
    return GenerationFeatures(size, messages, bound, typical, answer, min(limit.text.max_tokens, bound + answer))


def is_chat(prompt: Prompt) -> bool:
    """Whether it is a conversation."""
    return not isinstance(prompt, str) and len(prompt) > 0 and not isinstance(prompt[0], int)


def largest(settings: GenerationSettings, limit: PromptLimit) -> GenerationFeatures:
    """The features of the dearest call inside the envelope: the longest prompt that leaves room for the longest answer."""
    answer = min(settings.most_tokens, max(1, limit.text.max_tokens - 1))
    prompt = max(1, limit.text.max_tokens - answer)
    return GenerationFeatures(settings.max_prompt_bytes, settings.max_messages, prompt, prompt, answer, prompt + answer)


def synthesize(size_bytes: int, messages: int, seed: int = 0) -> Prompt:
    """A prompt of exactly this UTF-8 size, of ordinary words, in so many messages (0: a bare prompt).

    Every message needs a role, of 4 bytes: there can't be more than size_bytes / 4.
    """
    if messages == 0:
        return text.synthesize([size_bytes], seed=seed)[0]
    each, rest = divmod(size_bytes - 4 * messages, messages)
    sizes = [each + (index < rest) for index in range(messages)]
    return [("user", content) for content in text.synthesize(sizes, seed=seed)]


def check(prompt: Prompt, settings: GenerationSettings, limit: PromptLimit) -> Rejection | None:
    """The envelope of a prompt. None means inside."""
    if is_chat(prompt):
        messages = cast(Messages, prompt)
        if len(messages) > settings.max_messages:
            return too_many_messages(len(messages), settings.max_messages)
        return _check_size(sum(len(role) + len(content.encode()) for role, content in messages), "messages", settings)
    if isinstance(prompt, str):
        return _check_size(len(prompt.encode()), "prompt", settings)
    return _check_ids(cast(Sequence[int], prompt), limit.text)


def check_answer(asked: int, settings: GenerationSettings, limit: PromptLimit, field: str) -> Rejection | None:
    """The envelope of an answer that was asked for explicitly."""
    if asked > settings.most_tokens:
        return Rejection(
            Reason.OUT_OF_ENVELOPE, "the answer would be too long", field, limit=settings.most_tokens, seen=asked,
            unit="tokens", accepted=f"1 to {settings.most_tokens}",
        )  # fmt: skip
    if asked >= limit.text.max_tokens:
        return Rejection(
            Reason.TOO_MANY_TOKENS, "no prompt leaves room for such an answer", field, limit=limit.text.max_tokens,
            seen=asked + 1, unit="tokens", accepted=f"1 to {limit.text.max_tokens - 1}",
        )  # fmt: skip
    return None


def check_stops(stops: Sequence[str], settings: GenerationSettings) -> Rejection | None:
    """The envelope of stop strings."""
    if len(stops) > settings.max_stops:
        return Rejection(
            Reason.OUT_OF_ENVELOPE, "too many stop strings", "stop", limit=settings.max_stops, seen=len(stops),
            unit="strings", accepted=f"at most {settings.max_stops}",
        )  # fmt: skip
    sizes = [len(stop.encode()) for stop in stops]
    for index, size in enumerate(sizes):
        if not 1 <= size <= settings.max_stop_bytes:
            return Rejection(
                Reason.OUT_OF_ENVELOPE, "a stop string is empty or too long", f"stop[{index}]",
                limit=settings.max_stop_bytes, seen=size, unit="bytes", accepted=f"1 to {settings.max_stop_bytes} bytes",
            )  # fmt: skip
    return None


def too_many_messages(seen: int, most: int) -> Rejection:
    """The refusal of a conversation with more messages than the policy allows."""
    return Rejection(
        Reason.OUT_OF_ENVELOPE, "the conversation has too many messages", "messages", limit=most, seen=seen,
        unit="messages", accepted=f"at most {most}",
    )  # fmt: skip


def _check_size(size: int, field: str, settings: GenerationSettings) -> Rejection | None:
    return text.too_long(size, settings.max_prompt_bytes, field) if size > settings.max_prompt_bytes else None


def _check_ids(ids: Sequence[int], limit: text.TokenBound) -> Rejection | None:
    if not ids:
        return Rejection(Reason.OUT_OF_ENVELOPE, "the prompt is empty", "prompt", limit=1, seen=0, unit="tokens")
    if len(ids) >= limit.max_tokens:
        return text.too_many_tokens(len(ids), limit.max_tokens - 1, "prompt")
    highest = max(ids)
    return text.unknown_token(highest, limit.vocab, "prompt") if highest >= limit.vocab else None
