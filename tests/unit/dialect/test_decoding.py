"""Requests in both dialects: what is understood, and what each mistake is called."""

from __future__ import annotations

import json

import pytest

from wickguard.dialect.decoding import MAX_REST_BYTES
from wickguard.dialect.openai import OpenAI
from wickguard.dialect.task import Dialect, EmbedTask
from wickguard.dialect.tei import Tei
from wickguard.modality.text import InputLimits
from wickguard.rejection import Reason, Rejection

LIMITS = InputLimits(max_inputs=4, max_text_bytes=1000, max_tokens=16)
OPENAI, TEI = OpenAI(), Tei()


def parse(body: bytes | object, dialect: Dialect = OPENAI) -> EmbedTask | Rejection:
    """Parse `body`, JSON-encoded unless it is bytes."""
    return dialect.parse_embed(
        body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode(), LIMITS
    )


@pytest.mark.parametrize(
    ("given", "inputs"),
    [
        ("hello", ["hello"]),
        ("", [""]),
        (["a", 'b"c', "d\\e"], ["a", 'b"c', "d\\e"]),
        ([1, 2, 3], [[1, 2, 3]]),
        ([[1, 2], [3]], [[1, 2], [3]]),
        ([], []),
        (["[1,2]", "{,,}"], ["[1,2]", "{,,}"]),
        ("Größe 🕯", ["Größe 🕯"]),
    ],
)
def test_inputs_are_understood_when_they_have_an_accepted_shape(given: object, inputs: list[object]) -> None:
    """A text, texts, token ids, lists of token ids; in both dialects."""
    task = parse({"model": "m", "input": given})
    assert isinstance(task, EmbedTask)
    assert task.inputs == inputs
    same = parse({"inputs": given}, TEI)
    assert isinstance(same, EmbedTask)
    assert same.inputs == inputs


@pytest.mark.parametrize(
    ("body", "reason", "field"),
    [
        (b"", Reason.MALFORMED, None),
        (b"{", Reason.MALFORMED, None),
        (b"[]", Reason.MALFORMED, None),
        (b'{"model":"m","input":"\xff"}', Reason.MALFORMED, None),
        (b'{"model":"m","input":"\\ud800"}', Reason.MALFORMED, None),
        (b'{"model":"m","input":NaN}', Reason.MALFORMED, None),
        (b'{"model":"m","input":"x"} x', Reason.MALFORMED, None),
        ({"model": "m"}, Reason.MALFORMED, "input"),
        ({"input": "x"}, Reason.MALFORMED, "model"),
        ({"model": 3, "input": "x"}, Reason.MALFORMED, "model"),
        ({"model": "m", "input": 3}, Reason.MALFORMED, "input"),
        ({"model": "m", "input": None}, Reason.MALFORMED, "input"),
        ({"model": "m", "input": {"a": 1}}, Reason.MALFORMED, "input"),
        ({"model": "m", "input": ["a", 1]}, Reason.MALFORMED, "input[1]"),
        ({"model": "m", "input": [1, -1]}, Reason.MALFORMED, "input[1]"),
        ({"model": "m", "input": [2**31]}, Reason.MALFORMED, "input[0]"),
        ({"model": "m", "input": [1.5]}, Reason.MALFORMED, "input[0]"),
        ({"model": "m", "input": [[1], [True]]}, Reason.MALFORMED, "input[1][0]"),
        ({"model": "m", "input": "x", "extra": 1}, Reason.UNKNOWN_FIELD, "extra"),
        ({"model": "m", "input": "x", "encoding_format": "hex"}, Reason.MALFORMED, "encoding_format"),
        ({"model": "m", "input": "x", "dimensions": -1}, Reason.MALFORMED, "dimensions"),
        (b'{"model":"m","input":"x","dimensions":' + b"9" * 4300 + b"}", Reason.MALFORMED, "dimensions"),
        ({"model": "m", "input": ["a"] * 5}, Reason.BATCH_TOO_LARGE, "input"),
        ({"model": "m", "input": [[1]] * 5}, Reason.BATCH_TOO_LARGE, "input"),
        ({"model": "m", "input": [[]] * 5}, Reason.BATCH_TOO_LARGE, "input"),
        ({"model": "m", "input": "a" * 1001}, Reason.OUT_OF_ENVELOPE, "input[0]"),
        ({"model": "m", "input": ["a", "é" * 501]}, Reason.OUT_OF_ENVELOPE, "input[1]"),
        ({"model": "m", "input": [1] * 17}, Reason.TOO_MANY_TOKENS, "input[0]"),
        ({"model": "m", "input": [[1], [1] * 17]}, Reason.TOO_MANY_TOKENS, "input[1]"),
    ],
)
def test_a_mistake_is_named_with_its_field_when_a_body_is_wrong(
    body: bytes | object, reason: Reason, field: str | None
) -> None:
    """Reason and field of every class of mistake."""
    found = parse(body)
    assert isinstance(found, Rejection)
    assert (found.reason, found.field) == (reason, field)


@pytest.mark.parametrize(
    ("more", "field"),
    [({"truncation_direction": "Left"}, "truncation_direction"), ({"prompt_name": "query"}, "prompt_name")],
)
def test_tei_fields_are_refused_by_name_when_they_are_not_offered(more: dict[str, str], field: str) -> None:
    """A field that TEI has and we don't is not ignored."""
    found = parse({"inputs": "x", **more}, TEI)
    assert isinstance(found, Rejection)
    assert (found.reason, found.field) == (Reason.UNSUPPORTED_FIELD, field)


def test_tei_truncates_when_nothing_is_said() -> None:
    """As text-embeddings-inference does; OpenAI leaves it to the policy."""
    tei, openai = parse({"inputs": "x"}, TEI), parse({"model": "m", "input": "x"})
    assert isinstance(tei, EmbedTask)
    assert isinstance(openai, EmbedTask)
    assert (tei.truncate, openai.truncate) == (True, None)


@pytest.mark.parametrize(
    "rest",
    [
        b'"encoding_format":"' + b" - at `$" + b"a" * 200_000 + b'"',
        b'"' + b"k" * 200_000 + b'":1',
        b'"user":"' + b"u" * 200_000 + b'"',
        b" " * 200_000 + b'"user":"u"',
        b",".join(b'"k%d":1' % number for number in range(20_000)),
    ],
)
def test_what_comes_beside_the_inputs_is_refused_unbuilt_when_it_is_large(rest: bytes) -> None:
    """No field but the inputs may be large, known or not."""
    found = parse(b'{"model":"m","input":"x",' + rest + b"}")
    assert isinstance(found, Rejection)
    assert found.reason is Reason.MALFORMED
    assert found.limit == MAX_REST_BYTES


def test_an_error_does_not_echo_the_callers_text_when_a_value_is_wrong() -> None:
    """Not even a value that imitates the decoder's own messages."""
    found = parse({"model": "m", "input": "x", "encoding_format": "secret - at `$.secret`"})
    assert isinstance(found, Rejection)
    assert "secret" not in found.detail
    assert found.field == "encoding_format"


@pytest.mark.parametrize("depth", [100, 2_000, 100_000])
@pytest.mark.parametrize("close", [True, False])
def test_nesting_is_refused_when_it_is_deep(depth: int, close: bool) -> None:
    """Wherever it stands: in the inputs or in a field that is skipped."""
    deep = b"[" * depth + (b"]" * depth if close else b"")
    for body in (b'{"model":"m","input":' + deep + b"}", b'{"a":' + deep + b',"model":"m","input":"x"}', deep):
        assert isinstance(parse(body), Rejection)
