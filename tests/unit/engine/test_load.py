"""What the engine refuses to load, and how it says so."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.engine.conftest import TinyModel, as_safetensors, tensor_shapes

engine = pytest.importorskip("wickguard_engine")


def refused(path: Path, kind: type[Exception], *words: str, **kwargs: Any) -> str:
    """Load and return the message of the refusal, which must hold the words."""
    with pytest.raises(kind) as caught:
        engine.load(path, **kwargs)
    message = str(caught.value)
    assert all(word in message for word in words), message
    return message


def test_a_sound_model_loads_when_its_sizes_fit_no_vector(tiny: TinyModel) -> None:
    """The tiny model has ragged edges everywhere and still gives finite unit vectors."""
    model = engine.load(tiny.write())
    spec = model.spec
    assert (spec.layers, spec.hidden, spec.heads, spec.intermediate) == (2, 36, 3, 50)
    assert (spec.max_tokens, spec.dimensions, spec.special_tokens, spec.architecture) == (40, 36, 2, "bert")
    assert spec.parameters == sum(np.prod(shape) for shape in tensor_shapes(tiny.config).values())
    vectors = np.frombuffer(model.embed(["abc", "xyz abc."]).data, "<f4").reshape(2, 36)
    assert np.abs(np.linalg.norm(vectors, axis=1) - 1).max() < 1e-5


@pytest.mark.parametrize("change", [{"pad": 1}, {"pad": 2}, {"prefix": "bert."}])
def test_the_same_vectors_come_out_when_the_file_is_laid_out_otherwise(
    tiny: TinyModel, tmp_path: Path, change: dict[str, Any]
) -> None:
    """Tensors off their alignment are copied, names with a prefix are found: nothing else changes."""
    want = engine.load(tiny.write()).embed(["abc"]).data
    other = tmp_path / "other"
    shutil.copytree(tmp_path, other, ignore=shutil.ignore_patterns("other"))
    named = {change.get("prefix", "") + name: values for name, values in tiny.tensors.items()}
    (other / "model.safetensors").write_bytes(as_safetensors(named, pad=change.get("pad", 0)))
    assert engine.load(other).embed(["abc"]).data == want


def test_half_precision_is_converted_when_the_file_has_it(tiny: TinyModel) -> None:
    """F16 weights give nearly the vectors of the F32 ones."""
    want = np.frombuffer(engine.load(tiny.write()).embed(["abc"]).data, "<f4")
    got = np.frombuffer(engine.load(tiny.write(dtype="F16")).embed(["abc"]).data, "<f4")
    assert np.abs(got - want).max() < 1e-2


@pytest.mark.parametrize(
    ("field", "value", "kind", "word"),
    [
        ("max_position_embeddings", 2**40, "BadWeights", "max_position_embeddings"),
        ("max_position_embeddings", 41, "BadWeights", "position_embeddings.weight"),
        ("hidden_size", 2**62, "BadWeights", "hidden_size"),
        ("hidden_size", 0, "BadWeights", "hidden_size"),
        ("hidden_size", -36, "BadWeights", "config.json"),
        ("hidden_size", 72, "BadWeights", "shape"),
        ("num_attention_heads", 5, "BadWeights", "num_attention_heads"),
        ("num_hidden_layers", 3, "BadWeights", "encoder.layer.2"),
        ("num_hidden_layers", 2**32, "BadWeights", "num_hidden_layers"),
        ("layer_norm_eps", float("nan"), "BadWeights", "config.json"),
        ("layer_norm_eps", -1.0, "BadWeights", "layer_norm_eps"),
        ("layer_norm_eps", 1e300, "BadWeights", "layer_norm_eps"),
        ("vocab_size", 2**63, "BadWeights", "vocab_size"),
        ("hidden_act", "relu", "Unsupported", "hidden_act"),
        ("hidden_act", {"elu": 1}, "Unsupported", "hidden_act"),
        ("model_type", "mamba", "Unsupported", "model_type"),
        ("model_type", None, "Unsupported", "model_type"),
        ("position_embedding_type", "relative_key", "Unsupported", "position_embedding_type"),
        ("is_decoder", True, "Unsupported", "is_decoder"),
    ],
)
def test_a_config_is_refused_by_field_when_it_is_not_sound(
    tiny: TinyModel, field: str, value: object, kind: str, word: str
) -> None:
    """The message names the file or tensor and the field."""
    tiny.config[field] = value
    refused(tiny.write(), getattr(engine, kind), word)


def test_weights_are_refused_when_the_file_is_cut(tiny: TinyModel) -> None:
    """A download that stopped half-way, at any place, is BadWeights."""
    whole = as_safetensors(tiny.tensors)
    for length in [0, 1, 7, 8, 9, 100, len(whole) // 2, len(whole) - 1]:
        path = tiny.write()
        (path / "model.safetensors").write_bytes(whole[:length])
        refused(path, engine.BadWeights, "model.safetensors")


@pytest.mark.parametrize("size", [2**24 + 1, 2**32, 2**63, 2**64 - 1])
def test_weights_are_refused_when_the_header_says_it_is_huge(tiny: TinyModel, size: int) -> None:
    """The length of the header is compared before anything is read by it."""
    tiny.weights = size.to_bytes(8, "little") + b"{}"
    refused(tiny.write(), engine.BadWeights, "header", str(size))


def test_weights_are_refused_when_a_tensor_has_another_shape(tiny: TinyModel) -> None:
    """Same number of values, other shape: named with both shapes."""
    name = "encoder.layer.1.intermediate.dense.weight"
    tiny.tensors[name] = tiny.tensors[name].T.copy()
    refused(tiny.write(), engine.BadWeights, name, "[36, 50]", "[50, 36]")


def test_weights_are_refused_when_offsets_lie(tiny: TinyModel) -> None:
    """Offsets that overlap, run backwards or beyond the file never become a read."""
    whole = as_safetensors(tiny.tensors)
    length = int.from_bytes(whole[:8], "little")
    name = "embeddings.word_embeddings.weight"
    for offsets in [[0, 2**63], [2**64 - 4, 2**64], [100, 0], [4, 8]]:
        header = json.loads(whole[8 : 8 + length])
        header[name]["data_offsets"] = offsets
        text = json.dumps(header).encode()
        tiny.weights = len(text).to_bytes(8, "little") + text + whole[8 + length :]
        refused(tiny.write(), engine.BadWeights, "model.safetensors")


def test_integers_are_refused_when_weights_should_be_floats(tiny: TinyModel) -> None:
    """A type that is not read is Unsupported, by tensor."""
    tiny.weights = as_safetensors(tiny.tensors).replace(b'"F32"', b'"I32"')
    refused(tiny.write(), engine.Unsupported, "I32")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_missing_file_is_named_when_a_model_is_loaded(tiny: TinyModel, name: str) -> None:
    """No bare operating-system error."""
    path = tiny.write()
    (path / name).unlink()
    refused(path, engine.BadWeights, name)


def test_loading_is_refused_with_the_need_when_memory_is_too_little(minilm: Path) -> None:
    """The computed need is in the message, is honest (enough to load under), and comes before any allocation."""
    before = engine.ledger().current
    engine.reset_peak()
    message = refused(minilm, engine.OutOfMemory, "needs", memory_limit=30 << 20)
    assert engine.ledger().peak - before < 4 << 20
    need = int(message.split("needs ")[1].split()[0])
    assert 42 << 20 < need < 64 << 20
    engine.reset_peak()
    model = engine.load(minilm, memory_limit=need)
    assert engine.ledger().peak - before <= need
    del model
    assert engine.ledger().current <= before + 4096


def test_the_computed_need_is_enough_when_the_vocabulary_has_the_shortest_pieces(tiny: TinyModel) -> None:
    """Short pieces take the most memory per byte of the file; the need must cover them too."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    short = (f"##{a}{b}{c}" for a in letters for b in letters for c in letters)
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(piece for piece, _ in zip(short, range(30_000), strict=False))]
    tiny.tokenizer["model"]["vocab"] = {piece: i for i, piece in enumerate(pieces)}
    tiny.config["vocab_size"] = len(pieces)
    tiny.tensors = {name: np.zeros(shape, np.float32) for name, shape in tensor_shapes(tiny.config).items()}
    path = tiny.write()
    (path / "tokenizer.json").write_text(json.dumps(tiny.tokenizer, separators=(",", ":")))
    need = int(refused(path, engine.OutOfMemory, "needs", memory_limit=1 << 16).split("needs ")[1].split()[0])
    before = engine.ledger().current
    engine.reset_peak()
    with pytest.raises(engine.OutOfMemory, match="needs") as caught:
        engine.load(path, memory_limit=need)
    whole = int(str(caught.value).split("needs ")[1].split()[0])
    engine.load(path, memory_limit=whole)
    # Less what does not grow with the file, which must not hide a factor that is too small.
    assert engine.ledger().peak - before <= whole - (1 << 19)


@pytest.mark.parametrize(
    ("path", "value", "kind", "word"),
    [
        (("model", "type"), "BPE", "Unsupported", "model.type"),
        (("model", "unk_token"), "absent", "BadWeights", "unk_token"),
        (("model", "vocab", "[UNK]"), 10**6, "BadWeights", "vocab_size"),
        (("normalizer", "type"), "NFKC", "Unsupported", "normalizer.type"),
        (("pre_tokenizer", "type"), "Whitespace", "Unsupported", "pre_tokenizer.type"),
        (("post_processor", "type"), "ByteLevel", "Unsupported", "post_processor.type"),
        (("added_tokens",), [{"id": 1, "content": "x", "special": False}], "Unsupported", "added_tokens"),
    ],
)
def test_a_tokenizer_is_refused_by_field_when_it_would_be_cut_otherwise(
    tiny: TinyModel, path: tuple[str, ...], value: object, kind: str, word: str
) -> None:
    """What can't be done exactly is not done at all."""
    at: Any = tiny.tokenizer
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    refused(tiny.write(), getattr(engine, kind), word)


def test_warnings_are_listed_when_the_tokenizer_file_is_unwise(tiny: TinyModel) -> None:
    """Unbounded words, truncation and padding in the file are each named."""
    tiny.tokenizer["model"]["max_input_chars_per_word"] = 10**9
    tiny.tokenizer["truncation"] = {"max_length": 8}
    tiny.tokenizer["padding"] = {"strategy": {"Fixed": 128}}
    model = engine.load(tiny.write())
    assert [next(w for w in ("max_input", "truncation", "padding") if w in text) for text in model.spec.warnings] == [
        "max_input",
        "truncation",
        "padding",
    ]
    assert model.embed(["abc"]).tokens == [5]
    assert model.embed(["q" * 200_000], truncate=True).tokens == [40]


def _mutations() -> st.SearchStrategy[list[tuple[int, int]]]:
    return st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), min_size=1, max_size=8)


@given(
    edits=_mutations(), which=st.sampled_from(["config.json", "model.safetensors", "tokenizer.json"]), cut=st.booleans()
)
def test_only_engine_errors_come_out_when_bytes_of_a_file_are_changed(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[int, int]], which: str, cut: bool
) -> None:
    """Whatever stands in the files: a model that works, or an EngineError, and never a panic."""
    path = TinyModel(tmp_path_factory.mktemp("bent")).write()
    raw = bytearray((path / which).read_bytes())
    # The beginning holds what matters: for weights the header with its length, which is most of these offsets.
    for at, value in edits:
        raw[at % min(len(raw), 8192)] = value
    (path / which).write_bytes(raw[: edits[0][0] % len(raw)] if cut else raw)
    try:
        model = engine.load(path, memory_limit=1 << 28)
        model.embed(["abc"], truncate=True)
    except engine.EngineError as error:
        assert not str(error).startswith("internal"), error
    assert not engine.panicked()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(data=st.data())
def test_only_engine_errors_come_out_when_a_field_is_replaced(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Any field of any of the three descriptions, replaced by any JSON."""
    tiny = TinyModel(tmp_path_factory.mktemp("bent"))
    whole = as_safetensors(tiny.tensors)
    length = int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8 : 8 + length])
    target: Any = data.draw(
        st.sampled_from(
            [
                tiny.config,
                tiny.tokenizer,
                tiny.tokenizer["model"],
                tiny.tokenizer["post_processor"],
                header,
                header["embeddings.LayerNorm.bias"],
            ]
        )
    )
    target[data.draw(st.sampled_from(sorted(target)))] = data.draw(JSON)
    text = json.dumps(header).encode()
    tiny.weights = len(text).to_bytes(8, "little") + text + whole[8 + length :]
    try:
        engine.load(tiny.write(), memory_limit=1 << 28).embed(["abc"], truncate=True)
    except engine.EngineError as error:
        assert not str(error).startswith("internal"), error
    assert not engine.panicked()
