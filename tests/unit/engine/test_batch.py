"""Answers that are written together: each is what it would be alone, whoever is beside it, and they take no more memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.parity.test_generation import read_i64
from tests.unit.engine.conftest import Run
from tests.unit.engine.decoder import TinyDecoder, decoder_config

engine = pytest.importorskip("wickguard_engine")

Written = tuple[str, list[int], str | None]

# Prompts and answers of all lengths, greedy and drawn, with penalties and a stop string.
ASKED: list[tuple[list[int], dict[str, Any]]] = [
    ([3, 4, 5], {"max_tokens": 9}),
    ([7] * 300, {"max_tokens": 40, "temperature": 1.0, "seed": 1}),
    ([9], {"max_tokens": 1}),
    (list(range(3, 80)), {"max_tokens": 60, "temperature": 2.0, "seed": 2, "top_p": 0.9, "top_k": 40}),
    ([11, 12], {"max_tokens": 25, "repetition_penalty": 1.5, "frequency_penalty": 0.5, "ignore_end": True}),
    ([3, 4, 5], {"max_tokens": 30, "temperature": 1.5, "seed": 3, "stop": ["e", "0"]}),
    ([3, 4, 5], {"max_tokens": 30, "temperature": 1.5, "seed": 4}),
    ([20] * 40, {"max_tokens": 50, "temperature": 0.7, "seed": 5}),
]


def load(path: Path) -> engine.Generator:
    """The model at a path, known to be one that writes."""
    model = engine.load(path)
    assert isinstance(model, engine.Generator)
    return model


def alone(model: engine.Generator, prompt: list[int], asked: dict[str, Any]) -> Written:
    """Text, ids and finish reason of an answer that has the model to itself."""
    session, written = model.start(prompt, **asked), ("", list[int](), None)
    while written[2] is None:
        step = session.step()
        written = (written[0] + step.text, [*written[1], step.id], step.finish)
    return written


def together(model: engine.Generator, asked: list[tuple[list[int], dict[str, Any]]]) -> list[Written]:
    """The same of answers in one batch."""
    sessions = [model.start(prompt, in_batch=True, **more) for prompt, more in asked]
    batch = engine.Batch(sessions)
    written: list[Written] = [("", [], None) for _ in asked]
    while steps := batch.step():
        for index, step in steps:
            text, ids, finish = written[index]
            assert finish is None
            written[index] = (text + step.text, [*ids, step.id], step.finish)
    assert [(s.prompt_tokens, s.completion_tokens) for s in sessions] == [
        (len(prompt), len(ids)) for (prompt, _), (_, ids, _) in zip(asked, written, strict=True)
    ]
    return written


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_every_answer_is_what_it_is_alone_when_eight_are_written_together(
    tmp_path: Path, kind: str, tied: bool
) -> None:
    """Text, ids and reason, whatever the others ask for and whenever they end; in any order."""
    model = load(TinyDecoder(tmp_path, config=decoder_config(model_type=kind, tie_word_embeddings=tied)).write())
    want = [alone(model, prompt, asked) for prompt, asked in ASKED]
    assert together(model, ASKED) == want
    assert together(model, ASKED[::-1]) == want[::-1]
    assert [together(model, [one]) for one in ASKED] == [[one] for one in want]
    assert len({len(ids) for _, ids, _ in want}) > 4


@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_greedy_tokens_are_the_references_when_others_are_written_beside(shared: Path, family: str) -> None:
    """The ids that the reference library computed for one prompt, whoever comes along."""
    folder = shared / "fixtures" / family
    tensors = folder / "expected.safetensors"
    model = load(folder)
    prompt, greedy = read_i64(tensors, "prompt_ids"), read_i64(tensors, "greedy_ids")
    asked: list[tuple[list[int], dict[str, Any]]] = [
        (prompt, {"max_tokens": len(greedy)}),
        (prompt[:3], {"max_tokens": 2 * len(greedy), "temperature": 1.0, "seed": 1}),
        (prompt, {"max_tokens": len(greedy)}),
    ]
    written = together(model, asked)
    assert written[0][1] == written[2][1] == greedy


def test_a_batch_takes_no_more_than_its_answers_alone_when_it_is_measured(tmp_path: Path) -> None:
    """All of it before the first step, under the sum of the bounds of its members; and all of it is given back."""
    model = load(TinyDecoder(tmp_path).write())
    alone_bytes = sum(model.peak_bytes(len(prompt), asked["max_tokens"]) for prompt, asked in ASKED)
    before = engine.ledger().current
    engine.reset_peak()
    sessions = [model.start(prompt, in_batch=True, **asked) for prompt, asked in ASKED]
    batch = engine.Batch(sessions)
    started = engine.ledger().current
    while batch.step():
        pass
    assert engine.ledger().peak - before <= alone_bytes
    # What lasts is the text that is held back for stop strings.
    assert engine.ledger().current - started < 4096 * len(ASKED)
    del sessions, batch
    assert engine.ledger().current == before


def test_a_batch_is_refused_when_its_sessions_do_not_fit_together(tmp_path: Path) -> None:
    """None at all, one twice, several models; and a session in a batch has no steps of its own."""
    path = TinyDecoder(tmp_path).write()
    model = load(path)
    one = model.start([3], max_tokens=2, in_batch=True)
    with pytest.raises(engine.BadShape, match="has 0 answers"):
        engine.Batch([])
    with pytest.raises(engine.BadShape, match="more than once"):
        engine.Batch([one, one])
    with pytest.raises(engine.BadShape, match="one model"):
        engine.Batch([one, load(path).start([3], max_tokens=2, in_batch=True)])
    with pytest.raises(engine.BadShape, match="part of a batch"):
        one.step()


def test_all_answers_are_over_when_a_step_of_theirs_fails(tmp_path: Path) -> None:
    """Damaged weights are found at the first prompt; what has not begun goes on until it meets them too."""
    decoder = TinyDecoder(tmp_path)
    decoder.tensors["model.norm.weight"][0] = np.nan
    model = load(decoder.write())
    batch = engine.Batch([model.start([3, 4], max_tokens=3, in_batch=True) for _ in range(2)])
    for _ in range(2):
        with pytest.raises(engine.BadWeights, match="weights are damaged"):
            batch.step()
    assert batch.step() == []
    assert not engine.panicked()


def test_a_batch_stops_between_two_layers_when_it_is_cancelled(run: Run, tmp_path: Path) -> None:
    """A cancel before a step ends all of its answers, and those of another batch go on."""
    program = """
import sys
import wickguard_engine as engine
model = engine.load(sys.argv[1])
def batch():
    made = engine.Batch([model.start([5] * 9, max_tokens=4, ignore_end=True, in_batch=True) for _ in range(3)])
    for _ in range(3):
        made.step()
    return made
one, other = batch(), batch()
one.step()
engine.cancel()
try:
    one.step()
except engine.Cancelled:
    print("cancelled")
engine.clear_cancel()
print(one.step(), [step.finish for _ in range(3) for _, step in other.step()][-3:])
"""
    done = run(program, TinyDecoder(tmp_path).write())
    assert done.stdout.split("\n")[:2] == ["cancelled", "[] ['length', 'length', 'length']"], done.stdout + done.stderr
