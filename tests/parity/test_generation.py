"""Llama and Qwen2 as this engine computes them against what the reference library computed."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from tests.parity.test_minilm import read_f32

from wickguard.backend import LogitsPayload, LogitsResult
from wickguard.records import Cost

engine = pytest.importorskip("wickguard_engine")
from wickguard.workers.prepare import load  # noqa: E402  needs the engine

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


@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_raw_tensors_are_the_references_logits_when_a_worker_computes_them(shared: Path, family: str) -> None:
    """Both rows of a request, raw and in JSON: the same numbers to the last bit, and the reference's within the tolerance."""
    tensors = shared / "fixtures" / family / "expected.safetensors"
    prompt, model = read_i64(tensors, "prompt_ids"), load(str(shared / "fixtures" / family), None)
    ids, found = np.array([prompt, prompt], "<i8").tobytes(), []
    for encoding in ("raw", "json"):
        job = msgspec.msgpack.encode(LogitsPayload(ids, 2, encoding))
        result = model.run(job, Cost(60.0, 60.0, 1 << 30))
        assert isinstance(result, bytes)
        data = msgspec.msgpack.decode(result, type=LogitsResult).logits
        values = np.frombuffer(data, "<f4") if encoding == "raw" else np.array(json.loads(b"[" + data + b"]"), "<f4")
        found.append(values.reshape(2, len(prompt), -1))
    assert np.array_equal(found[0], found[1])
    assert np.abs(found[0] - read_f32(tensors, "logits")).max() < TOLERANCE


def test_story_is_the_one_on_the_card_when_written_greedily(shared: Path) -> None:
    """The trained model, its weights in half precision, tells the story that it was published with."""
    folder = shared / "models" / "stories-llama"
    model = engine.load(folder)
    text, _, finish = write(model.start([0, *model.encode("Mara was a")], max_tokens=200))
    assert "Mara was a" + text == json.loads((folder / "card.json").read_text())["sample"]
    assert finish == "stop"
