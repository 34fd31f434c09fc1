"""Attacks with texts and token ids (T01 to T20): what a tokenizer, a model or a price could be made to spend."""

from __future__ import annotations

import json

import pytest
from tests.attacks.harness import Target, siege
from tests.e2e.server import MODEL

from wickguard.units import KIB, MIB

# The most text that one input may hold.
MOST = 64 * KIB


def body(value: object, path: str = "/v1/embeddings") -> bytes:
    """A request with `value` as input."""
    asked = {"model": MODEL, "input": value} if path == "/v1/embeddings" else {"inputs": value}
    return json.dumps(asked, ensure_ascii=False).encode()


def full(unit: str) -> str:
    """As many `unit`s as one text may hold."""
    return unit * (MOST // len(unit.encode()))


RUNS = {
    "T03-a": full("a"),
    "T03-underscore": full("_"),
    "T03-space": full(" "),
    "T03-newline": full("\n"),
    "T03-digit": full("7"),
    "T03-quote": full('"'),
    "T03-backslash": full("\\"),
    "T03-punctuation": full(".,"),
    "T03-one-long-word": full("antidisestablishmentarianism"),
    "T04-emoji": full("😀"),
    "T04-joined-emoji": full("👨‍👩‍👧‍👦"),
    "T04-cjk": full("漢"),
    "T04-rare-script": full("𒀀"),
    "T04-private-use": full("\ue000"),
    "T05-one-mark-class": "a" + full("\u0301")[:-1],
    "T05-mixed-mark-classes": "a" + full("\u0315\u0300")[:-2],
    "T05-hangul": full("\u1100\u1161\u11a8"),
    "T06-arabic-ligature": full("\ufdfa"),
    "T06-musical-note": full("\U0001d1c0"),
    "T06-greek-dialytika": full("\u03b0"),
    "T06-dotted-i": full("\u0130"),
    "T08-mask": full("[MASK] "),
    "T08-cls-sep": full("[CLS][SEP][PAD][UNK] "),
    "T08-chat": full("<|im_start|><|image_pad|><image>"),
    "T18-redos": full("aaaaaaaaaaaaaaaaaaaaaaaa!(((((@@@@"),
    "T20-bidi": full("\u202e\u2066"),
    "T20-zero-width": full("\u200b\u200d\ufeff"),
    "T20-controls": full("\x01\x7f\x85"),
    "T20-nul": full("\x00"),
    "T20-noncharacters": full("\uffff\ufffe"),
}


@pytest.mark.parametrize("name", list(RUNS))
def test_the_largest_text_is_answered_in_linear_time_when_its_shape_is_hostile(target: Target, name: str) -> None:
    """Cut off at the model's limit by /embed, refused by the other route; never a 5xx, never more than one window of work."""
    with siege(target, cpu_s=1.2, front_bytes=8 * MIB):
        cut = target.post(body(RUNS[name], "/embed"), path="/embed")
        whole = target.post(body(RUNS[name]))
    assert cut.status == 200, cut.body
    # Some of these are few tokens: a word without a space is one [UNK] for this tokenizer.
    assert whole.status in {200, 422}, whole.body
    if whole.status == 422:
        assert whole.code == "context_length_exceeded"


def test_t04_texts_are_limited_in_bytes_when_characters_are_wide(target: Target) -> None:
    """A limit in characters would be wrong by four."""
    with siege(target, cpu_s=0.2, front_bytes=4 * MIB):
        reply = target.post(body("😀" * (MOST // 4 + 1)))
    assert (reply.status, reply.code) == (422, "out_of_envelope")


@pytest.mark.parametrize(("words", "status"), [(1, 200), (510, 200), (511, 422), (1020, 422)])
def test_t01_the_limit_is_exact_when_words_are_tokens(target: Target, words: int, status: int) -> None:
    """510 words and two specials fit; one more does not."""
    with siege(target, cpu_s=1.0, front_bytes=4 * MIB):
        reply = target.post(body("the " * words))
    assert reply.status == status, reply.body


@pytest.mark.parametrize(
    ("value", "status"),
    [("", 200), ("   \n\t", 200), ([""], 200), (["", ""], 200), ([], 422), ([[]], 422), ([[1], []], 422)],
)
def test_t09_nothing_is_answered_without_a_fault_when_it_is_sent(target: Target, value: object, status: int) -> None:
    """An empty text has a vector; an empty batch and an empty list of ids have none."""
    with siege(target, cpu_s=0.3, front_bytes=4 * MIB):
        reply = target.post(body(value))
    assert reply.status == status, reply.body


@pytest.mark.parametrize("count", [65, 1000, 100_000])
def test_t10_a_batch_is_refused_uncounted_by_hand_when_it_has_too_many_texts(target: Target, count: int) -> None:
    """413 with the limit, in a time that does not grow faster than the body."""
    with siege(target, cpu_s=0.2, front_bytes=6 * MIB):
        reply = target.post(body(["a"] * count))
    assert (reply.status, reply.code) == (413, "batch_too_large")


def test_t11_short_texts_stay_cheap_when_one_long_text_comes_with_them(target: Target) -> None:
    """No padding: 63 single words beside a text at the limit cost what they cost alone."""
    with siege(target, cpu_s=1.5, front_bytes=8 * MIB):
        reply = target.post(body(["a"] * 63 + ["the " * 510]))
    assert reply.status == 200


T19 = {
    "out-of-vocabulary": ([30_522], 422),
    "negative": ([-1], 400),
    "2^31": ([2**31], 400),
    "2^32": ([2**32], 400),
    "2^64": ([2**64], 400),
    "float": ([1.5], 400),
    "bool": ([True], 400),
    "nested-too-deep": ([[[1]]], 400),
    "mixed": ([1, "a"], 400),
    "at-the-limit": ([7592] * 510, 200),
    "one-over": ([7592] * 511, 422),
    "specials-inside": ([101, 102, 103, 0, 100], 200),
    "300k": ([7] * 300_000, 422),
    "16-lists-at-the-limit": ([[7592] * 510] * 16, 200),
    "65-lists": ([[1]] * 65, 413),
}


@pytest.mark.parametrize("name", list(T19))
def test_t19_token_ids_are_held_to_the_limits_of_text_when_sent_instead(target: Target, name: str) -> None:
    """They are no way around the tokenizer's limits, and none reaches a table that it could overrun."""
    value, status = T19[name]
    with siege(target, cpu_s=4.0 if name.startswith("16") else 0.6, front_bytes=12 * MIB):
        reply = target.post(body(value))
    assert reply.status == status, reply.body


@pytest.mark.parametrize("path", ["/v1/embeddings", "/embed"])
def test_t02_verdicts_are_the_same_when_one_overload_comes_by_another_route(target: Target, path: str) -> None:
    """F2 of the catalogue: a second path that misses the limit."""
    with siege(target, cpu_s=0.5, front_bytes=8 * MIB):
        statuses = [
            target.post(body(value, path), path=path).status
            for value in ("x" * 70_000, ["a"] * 65, [7] * 600, [40_000])
        ]
    assert statuses == [422, 413, 422, 422]
