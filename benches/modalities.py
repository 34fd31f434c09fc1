"""Pictures and series per second: through the server, and in a loop in one process on the same engine.

Interleaved, one at a time, on an idle server, so that both see the same noise. The digits are the smallest model there is,
where the server's own milliseconds are nearly all; ViT-S/16 (22 million parameters, random weights: time does not depend on
them) and long forecasts are what people serve. Needs the demonstration models (../shared, or WICKGUARD_SHARED).
"""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import statistics
import struct
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import wickguard_engine as engine
from PIL import Image
from safetensors.numpy import save_file

from benches.client import Blocking
from benches.report import Report
from benches.server import bench_server

SHARED = Path(os.environ.get("WICKGUARD_SHARED", Path(__file__).resolve().parents[2] / "shared"))
SKIPPED_ROUNDS = 5
POINTS = 192


@dataclass(frozen=True, slots=True)
class Case:
    """A call, as a request and as a function in this process."""

    name: str
    request: bytes
    inside: Callable[[], object]
    rounds: int
    items: int = 1


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write benches/results/modalities.md")
    options = parser.parse_args()
    report = Report("modalities", "Pictures and series per second, against a loop in one process")
    with tempfile.TemporaryDirectory() as folder:
        small = vit_small(Path(folder) / "vit-small")
        models = [str(SHARED / "models" / "digits-vit"), str(small), str(SHARED / "models" / "series-chronos")]
        arguments = [word for model in models for word in ("--model", model)]
        with bench_server([], arguments=[*arguments, "--no-calibrate"]) as server:
            rows = [compare(case, Blocking(server.port)) for case in cases(*(engine.load(model) for model in models))]
    report.table("interleaved calls", ("input", "in process", "server", "server / in process", "added, p50"), rows)
    if options.write:
        report.write()


def cases(digits: engine.Classifier, small: engine.Classifier, series: engine.Forecaster) -> list[Case]:
    """What is compared."""
    found = []
    for name, model, size, kind, rounds in (
        ("digits-vit, 8 x 8 PNG", digits, (8, 8), "PNG", 300),
        ("digits-vit, 1024 x 768 JPEG", digits, (1024, 768), "JPEG", 100),
        ("ViT-S/16, 1024 x 768 JPEG", small, (1024, 768), "JPEG", 40),
        ("ViT-S/16, 2048 x 1536 WebP", small, (2048, 1536), "WEBP", 20),
    ):
        file, pixels = photo(size, kind), size[0] * size[1]
        target = f"/v1/classify?model={'digits-vit' if model is digits else 'vit-small'}"
        found.append(
            Case(name, post(target, f"image/{kind.lower()}", file),
                 lambda model=model, file=file, pixels=pixels: model.classify([file], max_pixels=pixels), rounds)  # type: ignore[misc]
        )  # fmt: skip
    for count, horizon, samples, rounds in ((1, 32, 20, 200), (8, 64, 100, 20)):
        values = [[math.sin(at / 3 + shift) for at in range(POINTS)] for shift in range(count)]
        packed = [struct.pack(f"<{POINTS}f", *one) for one in values]
        body = json.dumps({"series": values, "horizon": horizon, "num_samples": samples}).encode()
        found.append(
            Case(f"series-chronos, {count} x {POINTS} points, {horizon} steps, {samples} samples",
                 post("/v1/forecast", "application/json", body),
                 lambda packed=packed, horizon=horizon, samples=samples: series.forecast(packed, horizon, num_samples=samples),  # type: ignore[misc]
                 rounds, count)
        )  # fmt: skip
    return found


def compare(case: Case, client: Blocking) -> tuple[str, ...]:
    """One row."""
    inside, outside = [], []
    for number in range(case.rounds + SKIPPED_ROUNDS):
        start = time.perf_counter()
        case.inside()
        middle = time.perf_counter()
        status = client.ask(case.request)
        end = time.perf_counter()
        assert status == 200, status
        if number >= SKIPPED_ROUNDS:
            inside.append(middle - start)
            outside.append(end - middle)
    client.close()
    own, served = statistics.median(inside), statistics.median(outside)
    return (
        case.name, f"{case.items / own:.1f}/s", f"{case.items / served:.1f}/s", f"{own / served:.2f}",
        f"{(served - own) * 1e3:.2f} ms",
    )  # fmt: skip


def post(target: str, media: str, body: bytes) -> bytes:
    """A prepared request."""
    head = f"POST {target} HTTP/1.1\r\nhost: x\r\ncontent-type: {media}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def photo(size: tuple[int, int], kind: str) -> bytes:
    """Something that compresses as a photograph does: a few soft shapes and grain."""
    y, x = np.mgrid[0 : size[1], 0 : size[0]] / max(size)
    waves = [np.sin(9 * x + 4 * y), np.sin(5 * y - 7 * x), np.cos(11 * x * y)]
    grain = np.random.default_rng(0).normal(0, 4, (size[1], size[0], 3))
    pixels = np.stack(waves, -1) * 90 + 128 + grain
    file = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, kind)
    return file.getvalue()


def vit_small(folder: Path) -> Path:
    """ViT-S/16 with random weights."""
    d, inner, layers, classes = 384, 1536, 12, 1000
    shapes: dict[str, tuple[int, ...]] = {
        "vit.embeddings.cls_token": (1, 1, d), "vit.embeddings.position_embeddings": (1, 197, d),
        "vit.embeddings.patch_embeddings.projection.weight": (d, 3, 16, 16),
        "vit.embeddings.patch_embeddings.projection.bias": (d,), "vit.layernorm.weight": (d,), "vit.layernorm.bias": (d,),
        "classifier.weight": (classes, d), "classifier.bias": (classes,),
    }  # fmt: skip
    for layer in range(layers):
        parts = {f"attention.{name}_proj": (d, d) for name in "qkvo"} | {"mlp.fc1": (inner, d), "mlp.fc2": (d, inner)}
        for name, shape in parts.items():
            shapes |= {f"vit.layers.{layer}.{name}.weight": shape, f"vit.layers.{layer}.{name}.bias": shape[:1]}
        for name in ("layernorm_before", "layernorm_after"):
            shapes |= {f"vit.layers.{layer}.{name}.weight": (d,), f"vit.layers.{layer}.{name}.bias": (d,)}
    random = np.random.default_rng(0)
    weights = {name: random.normal(0, 0.02, shape).astype(np.float32) for name, shape in shapes.items()}
    folder.mkdir()
    save_file(weights, folder / "model.safetensors")
    config = {
        "model_type": "vit", "hidden_size": d, "num_hidden_layers": layers, "num_attention_heads": 6,
        "intermediate_size": inner, "image_size": 224, "patch_size": 16, "layer_norm_eps": 1e-12, "hidden_act": "gelu",
        "id2label": {str(index): f"class {index}" for index in range(classes)},
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    return folder


if __name__ == "__main__":
    main()
