"""Logits: what raw token ids for a model that writes can cost, which are answered with a row of the vocabulary after each.

The answer is much larger than the request, and its size follows from a shape: decides by that alone which calls are inside the
envelope, before anything is built from them. Promises that no answer has more bytes than `answer_bytes`, and that numbers that
are written out count with their longest spelling. It must not know prices, routes or dialects.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from wickguard.modality import text
from wickguard.rejection import Reason, Rejection

# Of one logit: single precision, or its nine digits with sign, point, exponent and comma: "-1.17549435e-38,".
RAW_BYTES = 4
SPELLED_BYTES = 16
# What an answer has around its numbers on the way to the front.
FRAME_BYTES = 64


@dataclass(frozen=True, slots=True)
class LogitsLimit:
    """The envelope. rows: sequences of one request. tokens: of each. vocab: logits after each token. answer_bytes: of all."""

    rows: int
    tokens: int
    vocab: int
    answer_bytes: int


@dataclass(frozen=True, slots=True)
class LogitsFeatures:
    """rows: sequences. tokens: of each. values: logits of all. spelled: of these, how many are written out as JSON.

    token_bound: tokens of all rows, for quotas.
    """

    rows: int
    tokens: int
    values: int
    spelled: int
    token_bound: int

    @property
    def answer_bytes(self) -> int:
        """The most that the answer can have."""
        return FRAME_BYTES + RAW_BYTES * self.values + (SPELLED_BYTES - RAW_BYTES) * self.spelled

    def as_dict(self) -> dict[str, int]:
        """Name to value."""
        return asdict(self)


def measure(rows: int, tokens: int, vocab: int, *, spelled: bool) -> LogitsFeatures:
    """Features of so many rows of so many ids, the logits spelled as JSON or raw."""
    values = rows * tokens * vocab
    return LogitsFeatures(rows, tokens, values, values if spelled else 0, rows * tokens)


def most_tokens(limit: LogitsLimit, *, spelled: bool) -> int:
    """How many ids one request may have, in all its rows."""
    each = SPELLED_BYTES if spelled else RAW_BYTES
    room = max(0, limit.answer_bytes - FRAME_BYTES) // (each * limit.vocab)
    return min(room, limit.rows * limit.tokens)


def largest(limit: LogitsLimit) -> LogitsFeatures:
    """At least what the dearest call inside the envelope costs."""
    raw, spelled = (max(1, most_tokens(limit, spelled=way)) for way in (False, True))
    tokens = min(limit.tokens, raw)
    rows = -(-raw // tokens)
    return LogitsFeatures(rows, tokens, rows * tokens * limit.vocab, spelled * limit.vocab, rows * tokens)


def check(rows: int, tokens: int, limit: LogitsLimit, field: str, *, spelled: bool) -> Rejection | None:
    """The envelope. None means inside."""
    if rows > limit.rows:
        return text.too_many_inputs(rows, limit.rows, field)
    if tokens > limit.tokens:
        return text.too_many_tokens(tokens, limit.tokens, field)
    seen = measure(rows, tokens, limit.vocab, spelled=spelled).answer_bytes
    if seen <= limit.answer_bytes:
        return None
    return Rejection(
        Reason.OUT_OF_ENVELOPE, "the logits would be too large an answer", field, limit=limit.answer_bytes, seen=seen,
        unit="bytes", accepted=_accepted(limit, spelled=spelled),
    )  # fmt: skip


def _accepted(limit: LogitsLimit, *, spelled: bool) -> str:
    here, raw = most_tokens(limit, spelled=spelled), most_tokens(limit, spelled=False)
    if not raw:
        return "a model with a smaller vocabulary"
    if not spelled:
        return f"at most {raw} token ids"
    return (
        f"at most {here} token ids, or {raw} with binary_data" if here else f"at most {raw} token ids with binary_data"
    )
