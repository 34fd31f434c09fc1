"""Targets: URLs, channels and spellings as they are read."""

from __future__ import annotations

import pytest

from wickguard.errors import ConfigError
from wickguard.probe.channels import parse_metrics, told
from wickguard.probe.spelling import Tensor, TensorWriter, known
from wickguard.probe.target import parse_url
from wickguard.probe.wire import Address, Answer


@pytest.mark.parametrize(
    ("url", "address", "path"),
    [
        ("http://127.0.0.1:8080", Address("127.0.0.1", 8080), ""),
        ("127.0.0.1:8080/v1/embeddings", Address("127.0.0.1", 8080), "/v1/embeddings"),
        ("https://h.example/embed/", Address("h.example", 443, True), "/embed"),
        ("http://[::1]:9/", Address("::1", 9), ""),
    ],
)
def test_url_is_an_address_and_a_path_when_it_is_well_formed(url: str, address: Address, path: str) -> None:
    """A base has no path; the scheme may be left out."""
    assert parse_url(url) == (address, path)


@pytest.mark.parametrize("url", ["ftp://h/", "http://", "http://h:99999/", "http://u:p@h/", "http://h/?q=1"])
def test_url_is_refused_when_it_is_something_else(url: str) -> None:
    """The message says what to give."""
    with pytest.raises(ConfigError):
        parse_url(url)


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
