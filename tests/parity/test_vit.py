"""Image classifiers as this engine computes them against what the reference libraries computed."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

engine = pytest.importorskip("wickguard_engine")

TOLERANCE = 1e-4


def logits(raw: bytes, classes: int = 10) -> np.ndarray:
    """Rows of logits."""
    return np.frombuffer(raw, "<f4").reshape(-1, classes)


def encoded(pixels: np.ndarray, kind: str = "PNG", **how: object) -> bytes:
    """A picture file of grey or coloured pixels."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **how)
    return file.getvalue()


def test_logits_match_the_reference_when_prepared_pixels_are_sent(shared: Path) -> None:
    """Every logit is within the tolerance, together and alone."""
    expected = load_file(shared / "fixtures" / "vit" / "expected.safetensors")
    model = engine.load(shared / "fixtures" / "vit")
    got = logits(model.classify_pixels(expected["pixel_values"].tobytes()))
    assert np.abs(got - expected["logits"]).max() <= TOLERANCE
    alone = [logits(model.classify_pixels(one.tobytes())) for one in expected["pixel_values"]]
    assert np.array_equal(np.concatenate(alone), got)


def test_digits_are_recognised_as_published_when_sent_as_pictures(shared: Path) -> None:
    """8 x 8 grey PNGs, resized by the engine: as many of the 64 samples as the published accuracy makes likely."""
    folder = shared / "models" / "digits-vit"
    samples = load_file(folder / "samples.safetensors")
    model = engine.load(folder)
    pictures = [encoded(np.round(image[0] * 255).astype(np.uint8)) for image in samples["images_8x8"]]
    found = logits(model.classify(pictures, max_pixels=64)).argmax(1)
    published = json.loads((folder / "card.json").read_text())["test_accuracy"]
    # 63 of 64 here. Two fewer than expected of the published rate would already be one error in twenty runs.
    assert (found == samples["labels"]).sum() >= round(published * 64) - 1


@pytest.mark.parametrize("size", [(32, 32), (8, 8), (31, 97), (200, 120), (5, 300), (1, 1), (640, 480)])
def test_pictures_are_prepared_as_pillow_does_when_resized(shared: Path, size: tuple[int, int]) -> None:
    """The logits are those of pixels that Pillow resized, columns first, bit for bit."""
    model = engine.load(shared / "models" / "digits-vit")
    pixels = np.random.default_rng(sum(size)).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    narrow = Image.fromarray(pixels).resize((32, size[1]), Image.Resampling.BILINEAR)
    small = np.asarray(narrow.resize((32, 32), Image.Resampling.BILINEAR), dtype=np.float32)
    values = (small * np.float32(1 / 255) - np.float32(0.5)) / np.float32(0.5)
    prepared = np.ascontiguousarray(values.transpose(2, 0, 1))
    mine = model.classify([encoded(pixels)], max_pixels=pixels.size)
    assert np.array_equal(logits(mine), logits(model.classify_pixels(prepared.tobytes())))


def test_crop_is_pillows_middle_when_the_processor_says_so(shared: Path, tmp_path: Path) -> None:
    """Shortest edge to 40 by the bicubic filter, then the middle 32 x 32: as ConvNextImageProcessor does."""
    for file in (shared / "models" / "digits-vit").iterdir():
        (tmp_path / file.name).symlink_to(file)
    says = {"size": {"shortest_edge": 32}, "crop_pct": 0.8, "resample": 3, "image_mean": [0.4, 0.5, 0.6]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(says | {"image_std": [0.2, 0.3, 0.4]}))
    model = engine.load(tmp_path)
    for width, height in [(90, 60), (33, 150), (40, 40)]:
        pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
        short = min(width, height)
        wide, high = width * 40 // short, height * 40 // short
        narrow = Image.fromarray(pixels).resize((wide, height), Image.Resampling.BICUBIC)
        resized = narrow.resize((wide, high), Image.Resampling.BICUBIC)
        left, top = (resized.width - 32) // 2, (resized.height - 32) // 2
        small = np.asarray(resized.crop((left, top, left + 32, top + 32)), dtype=np.float32) * np.float32(1 / 255)
        values = (small - np.float32([0.4, 0.5, 0.6])) / np.float32([0.2, 0.3, 0.4])
        prepared = np.ascontiguousarray(values.transpose(2, 0, 1)).tobytes()
        mine = logits(model.classify([encoded(pixels)], max_pixels=pixels.size))
        assert np.abs(mine - logits(model.classify_pixels(prepared))).max() <= 1e-5


def test_weights_are_found_when_spelled_as_transformers_4_did(shared: Path, tmp_path: Path) -> None:
    """The same numbers under the older names give the same logits."""
    from safetensors.numpy import save_file  # noqa: PLC0415

    old = {
        "vit.layers.": "vit.encoder.layer.",
        "attention.q_proj": "attention.attention.query",
        "attention.k_proj": "attention.attention.key",
        "attention.v_proj": "attention.attention.value",
        "attention.o_proj": "attention.output.dense",
        "mlp.fc1": "intermediate.dense",
        "mlp.fc2": "output.dense",
    }
    folder = shared / "fixtures" / "vit"
    renamed = {}
    for name, value in load_file(folder / "model.safetensors").items():
        for new, older in old.items():
            name = name.replace(new, older)  # noqa: PLW2901
        renamed[name] = value
    save_file(renamed, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    pixels = load_file(folder / "expected.safetensors")["pixel_values"].tobytes()
    assert engine.load(tmp_path).classify_pixels(pixels) == engine.load(folder).classify_pixels(pixels)
