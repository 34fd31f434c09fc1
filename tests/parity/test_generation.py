"""Llama and Qwen2 as this engine computes them against what the reference library computed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.parity.test_minilm import read_f32

engine = pytest.importorskip("wickguard_engine")

TOLERANCE = 1e-3


def read_i64(path: Path, name: str) -> list[int]:
    """One i64 tensor of a safetensors file."""
    raw = path.read_bytes()
    header_len = int.from_bytes(raw[:8], "little")
    entry = json.loads(raw[8 : 8 + header_len])[name]
    assert entry["dtype"] == "I64"
    start, end = (8 + header_len + offset for offset in entry["data_offsets"])
    return np.frombuffer(raw[start:end], "<i8").tolist()


def write(session: engine.Session) -> tuple[str, list[int], str]:
    """Text, ids and finish reason of a whole answer."""
    text, ids, finish = "", [], None
    while finish is None:
        step = session.step()
        text, finish = text + step.text, step.finish
        ids.append(step.id)
    return text, ids, finish


@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_logits_and_greedy_tokens_are_the_references_when_the_prompt_is_its(shared: Path, family: str) -> None:
    """Ids of the prompt, logits after each of them, the tokens that follow, and their text."""
    folder = shared / "fixtures" / family
    described = json.loads((folder / "expected.json").read_text())
    tensors = folder / "expected.safetensors"
    model = engine.load(folder)
    prompt = model.encode(described["prompt"])
    assert prompt == read_i64(tensors, "prompt_ids")
    logits = np.frombuffer(model.logits(prompt), "<f4").reshape(len(prompt), -1)
    assert np.abs(logits - read_f32(tensors, "logits")).max() < TOLERANCE
    greedy = read_i64(tensors, "greedy_ids")
    assert write(model.start(prompt, max_tokens=len(greedy))) == (described["greedy_text"], greedy, "length")


def test_story_is_the_one_on_the_card_when_written_greedily(shared: Path) -> None:
    """The trained model, its weights in half precision, tells the story that it was published with."""
    folder = shared / "models" / "stories-llama"
    model = engine.load(folder)
    text, _, finish = write(model.start([0, *model.encode("Mara was a")], max_tokens=200))
    assert "Mara was a" + text == json.loads((folder / "card.json").read_text())["sample"]
    assert finish == "stop"
