"""Answers and errors as each API spells them."""

from __future__ import annotations

import json

import pytest

from wickguard.backend import EmbedResult
from wickguard.dialect import problem
from wickguard.dialect.openai import OpenAI
from wickguard.dialect.tei import Tei
from wickguard.rejection import Reason, Rejection

RESULT = EmbedResult([b"[0.25,-1]", b'"AACAPg=="'], [3, 5])
FULL = Rejection(
    Reason.OVER_SHARE, "own backlog", "input[2]", limit=5, seen=7.5, unit="seconds", accepted="less", retry_after_s=2.5
)


def test_openai_lists_vectors_with_usage_when_a_call_succeeds() -> None:
    """Index, object, model and token counts."""
    answer = json.loads(OpenAI().render_embed('a"b', RESULT))
    assert answer["data"][0] == {"object": "embedding", "index": 0, "embedding": [0.25, -1]}
    assert answer["data"][1]["embedding"] == "AACAPg=="
    assert (answer["model"], answer["usage"]) == ('a"b', {"prompt_tokens": 8, "total_tokens": 8})


def test_tei_answers_bare_vectors_when_a_call_succeeds() -> None:
    """A list, nothing around it."""
    assert json.loads(Tei().render_embed("m", EmbedResult([b"[1,2]"], [2]))) == [[1, 2]]


def test_openai_error_has_its_four_fields_and_ours_when_a_call_is_refused() -> None:
    """message, type, param, code; and limit, seen, accepted, retry_after_s."""
    kind, body = OpenAI().render_rejection(FULL, "req-1")
    error = json.loads(body)["error"]
    assert kind == b"application/json"
    assert {"message", "type", "param", "code"} <= error.keys()
    assert (error["type"], error["param"], error["code"]) == ("rate_limit_error", "input[2]", "over_share")
    assert (error["limit"], error["seen"], error["unit"], error["retry_after_s"]) == (5, 7.5, "seconds", 2.5)
    assert error["request_id"] == "req-1"
    assert "seen 7.5 seconds, the limit is 5" in error["message"]


def test_openai_clients_find_their_code_when_there_are_too_many_tokens() -> None:
    """The code that OpenAI's own server uses."""
    _, body = OpenAI().render_rejection(Rejection(Reason.TOO_MANY_TOKENS, ""), "r")
    assert json.loads(body)["error"]["code"] == "context_length_exceeded"


@pytest.mark.parametrize(
    ("rejection", "kind"),
    [
        (Rejection(Reason.OVERLOADED, "", retry_after_s=1), "Overloaded"),
        (Rejection(Reason.OUT_OF_ENVELOPE, "", seen=0, unit="inputs", limit=1), "Empty"),
        (Rejection(Reason.MALFORMED, ""), "Validation"),
        (Rejection(Reason.WORKER_CRASHED, ""), "Backend"),
        (Rejection(Reason.UNAUTHENTICATED, ""), "Unauthorized"),
    ],
)
def test_tei_error_type_follows_the_status_when_a_call_is_refused(rejection: Rejection, kind: str) -> None:
    """error and error_type as TEI's clients expect them."""
    _, body = Tei().render_rejection(rejection, "r")
    assert json.loads(body)["error_type"] == kind


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_is_spelled_in_every_dialect_when_it_is_rendered(reason: Reason) -> None:
    """Valid JSON, the code, and no empty message."""
    rejection = Rejection(reason, "")
    for render in (OpenAI().render_rejection, Tei().render_rejection, problem.render_rejection):
        _, body = render(rejection, "r")
        assert json.loads(body)
        assert rejection.meaning.title.encode() in body


def test_problem_document_has_the_members_of_rfc_9457_when_a_route_has_no_dialect() -> None:
    """type, title, status, detail."""
    kind, body = problem.render_rejection(Rejection(Reason.UNKNOWN_ROUTE, "", accepted="/x"), "r")
    document = json.loads(body)
    assert kind == b"application/problem+json"
    assert document["status"] == 404
    assert {"type", "title", "detail"} <= document.keys()


def test_models_are_listed_with_their_time_when_asked() -> None:
    """As GET /v1/models does."""
    answer = json.loads(OpenAI().render_models({"m": 12}))
    assert answer["data"] == [{"id": "m", "object": "model", "created": 12, "owned_by": "wickguard"}]
