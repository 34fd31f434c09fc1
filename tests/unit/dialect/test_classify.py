"""The dialect of /v1/classify: a picture in a body, in base64, in a data URL; one, and nothing else."""

from __future__ import annotations

import base64
import json
import tracemalloc

import pytest

from wickguard.dialect.classify import ClassifyTask, parse
from wickguard.modality.image_header import Kind
from wickguard.rejection import Reason, Rejection

PICTURE = bytes(range(256)) * 3
TEXT = base64.b64encode(PICTURE).decode()


def ask(value: object, **fields: object) -> ClassifyTask | Rejection:
    """A JSON body."""
    return parse(json.dumps({"input": value} | fields).encode(), "application/json", b"")


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (TEXT, None),
        (f"data:image/png;base64,{TEXT}", Kind.PNG),
        (f"DATA:image/webp;charset=x;base64,{TEXT}", Kind.WEBP),
    ],
)
def test_picture_is_the_one_that_was_sent_when_it_is_base64(value: str, kind: Kind | None) -> None:
    """Plain, and as a data URL with its type."""
    found = ask(value, model="m", top_k=2)
    assert found == ClassifyTask("m", PICTURE, kind, 2, "input")


def test_picture_is_the_one_that_was_sent_when_json_escapes_its_slashes() -> None:
    r"""Some libraries write \/ for every slash."""
    body = json.dumps({"input": TEXT}).replace("/", "\\/").encode()
    found = parse(body, "application/json", b"")
    assert isinstance(found, ClassifyTask)
    assert found.image == PICTURE


def test_picture_is_the_body_when_the_media_type_says_so() -> None:
    """Model and number from the query."""
    assert parse(b"x", "image/jpeg", b"model=a%2Fb&top_k=3") == ClassifyTask("a/b", b"x", Kind.JPEG, 3, "body")
    assert parse(b"x", "image/png", b"") == ClassifyTask(None, b"x", Kind.PNG, 5, "body")


@pytest.mark.parametrize(
    "value",
    [
        TEXT[:-1], TEXT[:4] + "\n" + TEXT[4:], TEXT + "," + TEXT, "é" + TEXT, TEXT.replace("/", "_"), [TEXT],
        {"url": "x"}, None, 5, True, f"data:image/gif;base64,{TEXT}", f"data:image/png,{TEXT}", f"data:;base64,{TEXT}",
        "data:image/png;base64", f"data:image/png;{'x' * 100};base64,{TEXT}", "https://example.org/a.png",
    ],
)  # fmt: skip
def test_input_is_refused_when_it_is_not_one_picture(value: object) -> None:
    """Damaged base64, several, other types, links."""
    found = ask(value)
    assert isinstance(found, Rejection), found
    assert (found.reason, found.field) == (Reason.MALFORMED, "input")


@pytest.mark.parametrize(
    "query", [b"model=a&model=b", b"x=1", b"model", b"top_k=a", b"top_k=-1", b"a=1&b=2&c=3&d=4&e=5", b"\xff=1"]
)
def test_query_is_refused_when_it_is_not_exactly_what_is_known(query: bytes) -> None:
    """4xx by name."""
    assert isinstance(parse(b"x", "image/png", query), Rejection)


def test_query_is_refused_when_the_fields_are_in_the_body() -> None:
    """Two places for one field would be two truths."""
    assert isinstance(parse(b'{"input":""}', "application/json", b"model=m"), Rejection)


def test_memory_is_a_small_multiple_of_the_body_when_it_is_base64() -> None:
    """Law 7: with and without escapes."""
    for text in (json.dumps("A" * 1_000_000), '"' + "\\/" * 500_000 + '"'):
        body = b'{"input":' + text.encode() + b"}"
        parse(body, "application/json", b"")
        tracemalloc.start()
        try:
            parse(body, "application/json", b"")
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak <= 5 * len(body)
