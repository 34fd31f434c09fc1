"""What `embed` accepts, refuses and promises."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.engine.conftest import Run, TinyModel

engine = pytest.importorskip("wickguard_engine")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The tiny model: 40 tokens at most, of which two are special."""
    return engine.load(TinyModel(tmp_path_factory.mktemp("tiny")).write())


def rows(result: Any) -> np.ndarray:
    """The vectors of a result."""
    return np.frombuffer(result.data, "<f4").reshape(len(result.tokens), -1)


def test_vectors_are_the_same_when_texts_of_all_lengths_share_a_call(model: Any) -> None:
    """Ragged batches have no padding that could leak: batch equals singles."""
    texts = ["abcdefgh"[: i % 8] * (1 + i % 5) for i in range(64)]
    together = rows(model.embed(texts))
    alone = np.concatenate([rows(model.embed([text])) for text in texts])
    assert np.abs(together - alone).max() <= 1e-5


def test_a_call_is_split_into_passes_when_it_has_more_rows_than_one(model: Any) -> None:
    """Thousands of rows give the vectors of one."""
    many = rows(model.embed(["abc def"] * 300))
    assert np.abs(many - many[0]).max() <= 1e-6


def test_a_text_is_refused_with_index_and_limit_when_it_is_too_long(model: Any) -> None:
    """38 letters are 40 tokens and pass; 39 do not, unless they may be cut."""
    assert model.embed(["a" * 38]).tokens == [40]
    with pytest.raises(engine.BadShape, match=r"input 1 has more than 40 tokens .* limit is 40"):
        model.embed(["a", "a" * 39])
    cut = model.embed(["a" * 99], truncate=True)
    assert cut.tokens == [40]
    assert np.abs(rows(cut) - rows(model.embed(["a" * 38]))).max() < 1e-6


def test_ids_are_refused_when_they_do_not_fit_the_model(model: Any) -> None:
    """Too many, outside the vocabulary, negative, too large for any: BadShape with what was seen."""
    with pytest.raises(engine.BadShape, match="input 0 has 41 tokens"):
        model.embed([[4] * 39])
    assert model.embed([[4] * 39], truncate=True).tokens == [40]
    vocab = model.spec.vocab
    for bad in (vocab, -1, 2**32, 2**80):
        with pytest.raises(engine.BadShape, match="token id"):
            model.embed([[4], [4, bad]])


def test_ids_stand_for_text_when_they_are_its_tokens(model: Any) -> None:
    """The special tokens are put around ids as around text; mixed inputs keep their order."""
    mixed = model.embed(["ab", [4, 32]])
    assert mixed.tokens == [4, 4]
    assert np.abs(rows(mixed)[0] - rows(mixed)[1]).max() < 1e-6


def test_nothing_is_refused_clearly_when_there_is_nothing(model: Any) -> None:
    """No inputs is BadShape; an empty text or list is a text of special tokens."""
    with pytest.raises(engine.BadShape, match="no inputs"):
        model.embed([])
    assert model.embed(["", []]).tokens == [2, 2]


@pytest.mark.parametrize("inputs", ["abc", None, [1], [None], [b"abc"], [["a"]], [[1.5]], [[[4]]], ("abc",), {"a": 1}])
def test_a_type_error_comes_when_inputs_are_of_another_type(model: Any, inputs: object) -> None:
    """Never a panic, never a guess."""
    with pytest.raises(TypeError):
        model.embed(inputs)


def test_a_lone_surrogate_is_bad_shape_when_it_is_in_a_text(model: Any) -> None:
    """Python strings can hold what UTF-8 can't."""
    with pytest.raises(engine.BadShape, match="input 1"):
        model.embed(["a", "\ud800"])


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=4))
def test_every_text_has_a_unit_vector_when_it_is_any_unicode(model: Any, texts: list[str]) -> None:
    """Also control characters, unassigned ones and empty texts; and tokens stay within the promised expansion."""
    result = model.embed(texts, truncate=True)
    assert np.abs(np.linalg.norm(rows(result), axis=1) - 1).max() < 1e-4
    for text, tokens in zip(texts, result.tokens, strict=True):
        assert tokens <= model.spec.token_expansion * len(text.encode()) + model.spec.special_tokens
    assert not engine.panicked()


def test_cancel_stops_calls_until_it_is_cleared_when_it_was_called(model: Any) -> None:
    """The flag stays until it is cleared."""
    engine.cancel()
    try:
        for _ in range(2):
            with pytest.raises(engine.Cancelled):
                model.embed(["abc"])
    finally:
        engine.clear_cancel()
    assert model.embed(["abc"]).tokens == [5]


def test_a_running_call_ends_early_when_a_signal_cancels_it(minilm: Path, run: Run) -> None:
    """The native handler acts within the call: what took 20 units of CPU is stopped after about one."""
    program = """
import resource, signal, sys
import wickguard_engine as engine
model = engine.load(sys.argv[1])
def cpu():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
start = cpu(); model.embed(["the"] * 64); unit = cpu() - start
texts = ["the"] * 64 * 400
start = cpu(); model.embed(texts[:64 * 20]); whole = cpu() - start
engine.cancel_on_signal(signal.SIGPROF)
signal.setitimer(signal.ITIMER_PROF, max(unit, 0.01))
start = cpu()
try:
    model.embed(texts)
except engine.Cancelled:
    used = cpu() - start
    assert used < whole, (used, whole)
    print("cancelled")
"""
    done = run(program, minilm)
    assert done.stdout.strip() == "cancelled", done.stderr


def test_other_threads_run_when_a_call_computes(minilm: Path) -> None:
    """The interpreter lock is released: a second thread's counter moves while embed is inside the engine."""
    big = engine.load(minilm)
    go, stop = threading.Event(), threading.Event()
    ticks = [0]

    def count() -> None:
        go.wait()
        while not stop.is_set():
            ticks[0] += 1

    thread = threading.Thread(target=count)
    thread.start()
    try:
        go.set()
        before = ticks[0]
        big.embed(["harbor silver " * 100] * 4)
        moved = ticks[0] - before
    finally:
        stop.set()
        thread.join()
    # Held throughout, the lock would let the other thread in for one slice before and one after at most; a slice of
    # 5 ms is some 10^5 rounds at the very most, while the call takes hundreds of slices.
    assert moved > 1000


def test_one_thread_is_all_there_is_when_a_model_loads_and_embeds(minilm: Path, run: Run) -> None:
    """No pool starts, at load or in the largest call: what a fork and a seccomp filter need."""
    program = """
import sys
import wickguard_engine as engine
def threads():
    return int(next(l for l in open("/proc/self/status") if l.startswith("Threads")).split()[1])
assert threads() == 1
model = engine.load(sys.argv[1]); assert threads() == 1, "load started a thread"
model.embed(["harbor silver " * 300] * 9, truncate=True); assert threads() == 1, "embed started a thread"
print("one")
"""
    done = run(program, minilm)
    assert done.stdout.strip() == "one", done.stderr


def test_peak_bytes_bounds_the_ledger_when_calls_of_many_shapes_are_made(minilm: Path) -> None:
    """The analytic peak is never below the measured one, and not far above where it matters."""
    big = engine.load(minilm)
    for lengths in [[1], [16], [128] * 8, [510], [510] * 4, [1] * 600, [3, 500, 20] * 5]:
        inputs = [[2000] * n for n in lengths]
        base = engine.ledger().current
        engine.reset_peak()
        tokens = big.embed(inputs).tokens
        measured = engine.ledger().peak - base
        bound = big.peak_bytes(sum(tokens), max(tokens))
        assert measured <= bound, (lengths[:3], measured, bound)
        if sum(tokens) > 128:
            assert bound < 2 * measured, (lengths[:3], measured, bound)
        assert engine.ledger().current == base


def test_flops_are_those_of_the_matrices_when_lengths_are_given(minilm: Path) -> None:
    """Twelve d^2 multiply-adds per token and layer, and two n^2 d per text."""
    big = engine.load(minilm)
    assert big.flops([128]) == 6 * (2 * 12 * 384 * 384 * 128 + 4 * 128 * 128 * 384)
    assert big.flops([128, 128]) == 2 * big.flops([128])
    assert big.flops([]) == 0


def test_cost_does_not_grow_with_the_text_when_only_its_beginning_counts(minilm: Path) -> None:
    """A megabyte that may be cut, or that is refused, takes no more memory than its first tokens."""
    big = engine.load(minilm)
    for text in ["harbor silver " * 100_000, "é" * 1_000_000, "界" * 300_000]:
        base = engine.ledger().current
        engine.reset_peak()
        big.embed([text], truncate=True)
        assert engine.ledger().peak - base <= big.peak_bytes(512, 512)


def test_shorter_texts_find_room_when_they_share_a_call_with_a_longer_one(minilm: Path) -> None:
    """A shorter text is worked on in larger blocks, so it may need more scratch than the longest."""
    big = engine.load(minilm)
    for longest in (189, 266, 294, 340, 512):
        together = big.embed([[2000] * (longest - 2), *([2000] * (longest - 2 - step) for step in range(1, 90, 4))])
        assert together.tokens[0] == longest
