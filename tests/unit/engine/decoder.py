"""A tiny Llama or Qwen2 that a test can bend, and the same computed by numpy: slow, plain, and written after the papers."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tests.unit.engine.conftest import as_safetensors

SPECIALS = ["<s>", "</s>", "<|user|>"]


def byte_letters() -> list[str]:
    """The characters that stand for the 256 bytes in a byte-level vocabulary (GPT-2), in the order of the bytes."""
    plain = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte if byte in plain else next(others)) for byte in range(256)]


PIECES = [*SPECIALS, *byte_letters(), "Ġt", "he"]


def decoder_config(**changes: Any) -> dict[str, Any]:
    """Sizes that are no multiples of a vector, and three query heads for each head of keys."""
    config: dict[str, Any] = {
        "model_type": "llama",
        "hidden_size": 36,
        "num_hidden_layers": 2,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "head_dim": 10,
        "intermediate_size": 50,
        "vocab_size": len(PIECES) + 2,
        "max_position_embeddings": 600,
        "rms_norm_eps": 1e-5,
        "rope_theta": 1000.0,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "eos_token_id": 1,
    }
    return {**config, **changes}


def decoder_tokenizer() -> dict[str, Any]:
    """Byte-level BPE with two merges and three special tokens."""
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": i, "content": piece, "special": True} for i, piece in enumerate(SPECIALS)],
        "normalizer": None,
        "pre_tokenizer": level,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}},
        },
        "decoder": level,
        "model": {
            "type": "BPE",
            "vocab": {piece: i for i, piece in enumerate(PIECES)},
            "merges": [["Ġ", "t"], ["h", "e"]],
        },
    }


def decoder_shapes(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors, as published."""
    d, inner, width = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    q, kv = config["num_attention_heads"] * width, config["num_key_value_heads"] * width
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (config["vocab_size"], d),
        "model.norm.weight": (d,),
    }
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (config["vocab_size"], d)
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        for name, out in (("q_proj", q), ("k_proj", kv), ("v_proj", kv)):
            shapes[f"{at}self_attn.{name}.weight"] = (out, d)
            if config["model_type"] == "qwen2":
                shapes[f"{at}self_attn.{name}.bias"] = (out,)
        shapes[f"{at}self_attn.o_proj.weight"] = (d, q)
        shapes[f"{at}mlp.gate_proj.weight"] = shapes[f"{at}mlp.up_proj.weight"] = (inner, d)
        shapes[f"{at}mlp.down_proj.weight"] = (d, inner)
        shapes[f"{at}input_layernorm.weight"] = shapes[f"{at}post_attention_layernorm.weight"] = (d,)
    return shapes


@dataclass
class TinyDecoder:
    """The files of a model, to be bent and then written. `more` are further files, by name."""

    path: Path
    config: dict[str, Any] = field(default_factory=decoder_config)
    tokenizer: dict[str, Any] = field(default_factory=decoder_tokenizer)
    tensors: dict[str, np.ndarray] = field(default_factory=dict)
    more: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        random = np.random.default_rng(11)
        for name, shape in decoder_shapes(self.config).items():
            self.tensors[name] = (random.standard_normal(shape) * 0.3).astype(np.float32)

    def write(self, **kwargs: Any) -> Path:
        """Write the files; keyword arguments go to `as_safetensors`."""
        (self.path / "config.json").write_text(json.dumps(self.config))
        (self.path / "tokenizer.json").write_text(json.dumps(self.tokenizer))
        (self.path / "model.safetensors").write_bytes(as_safetensors(self.tensors, **kwargs))
        for name, text in self.more.items():
            (self.path / name).write_text(text)
        return self.path

    def logits(self, ids: list[int]) -> np.ndarray:
        """The logits after each id, in float64: [ids, vocab]."""
        weights = {name: values.astype(np.float64) for name, values in self.tensors.items()}
        hidden = weights["model.embed_tokens.weight"][ids]
        for layer in range(self.config["num_hidden_layers"]):
            own = {
                name.removeprefix(f"model.layers.{layer}."): values
                for name, values in weights.items()
                if name.startswith(f"model.layers.{layer}.")
            }
            hidden = hidden + self._attention(own, self._norm(hidden, own["input_layernorm.weight"]))
            normed = self._norm(hidden, own["post_attention_layernorm.weight"])
            gates = normed @ own["mlp.gate_proj.weight"].T
            values = normed @ own["mlp.up_proj.weight"].T
            hidden = hidden + (gates / (1 + np.exp(-gates)) * values) @ own["mlp.down_proj.weight"].T
        head = weights.get("lm_head.weight", weights["model.embed_tokens.weight"])
        return self._norm(hidden, weights["model.norm.weight"]) @ head.T

    def _norm(self, rows: np.ndarray, weight: np.ndarray) -> np.ndarray:
        return rows / np.sqrt((rows**2).mean(-1, keepdims=True) + self.config["rms_norm_eps"]) * weight

    def _attention(self, own: dict[str, np.ndarray], rows: np.ndarray) -> np.ndarray:
        width, heads, kv_heads = (self.config[k] for k in ("head_dim", "num_attention_heads", "num_key_value_heads"))
        n = len(rows)

        def project(name: str) -> np.ndarray:
            out = rows @ own[f"self_attn.{name}.weight"].T + own.get(f"self_attn.{name}.bias", 0.0)
            return out.reshape(n, -1, width).swapaxes(0, 1)

        def turn(x: np.ndarray) -> np.ndarray:
            steps = self.config["rope_theta"] ** (-np.arange(0, width, 2) / width)
            angles = np.concatenate([np.outer(np.arange(n), steps)] * 2, axis=1)
            half = np.concatenate([-x[..., width // 2 :], x[..., : width // 2]], axis=-1)
            return x * np.cos(angles) + half * np.sin(angles)

        queries, keys = turn(project("q_proj")), turn(project("k_proj")).repeat(heads // kv_heads, 0)
        values = project("v_proj").repeat(heads // kv_heads, 0)
        scores = queries @ keys.swapaxes(1, 2) / np.sqrt(width) + np.triu(np.full((n, n), -np.inf), 1)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        context = (weights / weights.sum(-1, keepdims=True)) @ values
        return context.swapaxes(0, 1).reshape(n, -1) @ own["self_attn.o_proj.weight"].T
