"""Targets: URLs, channels and spellings as they are read."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest
from tests.unit.probe.tiny import Page, Tiny, running

from wickguard.errors import ConfigError
from wickguard.probe import inquiry
from wickguard.probe.channels import parse_metrics, told
from wickguard.probe.oip import Place, locate, tensors
from wickguard.probe.rails import resolve
from wickguard.probe.spelling import Tensor, TensorWriter, known
from wickguard.probe.target import Target, Wanted, discover, parse_url
from wickguard.probe.wire import Address, Answer

EMBED = {"/embed": [[0.5]]}
TEXTS = {"type": "array", "items": {"type": "string"}}
VECTORS = {"type": "array", "items": {"type": "array", "items": {"type": "number"}}}
METADATA = {"name": "m", "inputs": [{"name": "ids", "datatype": "INT64", "shape": [-1, -1]}]}


def found(tiny: Tiny, path: str = "", **more: Any) -> Target:
    """What is discovered of a running server."""
    return asyncio.run(discover(Wanted(tiny.url + path, timeout_s=5.0, **more)))


def described(*paths: str, **gives: dict[str, Any]) -> Tiny:
    """A server with an OpenAPI document whose routes take texts and give vectors; gives: what some give instead."""

    def operation(path: str) -> dict[str, Any]:
        answer = gives.get(path.strip("/"), VECTORS)
        return {
            "requestBody": {"content": {"application/json": {"schema": {"properties": {"texts": TEXTS}}}}},
            "responses": {"200": {"content": {"application/json": {"schema": answer}}}},
        }

    document = {"paths": {path: {"post": operation(path)} for path in paths}}
    return Tiny({"/openapi.json": document}, {path: {} for path in paths})


@pytest.mark.parametrize(
    ("url", "address", "path"),
    [
        ("http://127.0.0.1:8080", Address("127.0.0.1", 8080), ""),
        ("127.0.0.1:8080/v1/embeddings", Address("127.0.0.1", 8080), "/v1/embeddings"),
        ("https://h.example/embed/", Address("h.example", 443, True), "/embed"),
        ("http://[::1]:9/", Address("::1", 9), ""),
        ("http://h/a b/\u00e9%20?", Address("h", 80), "/a%20b/%C3%A9%20"),
        ("http://b\u00fccher.example/", Address("xn--bcher-kva.example", 80), ""),
    ],
)
def test_url_is_an_address_and_a_path_when_it_is_well_formed(url: str, address: Address, path: str) -> None:
    """A base has no path; the scheme may be left out."""
    assert parse_url(url) == (address, path)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://h/", "http://", "http://h:99999/", "http://h:0/", "http://u:p@h/", "http://h/?q=1", "http://[::1:80/",
        "http://[nonsense]/", "http://a..b/", f"http://{'a' * 64}/", "http://a b/", "http://\x01/",
    ],
)  # fmt: skip
def test_url_is_refused_when_it_is_something_else(url: str) -> None:
    """The message says what to give."""
    with pytest.raises(ConfigError, match=r"give|number from 1"):
        parse_url(url)


@pytest.mark.parametrize("url", ["http://:secret@h/", "http://secret@h/", "http://u:secret@h/x"])
def test_credentials_in_a_url_are_refused_and_not_repeated_when_there_is_no_name_before_them(url: str) -> None:
    """A URL stands in every report."""
    with pytest.raises(ConfigError, match="--key") as refused:
        parse_url(url)
    assert "secret" not in str(refused.value)


def test_host_can_not_be_resolved_when_no_name_is_like_that() -> None:
    """The resolver's own encoding refuses it, with an error of another kind than for names that are not known."""
    with pytest.raises(ConfigError, match="check the host"):
        resolve(Address("a..b", 80))


@pytest.mark.parametrize("key", ["schl\u00fcssel", "a\nb"])
def test_key_is_refused_when_no_header_can_carry_it(key: str) -> None:
    """Before anything is sent."""
    with running(Tiny()) as tiny, pytest.raises(ConfigError, match="--key"):
        found(tiny, "/embed", key=key)
    assert tiny.asked == []


def test_cost_is_read_when_the_answer_tells_it() -> None:
    """Server-Timing in milliseconds and bytes, tokens from `usage`; what is missing is None."""
    headers = {"server-timing": "cpu;dur=12.50, run;dur=13.1, mem;desc=4096"}
    seen = told(Answer(status=200, headers=headers, tail=b'"usage":{"prompt_tokens":7,"total_tokens":9}}'))
    assert (seen.cpu_s, seen.memory_bytes, seen.tokens) == (0.0125, 4096, 9)
    assert told(Answer(status=200)).cpu_s is None


def test_counters_are_summed_when_a_metric_has_labels() -> None:
    """Series of one name are one counter; a page without them says nothing."""
    page = '# HELP x\nwickguard_cpu_seconds_total{model="a"} 1.5\nwickguard_cpu_seconds_total{model="b"} 2\n'
    assert parse_metrics(page).cpu_s == 3.5
    assert parse_metrics(page).memory_bytes is None


def test_dialect_follows_from_the_route_when_it_is_known() -> None:
    """/v1/chat/completions is not mistaken for /v1/completions."""
    chat = known("/v1/chat/completions")
    assert chat is not None
    assert "messages" in chat[1]("m", ["a"])
    assert known("/predict") is None


def test_tensors_fit_their_shape_when_they_stand_for_texts() -> None:
    """As many numbers as the shape says."""
    body = TensorWriter((Tensor("input_ids", "INT64", (-1, -1)),))("m", ["a" * 40, "b"])
    tensor = body["inputs"][0]
    assert tensor["shape"] == [2, 10]
    assert len(tensor["data"]) == 20


@pytest.mark.parametrize(
    ("path", "model", "about", "infer"),
    [
        ("/v2/models/m/infer", None, "/v2/models/m", "/v2/models/m/infer"),
        ("/v2/models/m", "m", "/v2/models/m", "/v2/models/m/infer"),
        ("/teamA/v2/models/m/infer", None, "/teamA/v2/models/m", "/teamA/v2/models/m/infer"),
        ("/v2/models/m/versions/3/infer", None, "/v2/models/m/versions/3", "/v2/models/m/versions/3/infer"),
        ("/v2/models/a%20b%3F/infer", "a b?", "/v2/models/a%20b%3F", "/v2/models/a%20b%3F/infer"),
        ("", "a b?", "/v2/models/a%20b%3F", "/v2/models/a%20b%3F/infer"),
        ("/teamA/v2", "m", "/teamA/v2/models/m", "/teamA/v2/models/m/infer"),
        ("/teamA", "m", "/teamA/v2/models/m", "/teamA/v2/models/m/infer"),
    ],
)
def test_model_of_the_url_is_the_one_that_is_attacked(path: str, model: str | None, about: str, infer: str) -> None:
    """Behind a gateway another prefix is another team's model, and another version another model; names are quoted."""
    place = locate(path, model)
    assert (place.about, place.infer) == (about, infer)


@pytest.mark.parametrize(
    ("path", "model"),
    [("", None), ("/v2/models/m/infer", "n"), ("/v2/models/m/generate", None), ("/v2/models/m/versions/", None)],
)
def test_model_is_refused_when_it_is_not_clear_which_is_meant(path: str, model: str | None) -> None:
    """Two names, none, or a route that is not inference."""
    with pytest.raises(ConfigError, match="give"):
        locate(path, model)
    assert locate("/v2/models/m", "m") == Place("", "m")


@pytest.mark.parametrize(
    "item",
    [
        {}, None, {"name": "ids"}, {"name": "ids", "datatype": "INT64", "shape": "x"}, {"datatype": "FP32", "shape": [1]},
        {"name": "ids", "datatype": "INT64", "shape": [None]}, {"name": "ids", "datatype": "INT64", "shape": [-7]},
        {"name": "ids", "datatype": "INT64", "shape": [1 << 20, 1 << 20]},
    ],
)  # fmt: skip
def test_metadata_is_refused_when_an_input_is_not_as_the_protocol_says(item: object) -> None:
    """With the path, so that it can be looked at."""
    with pytest.raises(ConfigError, match="/v2/models/m"):
        tensors({"inputs": [item]}, "/v2/models/m")
    assert tensors({"inputs": [{"name": "a", "datatype": "BYTES", "shape": None}]}, "") == (Tensor("a", "BYTES", ()),)


def test_prefix_is_kept_on_the_wire_when_a_gateway_has_two_models_of_one_name() -> None:
    """The other team's is never asked."""
    paths = ["/v2/models/m", "/teamA/v2/models/m"]
    with running(Tiny(dict.fromkeys(paths, METADATA), {f"{path}/infer": {} for path in paths})) as tiny:
        target = found(tiny, "/teamA/v2/models/m/infer")
    assert (target.spelling.dialect, target.spelling.path) == ("oip", "/teamA/v2/models/m/infer")
    assert set(tiny.posted) == {"/teamA/v2/models/m/infer"}
    assert "/v2/models/m" not in tiny.asked


@pytest.mark.parametrize("models", [{}, [], {"data": []}, {"data": [{}]}, {"data": {"a": 1}}, "no JSON"])
def test_model_list_without_models_is_no_obstacle_when_a_dialect_needs_none(models: object) -> None:
    """It names the model of aliases, and is nobody's duty."""
    with running(Tiny({"/v1/models": models}, EMBED)) as tiny:
        assert found(tiny, "/embed").spelling.path == "/embed"
    with running(described("/encode")) as tiny:
        tiny.pages["/v1/models"] = models
        assert found(tiny, "/encode", dialect="openapi").spelling.path == "/encode"


MODELS = {"data": [{"id": "speaks"}, {"id": 7}, {}, "odd", {"id": "embeds"}]}


def test_model_is_the_first_that_answers_when_none_is_given() -> None:
    """A server may list one that chats before the one that embeds."""
    route = "/v1/embeddings"
    with running(Tiny({"/v1/models": MODELS}, {route: {}}, {route: "embeds"})) as tiny:
        assert found(tiny, route).spelling.model == "embeds"
        assert tiny.posted.count(route) == 3
        with pytest.raises(ConfigError, match="is answered 404"):
            found(tiny, route, model="speaks")


def test_message_says_which_models_were_asked_when_none_answers() -> None:
    """Of a hundred that are listed, ten."""
    route = "/v1/embeddings"
    models = {"data": [{"id": f"m{index}"} for index in range(100)]}
    with (
        running(Tiny({"/v1/models": models}, {route: {}}, {route: "none of these"})) as tiny,
        pytest.raises(ConfigError, match=r"answered 404.*--model and --key \(asked for: m0, .*, m9\)$"),
    ):
        found(tiny, route)
    assert len(tiny.posted) == 10


def test_message_says_what_the_one_route_answered_that_is_there() -> None:
    """Nobody looks for an embedding where there is a chat that wants more tokens."""
    route = "/v1/chat/completions"
    with running(Tiny({"/v1/models": MODELS}, {route: {}}, statuses={route: 400})) as tiny:
        with pytest.raises(ConfigError, match=f"^{route}: an ordinary request is answered 400"):
            found(tiny)
        assert tiny.posted.count(route) == 3
        tiny.statuses[route] = 503
        with pytest.raises(ConfigError, match="is answered 503"):
            found(tiny)
        # Once for each of three models, and then in three rounds: it may still be loading.
        assert tiny.posted.count(route) == 3 + 9


def test_base_of_a_server_that_only_chats_is_its_chat_route() -> None:
    """It lists models as one that embeds does; what is not there answers 404."""
    route = "/v1/chat/completions"
    with running(Tiny({"/v1/models": MODELS}, {route: {}}, {route: "embeds"})) as tiny:
        spelling = found(tiny).spelling
        assert (spelling.dialect, spelling.path, spelling.model) == ("openai", route, "embeds")
        tiny.routes.clear()
        with pytest.raises(ConfigError, match=r"asked for: speaks at /v1/embeddings, .*, embeds at /v1/completions\)$"):
            found(tiny)


@pytest.mark.parametrize(("unknown", "sees"), [(b"image_url", False), (None, True)])
def test_model_sees_only_when_it_has_answered_a_picture(unknown: bytes | None, sees: bool) -> None:
    """One small picture; most that chat don't take any."""
    route = "/v1/chat/completions"
    with running(Tiny({"/v1/models": MODELS}, {route: {}}, unknown=unknown)) as tiny:
        assert found(tiny, route).spelling.sees is sees
        assert tiny.posted == [route] * 2


def test_alias_is_found_under_its_own_model_when_the_route_under_test_names_none() -> None:
    """The second route need not be served by the first model that is listed."""
    routes = {"/embed": [[0.5]], "/v1/embeddings": {}}
    with running(Tiny({"/v1/models": MODELS}, routes, {"/v1/embeddings": "embeds"})) as tiny:
        spelling = found(tiny, "/embed").spelling
    assert spelling.aliases == ("/v1/embeddings",)
    assert b'"model":"embeds"' in spelling.on("/v1/embeddings", ["hi"]).body


def test_no_route_is_asked_when_a_base_has_several() -> None:
    """One of them may unload a model; the message lists them, and not without an end."""
    paths = [f"/admin/{index:02}" for index in range(14)]
    with running(described(*paths)) as tiny, pytest.raises(ConfigError, match=r"14 routes: .*and 4 more") as refused:
        found(tiny)
    assert tiny.posted == []
    assert all((path in str(refused.value)) == (index < 10) for index, path in enumerate(paths))


def test_only_route_is_taken_when_a_base_has_no_other() -> None:
    """There is nothing to choose."""
    with running(described("/encode")) as tiny:
        assert found(tiny).spelling.path == "/encode"
    assert set(tiny.posted) == {"/encode"}


def test_only_what_takes_and_gives_the_same_is_asked_when_aliases_are_looked_for() -> None:
    """A broadcast takes texts as well, and gives something else, or nothing that a document mentions."""
    done = {"properties": {"reached": {"type": "integer"}}}
    with running(described("/encode", "/v1-encode", "/broadcast", "/publish", broadcast=done, publish={})) as tiny:
        target = found(tiny, "/encode")
        assert target.spelling.aliases == ("/v1-encode",)
    assert set(tiny.posted) == {"/encode", "/v1-encode"}


@pytest.mark.parametrize("began", [(100.0, 100.0), (100.0, 250.0)])
def test_metrics_are_used_only_when_one_process_answers(began: tuple[float, float]) -> None:
    """Workers that count for themselves would look like restarts, at every other scrape."""
    turns = itertools.cycle(began)

    def page() -> str:
        return f"process_start_time_seconds {next(turns)}\nprocess_cpu_seconds_total 1.5\n"

    pages: dict[str, Page] = {"/metrics": page}
    with running(Tiny(pages, EMBED)) as tiny:
        assert found(tiny, "/embed").metrics is (began[0] == began[1])


def test_metrics_are_not_used_when_they_say_nothing_of_the_process() -> None:
    """Or when they are not there."""
    with running(Tiny({"/metrics": "requests_total 5\nprocess_cpu_seconds_total +Inf\n"}, EMBED)) as tiny:
        assert not found(tiny, "/embed").metrics


@pytest.mark.parametrize("page", ["[" * 100_000, '"\\ud800"', "1" * 5000, "{"])
def test_document_is_none_when_it_can_not_be_read(page: str) -> None:
    """Nested beyond measure, half a letter, a number of thousands of digits, cut off."""
    with running(Tiny({"/info": page, "/v1/models": page}, EMBED)) as tiny:
        assert found(tiny, "/embed").spelling.model == ""


def test_limits_are_left_out_when_no_report_could_hold_them() -> None:
    """A target says of itself what it likes."""
    about = {"model_id": "m", "max_client_batch_size": 1 << 70, "max_input_length": 512, "max_batch_tokens": True}
    with running(Tiny({"/info": about}, EMBED)) as tiny:
        assert found(tiny, "/embed").spelling.limits == {"max_tokens": 512}


def test_answer_without_an_end_is_an_error_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not kept."""
    monkeypatch.setattr(inquiry, "MAX_RESPONSE_BYTES", 1000)
    with running(Tiny({"/": "a" * 2000}, EMBED)) as tiny, pytest.raises(ConfigError, match="larger than 1000 B"):
        found(tiny, "/embed")
