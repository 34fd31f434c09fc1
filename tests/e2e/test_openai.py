"""The official OpenAI client against the real server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import openai
import pytest
from safetensors.numpy import load_file
from tests.e2e.conftest import Site
from tests.e2e.server import MODEL


class Counting(httpx.HTTPTransport):
    """A transport that counts what really goes out, retries included."""

    def __init__(self) -> None:
        super().__init__()
        self.requests = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Count and send."""
        self.requests += 1
        return super().handle_request(request)


@pytest.fixture
def transport() -> Counting:
    """A transport of this test's own."""
    return Counting()


@pytest.fixture
def client(site: Site, transport: Counting) -> Iterator[openai.OpenAI]:
    """Alice's client, with the library's own defaults for retries."""
    with (
        httpx.Client(transport=transport) as http,
        openai.OpenAI(base_url=f"{site.server.url}/v1", api_key=site.alice, http_client=http) as made,
    ):
        yield made


def vectors(answer: openai.types.CreateEmbeddingResponse) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """The vectors of an answer, in order."""
    assert [row.index for row in answer.data] == list(range(len(answer.data)))
    return np.array([row.embedding for row in answer.data])


def test_vectors_are_the_same_when_asked_as_float_or_base64(client: openai.OpenAI) -> None:
    """The client asks for base64 by itself and decodes it."""
    texts = ["the river was quiet", "Größe 🕯"]
    plain = vectors(client.embeddings.create(model=MODEL, input=texts, encoding_format="float"))
    packed = vectors(client.embeddings.create(model=MODEL, input=texts))
    assert plain.shape == (2, 384)
    assert np.abs(plain - packed).max() < 1e-6
    assert np.abs(np.linalg.norm(plain, axis=1) - 1).max() < 1e-5


def test_one_text_gives_one_vector_when_it_is_no_list(client: openai.OpenAI) -> None:
    """And usage counts its tokens, specials included."""
    answer = client.embeddings.create(model=MODEL, input="hello")
    assert (len(answer.data), answer.model) == (1, MODEL)
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == 3


def test_token_ids_are_understood_when_sent_instead_of_text(client: openai.OpenAI) -> None:
    """One list, or a list of lists; 7592 is "hello"."""
    text = vectors(client.embeddings.create(model=MODEL, input="hello"))
    flat = vectors(client.embeddings.create(model=MODEL, input=[7592]))
    nested = vectors(client.embeddings.create(model=MODEL, input=[[7592], [7592]]))
    assert np.abs(flat - text).max() < 1e-6
    assert np.abs(nested - text).max() < 1e-6


def test_models_are_listed_when_asked(client: openai.OpenAI) -> None:
    """By the client's own paging."""
    assert [model.id for model in client.models.list()] == [MODEL]


@pytest.mark.parametrize(
    ("arguments", "error", "code"),
    [
        ({"model": "gpt-9", "input": "x"}, openai.NotFoundError, "unknown_model"),
        ({"model": MODEL, "input": []}, openai.UnprocessableEntityError, "out_of_envelope"),
        ({"model": MODEL, "input": "x", "dimensions": 7}, openai.BadRequestError, "unsupported_field"),
        ({"model": MODEL, "input": "x", "extra_body": {"a": 1}}, openai.BadRequestError, "unknown_field"),
        ({"model": MODEL, "input": ["x"] * 65}, openai.APIStatusError, "batch_too_large"),
        ({"model": MODEL, "input": [1] * 600}, openai.UnprocessableEntityError, "context_length_exceeded"),
        ({"model": MODEL, "input": "word " * 600}, openai.UnprocessableEntityError, "context_length_exceeded"),
        ({"model": MODEL, "input": [40_000]}, openai.UnprocessableEntityError, "out_of_envelope"),
        ({"model": MODEL, "input": "x" * 70_000}, openai.UnprocessableEntityError, "out_of_envelope"),
    ],
)
def test_the_clients_own_exception_is_raised_once_when_a_call_can_not_succeed(
    client: openai.OpenAI, transport: Counting, arguments: dict[str, object], error: type[Exception], code: str
) -> None:
    """And nothing is retried: a deterministic refusal that is retried would triple an attack for free."""
    with pytest.raises(error) as caught:
        client.embeddings.create(**arguments)  # type: ignore[arg-type]
    assert isinstance(caught.value, openai.APIStatusError)
    assert caught.value.code == code
    assert transport.requests == 1


def test_a_wrong_key_is_an_authentication_error_when_used(site: Site, transport: Counting) -> None:
    """Not retried either."""
    with (
        httpx.Client(transport=transport) as http,
        openai.OpenAI(base_url=f"{site.server.url}/v1", api_key="wg-wrong", http_client=http) as client,
    ):
        with pytest.raises(openai.AuthenticationError):
            client.embeddings.create(model=MODEL, input="x")
        with pytest.raises(openai.AuthenticationError):
            client.models.list()
    assert transport.requests == 2


def test_values_are_the_reference_librarys_when_compared(client: openai.OpenAI, shared: Path) -> None:
    """12 texts from empty to truncated, computed by transformers, through HTTP and JSON."""
    folder = shared / "fixtures" / "minilm"
    texts = json.loads((folder / "expected.json").read_text())["texts"]
    expected = load_file(folder / "expected.safetensors")["embeddings"]
    for index, text in enumerate(texts):
        answer = httpx.post(
            f"{client.base_url}".replace("/v1/", "/embed"),
            json={"inputs": text},
            headers={"authorization": f"Bearer {client.api_key}"},
        )
        assert answer.status_code == 200
        assert np.abs(np.array(answer.json()[0]) - expected[index]).max() < 1e-4, text[:40]
