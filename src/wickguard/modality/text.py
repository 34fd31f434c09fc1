"""Text: what a batch of texts, or of token-id lists, can cost.

Decides how many tokens an input can become at most, without tokenising: every token of a WordPiece, byte-level BPE or
Unigram tokenizer consumes at least one byte of normalised text, so tokens <= bytes x expansion + specials, where
`expansion` is the model's own (measured when it was loaded). And how many it probably becomes: a sum over kinds of characters,
which can only grow with the text. Promises O(bytes) time at the speed of a copy (0.4 ns per byte), copies of one text at a
time, and that the bound holds. It must not know prices, routes or tokenizers.
"""

from __future__ import annotations

import math
import random
import string
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Annotated, cast

from msgspec import Meta

from wickguard.errors import ConfigError
from wickguard.modality.composer import compose, compose_ids
from wickguard.modality.lexicon import Register
from wickguard.rejection import Reason, Rejection
from wickguard.setting import check as check_settings
from wickguard.units import KIB, MIB

# Kinds of characters that differ in how many tokens they make. Deleting a set of bytes is one pass in C.
_RARE = b"jkqxzJKQXZ"
_LETTERS = bytes(sorted(set(string.ascii_letters.encode()) - set(_RARE)))
_DIGITS = string.digits.encode()
_SPACES = string.whitespace.encode()
_WIDE = bytes(range(0x80, 0x100))
# First bytes of the accented Latin letters, U+00C0 to U+027F.
_ACCENTED = bytes(range(0xC3, 0xCA))
# An accent says that so many letters around it are of a language that has accents. A fixed number, and not a share, so that
# more text can't make the same letters cheaper.
_LETTERS_PER_ACCENT = 50

Inputs = Sequence[str] | Sequence[Sequence[int]]


@dataclass(frozen=True, slots=True)
class TextSettings:
    """The envelope of a text batch: counts and bytes, minimum as well as maximum.

    max_inputs: texts in one request.
    max_text_bytes: UTF-8 bytes of one text.
    truncate: cut what is too long for the model, unless the request says otherwise; else refuse it. (/embed cuts by default.)
    """

    max_inputs: Annotated[int, Meta(ge=1, le=4096)] = 64
    max_text_bytes: Annotated[int, Meta(ge=1, le=16 * MIB)] = 64 * KIB
    truncate: bool = False

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True, slots=True)
class InputLimits:
    """What may be built from a body at all: inputs in a batch, UTF-8 bytes of a text, ids in a list of token ids."""

    max_inputs: int
    max_text_bytes: int
    max_tokens: int


@dataclass(frozen=True, slots=True)
class TokenWeights:
    """Tokens that one character of each kind makes in ordinary text: used to predict, never to limit.

    letter: of English's 21 usual ones; rare: j, k, q, x, z, which mark other languages, codes and names; mark: any other
    ASCII character; wide: a character outside ASCII. foreign: what a usual letter makes in addition near an accented one, in
    words that the tokenizer does not know. The defaults are those of BERT's vocabulary. Raises ConfigError when one is
    negative: more text would then be fewer tokens.
    """

    letter: float = 0.23
    rare: float = 0.6
    digit: float = 0.6
    space: float = 0.1
    mark: float = 0.94
    wide: float = 1.02
    foreign: float = 0.12

    def __post_init__(self) -> None:
        for item in fields(self):
            if not 0 <= getattr(self, item.name) <= _MOST_WEIGHT:
                raise ConfigError(f"tokens per {item.name} must be 0 to {_MOST_WEIGHT}, not {getattr(self, item.name)}")


# No tokenizer makes more of one character (a code point is 4 bytes, its decomposition at most 18 characters).
_MOST_WEIGHT = 100.0
USUAL = TokenWeights()


@dataclass(frozen=True, slots=True)
class TokenBound:
    """What the measuring needs of a model: its position limit, specials per text, most tokens per byte, vocabulary, and how
    many tokens ordinary text makes.
    """

    max_tokens: int
    special_tokens: int
    expansion: float
    vocab: int
    weights: TokenWeights = USUAL


@dataclass(frozen=True, slots=True)
class TextFeatures:
    """inputs: texts in the batch. total_bytes, longest_bytes: UTF-8 bytes (0 for token ids).

    token_bound: sum over inputs of the most tokens each can become, specials included, clipped to the model's limit.
    longest_bound: the largest of those. square_bound: sum of their squares (attention is quadratic per text).
    token_typical, square_typical: the same as predicted from the kinds of characters.
    """

    inputs: int
    total_bytes: int
    longest_bytes: int
    token_bound: int
    longest_bound: int
    square_bound: int
    token_typical: int
    square_typical: int

    def as_dict(self) -> dict[str, int]:
        """Name to value."""
        return asdict(self)


def bound_tokens(size_bytes: int, limit: TokenBound) -> int:
    """The most tokens a text of `size_bytes` UTF-8 bytes can become after truncation at the model's limit."""
    return min(limit.max_tokens, math.ceil(size_bytes * limit.expansion) + limit.special_tokens)


def count_kinds(text: str, data: bytes) -> tuple[int, int, int, int, int, int, int]:
    """Characters of `text`, whose UTF-8 is `data`, by kind, in the order of TokenWeights' fields. O(bytes).

    All kinds but the last are a partition; foreign letters are letters too.
    """
    wide = accents = 0
    if not text.isascii():
        narrow = data.translate(None, _WIDE)
        accents = len(data) - len(data.translate(None, _ACCENTED))
        wide, data = len(text) - len(narrow), narrow
    narrow_size = len(data)
    odd = data.translate(None, _LETTERS)
    unlettered = odd.translate(None, _RARE)
    signs = unlettered.translate(None, _SPACES)
    marks = len(signs.translate(None, _DIGITS))
    letters = narrow_size - len(odd)
    return (
        letters, len(odd) - len(unlettered), len(signs) - marks, len(unlettered) - len(signs), marks, wide,
        min(letters, _LETTERS_PER_ACCENT * accents),
    )  # fmt: skip


def typical_tokens(text: str, data: bytes, limit: TokenBound) -> int:
    """The tokens that a text is expected to become, from the kinds of its characters; never more than the bound."""
    letters, rare, digits, spaces, marks, wide, foreign = count_kinds(text, data)
    weights = limit.weights
    found = (
        letters * weights.letter + rare * weights.rare + digits * weights.digit + spaces * weights.space
        + marks * weights.mark + wide * weights.wide + foreign * weights.foreign
    )  # fmt: skip
    return min(bound_tokens(len(data), limit), math.ceil(found) + limit.special_tokens)


def measure(inputs: Inputs, limit: TokenBound) -> TextFeatures:
    """Features of `inputs`: texts, or lists of token ids (then every bound is exact)."""
    if inputs and not isinstance(inputs[0], str):
        bounds = [min(limit.max_tokens, len(ids) + limit.special_tokens) for ids in inputs]
        sizes, typical = [0], bounds
    else:
        sizes, typical = [], []
        for text in inputs:
            if isinstance(text, str):
                data = text.encode()
                sizes.append(len(data))
                typical.append(typical_tokens(text, data, limit))
        bounds = [bound_tokens(size, limit) for size in sizes]
    return TextFeatures(
        inputs=len(inputs),
        total_bytes=sum(sizes),
        longest_bytes=max(sizes, default=0),
        token_bound=sum(bounds),
        longest_bound=max(bounds, default=0),
        square_bound=sum(bound * bound for bound in bounds),
        token_typical=sum(typical),
        square_typical=sum(count * count for count in typical),
    )


def largest(settings: TextSettings, limit: TokenBound) -> TextFeatures:
    """The features of the dearest batch inside the envelope: as many inputs as may come, each as long as the model takes."""
    inputs, tokens = settings.max_inputs, limit.max_tokens
    squares = inputs * tokens * tokens
    return TextFeatures(
        inputs, inputs * settings.max_text_bytes, settings.max_text_bytes, inputs * tokens, tokens, squares,
        inputs * tokens, squares,
    )  # fmt: skip


def synthesize(sizes_bytes: Sequence[int], register: Register = Register.PROSE, seed: int = 0) -> list[str]:
    """Texts of exactly these UTF-8 sizes, in one register, no two alike; measure() of them gives these sizes back."""
    return [
        compose(register, size, random.Random(f"{register}:{seed}:{index}")) for index, size in enumerate(sizes_bytes)
    ]


def synthesize_ids(counts: Sequence[int], vocab: int, seed: int = 0) -> list[list[int]]:
    """Lists of exactly so many token ids; measure() of them gives these counts back."""
    return [compose_ids(count, vocab, random.Random(f"ids:{seed}:{index}")) for index, count in enumerate(counts)]


def check(inputs: Inputs, settings: TextSettings, limit: TokenBound, field: str) -> Rejection | None:
    """The envelope: how many inputs, how long each, and for token ids their range. None means inside."""
    if not inputs:
        return Rejection(
            Reason.OUT_OF_ENVELOPE, "the input is empty", field, limit=1, seen=0, unit="inputs", accepted="1 or more"
        )
    if len(inputs) > settings.max_inputs:
        return too_many_inputs(len(inputs), settings.max_inputs, field)
    for index, item in enumerate(inputs):
        fault = _check_text(item, settings) if isinstance(item, str) else _check_ids(cast(Sequence[int], item), limit)
        if fault is not None:
            detail, most, seen, unit = fault
            reason = Reason.TOO_MANY_TOKENS if unit == "tokens" and seen > most else Reason.OUT_OF_ENVELOPE
            return Rejection(
                reason, detail, f"{field}[{index}]", limit=most, seen=seen, unit=unit, accepted=f"at most {most} {unit}"
            )
    return None


def too_many_inputs(seen: int, most: int, field: str) -> Rejection:
    """The refusal of a batch with more inputs than the policy allows."""
    return Rejection(
        Reason.BATCH_TOO_LARGE,
        "too many inputs in one request; send several requests",
        field,
        limit=most,
        seen=seen,
        unit="inputs",
        accepted=f"1 to {most} inputs",
    )


def too_long(seen: int, most: int, field: str) -> Rejection:
    """The refusal of a text with more bytes than the policy allows."""
    return Rejection(
        Reason.OUT_OF_ENVELOPE, "the text is too long", field, limit=most, seen=seen, unit="bytes",
        accepted=f"at most {most} bytes",
    )  # fmt: skip


def too_many_tokens(seen: int, most: int, field: str) -> Rejection:
    """The refusal of a list of more token ids than any model here takes."""
    return Rejection(
        Reason.TOO_MANY_TOKENS, "the list has more tokens than the model takes", field, limit=most, seen=seen,
        unit="tokens", accepted=f"at most {most} tokens",
    )  # fmt: skip


def unknown_token(seen: int, vocab: int, field: str) -> Rejection:
    """The refusal of token ids of which the highest is outside the vocabulary."""
    return Rejection(
        Reason.OUT_OF_ENVELOPE, "a token id is outside the vocabulary", field, limit=vocab - 1, seen=seen,
        unit="as token id",
    )  # fmt: skip


def _check_text(text: str, settings: TextSettings) -> tuple[str, int, int, str] | None:
    # A character is at least one byte: the cheap test first, the exact one only when it could matter.
    size = len(text) if len(text) > settings.max_text_bytes else len(text.encode())
    if size > settings.max_text_bytes:
        return "the text is too long", settings.max_text_bytes, size, "bytes"
    return None


def _check_ids(ids: Sequence[int], limit: TokenBound) -> tuple[str, int, int, str] | None:
    if not ids:
        return "a list of token ids is empty", 1, 0, "tokens"
    if len(ids) + limit.special_tokens > limit.max_tokens:
        return (
            "the list has more tokens than the model takes",
            limit.max_tokens - limit.special_tokens,
            len(ids),
            "tokens",
        )
    highest = max(ids)
    if highest >= limit.vocab:
        return "a token id is outside the vocabulary", limit.vocab - 1, highest, "as token id"
    return None
