"""Pictures through the engine: what is opened, what is refused before pixels exist, and what a call takes."""

from __future__ import annotations

import contextlib
import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

engine = pytest.importorskip("wickguard_engine")

SIZES = [(64, 48), (600, 1000), (1500, 1200)]
KINDS = {
    "png": ("PNG", "RGB", {}),
    "png grey": ("PNG", "L", {}),
    "png alpha": ("PNG", "RGBA", {}),
    "png palette": ("PNG", "P", {}),
    "png 1 bit": ("PNG", "1", {}),
    "jpeg": ("JPEG", "RGB", {}),
    "jpeg grey": ("JPEG", "L", {}),
    "jpeg cmyk": ("JPEG", "CMYK", {}),
    "jpeg progressive": ("JPEG", "RGB", {"progressive": True, "subsampling": 0}),
    "webp": ("WEBP", "RGB", {}),
    "webp alpha": ("WEBP", "RGBA", {}),
    "webp lossless": ("WEBP", "RGB", {"lossless": True}),
}


def picture(size: tuple[int, int], kind: str) -> bytes:
    """A file of one of the kinds: a soft gradient with some noise, as photographs are."""
    container, mode, how = KINDS[kind]
    y, x = np.mgrid[0 : size[1], 0 : size[0]]
    noise = np.random.default_rng(1).integers(0, 24, (size[1], size[0]))
    grey = ((x * 200 // size[0] + y * 30 // size[1] + noise) % 256).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(np.stack([grey, grey[::-1], 255 - grey], -1)).convert(mode).save(file, container, **how)
    return file.getvalue()


def deep_png(size: tuple[int, int]) -> bytes:
    """Sixteen bits and four channels per pixel, which Pillow does not write."""
    lines = b"".join(b"\0" + bytes(8 * size[0]) for _ in range(size[1]))
    return png(struct.pack(">IIBBBBB", *size, 16, 6, 0, 0, 0), zlib.compress(lines))


def png(header: bytes, data: bytes) -> bytes:
    """A PNG of one header and one data chunk."""
    chunks = [(b"IHDR", header), (b"IDAT", data), (b"IEND", b"")]
    told = [struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d)) for t, d in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(told)


@pytest.fixture(scope="module")
def digits(shared: Path) -> engine.Classifier:
    """The demonstration classifier."""
    return engine.load(shared / "models" / "digits-vit")


def resnet(folder: Path, **changes: object) -> Path:
    """A small random ResNet in a folder."""
    config = {
        "model_type": "resnet",
        "embedding_size": 8,
        "hidden_sizes": [12, 16],
        "depths": [1, 2],
        "layer_type": "basic",
        "hidden_act": "relu",
        "id2label": {"0": "cat", "1": "dog", "2": "boat"},
    } | changes
    names: dict[str, tuple[int, ...]] = {}

    def conv(name: str, out: int, into: int, kernel: int) -> None:
        names[f"{name}.convolution.weight"] = (out, into, kernel, kernel)
        for part in ("weight", "bias", "running_mean", "running_var"):
            names[f"{name}.normalization.{part}"] = (out,)

    conv("resnet.embedder.embedder", 8, 3, 7)
    for stage, (into, out, depth) in enumerate([(8, 12, 1), (12, 16, 2)]):
        for layer in range(depth):
            at = f"resnet.encoder.stages.{stage}.layers.{layer}"
            conv(f"{at}.layer.0", out, into if layer == 0 else out, 3)
            conv(f"{at}.layer.1", out, out, 3)
            if layer == 0:
                conv(f"{at}.shortcut", out, into, 1)
    names |= {"classifier.1.weight": (3, 16), "classifier.1.bias": (3,)}
    random = np.random.default_rng(3)
    weights = {name: np.abs(random.standard_normal(shape)).astype(np.float32) for name, shape in names.items()}
    (folder / "config.json").write_text(json.dumps(config))
    save_file(weights, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_picture_is_classified_within_its_bound_when_it_is_of_any_kind(digits: engine.Classifier, kind: str) -> None:
    """The ledger's peak never passes the bound, for small pictures and for two megapixels."""
    for size in SIZES:
        file = picture(size, kind)
        base = engine.ledger().current
        engine.reset_peak()
        found = digits.classify([file], max_pixels=size[0] * size[1])
        peak = engine.ledger().peak - base
        assert peak <= digits.peak_bytes(1, len(file), size[1], size[0]), (kind, size, peak / size[0] / size[1])
        assert np.isfinite(np.frombuffer(found, "<f4")).all()
        assert engine.ledger().current == base


def test_deep_picture_is_classified_within_its_bound_when_it_has_64_bits_per_pixel(digits: engine.Classifier) -> None:
    """A black picture of sixteen bits is the same to the network as one of eight."""
    file = deep_png((900, 900))
    engine.reset_peak()
    base = engine.ledger().current
    found = digits.classify([file], max_pixels=900 * 900)
    assert engine.ledger().peak - base <= digits.peak_bytes(1, len(file), 900, 900)
    plain = io.BytesIO()
    Image.new("RGB", (900, 900)).save(plain, "PNG")
    assert found == digits.classify([plain.getvalue()], max_pixels=900 * 900)


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "webp lossless"])
def test_picture_is_refused_before_its_pixels_exist_when_it_is_larger_than_granted(
    digits: engine.Classifier, kind: str
) -> None:
    """Six megapixels where one was granted: BadShape, at the cost of the file."""
    file = picture((3000, 2000), kind)
    base = engine.ledger().current
    engine.reset_peak()
    with pytest.raises(engine.BadShape, match="3000 x 2000 pixels; 1 to 1000000 were granted"):
        digits.classify([file], max_pixels=1_000_000)
    assert engine.ledger().peak - base < 3 * len(file) + (1 << 20)


@pytest.mark.parametrize(
    ("file", "says"),
    [
        (b"", "neither"),
        (b"GIF89a" + bytes(40), "neither"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "neither"),
        (png(struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0), b""), "60000 x 60000"),
        (png(struct.pack(">IIBBBBB", 0, 5, 8, 2, 0, 0, 0), b""), "can't be read"),
        (picture((64, 48), "png")[:-200], "can't be read"),
        (picture((64, 48), "webp")[:60], "can't be read"),
        (picture((64, 48), "jpeg")[:20], "can't be read"),
        (bytes.fromhex("524946461a000000574542505650384c0d0000002f7ffe9f0f") + bytes(9), "16000 x 16000"),
    ],
)
def test_picture_is_refused_when_it_is_damaged_or_of_another_kind(
    digits: engine.Classifier, file: bytes, says: str
) -> None:
    """Each names the picture and what is wrong; the process lives on and has not panicked."""
    with pytest.raises(engine.BadShape, match=f"input 1: .*{says}"):
        digits.classify([picture((8, 8), "png"), file], max_pixels=1 << 20)
    assert not engine.panicked()


def test_every_cut_and_flipped_file_is_an_answer_or_bad_shape_when_sent(digits: engine.Classifier) -> None:
    """Three hundred damaged files: nothing else is raised, nothing panics, nothing is kept."""
    random = np.random.default_rng(5)
    base = engine.ledger().current
    for kind in KINDS:
        whole = picture((64, 48), kind)
        for _ in range(25):
            damaged = bytearray(whole[: random.integers(len(whole) // 4, len(whole) + 1)])
            for at in random.integers(0, len(damaged), 4):
                damaged[at] ^= 1 << int(random.integers(8))
            with contextlib.suppress(engine.BadShape):
                digits.classify([bytes(damaged)], max_pixels=1 << 16)
    assert not engine.panicked()
    assert engine.ledger().current == base


def test_pixels_are_refused_when_their_number_or_values_are_wrong(digits: engine.Classifier) -> None:
    """No picture, half a picture, three bytes too many, and a NaN."""
    one = np.zeros((3, 32, 32), np.float32)
    for values in (b"", one.tobytes()[:-4], one.tobytes() + bytes(3)):
        with pytest.raises(engine.BadShape):
            digits.classify_pixels(values)
    one[1, 2, 3] = np.nan
    with pytest.raises(engine.BadShape, match="not finite"):
        digits.classify_pixels(one.tobytes())
    with pytest.raises(TypeError):
        digits.classify(["text"], max_pixels=5)


def test_pixels_take_no_more_than_their_bound_when_there_are_many(digits: engine.Classifier) -> None:
    """The bound grows with the pixels handed in, not with the network's workspace."""
    for count in (1, 7, 64):
        values = np.random.default_rng(2).standard_normal((count, 3, 32, 32)).astype(np.float32).tobytes()
        base = engine.ledger().current
        engine.reset_peak()
        digits.classify_pixels(values)
        peak, bound = engine.ledger().peak - base, digits.pixels_peak_bytes(count)
        assert peak <= bound < 2 * peak + (128 << 10)


def test_model_says_what_it_is_when_asked(digits: engine.Classifier, tmp_path: Path) -> None:
    """Task, labels, size; a ResNet takes its size from the processor's file or 224."""
    assert (digits.spec.task, digits.spec.architecture, digits.spec.dimensions) == ("classify", "vit", 10)
    assert digits.labels[3] == "LABEL_3"
    assert digits.size == (32, 32)
    assert digits.flops() > 4 * 65 * 2 * (4 * 64 * 64 + 2 * 64 * 128)
    folder = resnet(tmp_path)
    model = engine.load(folder)
    assert (model.spec.architecture, model.labels, model.size) == ("resnet", ["cat", "dog", "boat"], (224, 224))
    (folder / "preprocessor_config.json").write_text(json.dumps({"size": 40, "crop_pct": 0.875, "resample": 3}))
    small = engine.load(folder)
    assert small.size == (40, 40)
    base = engine.ledger().current
    engine.reset_peak()
    assert len(small.classify([picture((64, 48), "jpeg")], max_pixels=1 << 20)) == 12
    assert engine.ledger().peak - base <= small.peak_bytes(1, 4096, 48, 64)
    assert small.flops() < model.flops() / 20


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"hidden_act": "gelu"}, "Unsupported", "hidden_act"),
        ({"layer_type": "other"}, "Unsupported", "layer_type"),
        ({"num_channels": 1}, "Unsupported", "num_channels"),
        ({"depths": [1]}, "BadWeights", "depths and hidden_sizes"),
        ({"depths": [1, 3]}, "BadWeights", "layers.2.*missing"),
        ({"hidden_sizes": [12, 1 << 40]}, "BadWeights", "hidden_sizes"),
        ({"hidden_sizes": [12, 17]}, "BadWeights", "shape"),
        ({"id2label": {"0": "a", "2": "b"}}, "BadWeights", "id2label"),
    ],
)
def test_model_is_refused_when_its_configuration_does_not_fit(
    tmp_path: Path, changes: dict[str, object], error: str, says: str
) -> None:
    """The message names the field or the tensor."""
    with pytest.raises(getattr(engine, error), match=says):
        engine.load(resnet(tmp_path, **changes))


@pytest.mark.parametrize("network", ["vit", "resnet"])
def test_need_is_refused_before_it_is_taken_when_it_does_not_fit(shared: Path, tmp_path: Path, network: str) -> None:
    """The named need suffices, and nothing near it was allocated before the refusal; f16 weights are converted."""
    folder = shared / "models" / "digits-vit" if network == "vit" else resnet(tmp_path)
    need, model, base = 0, None, engine.ledger().current
    while model is None:
        engine.reset_peak()
        try:
            model = engine.load(folder, memory_limit=need)
        except engine.OutOfMemory as refused:
            assert engine.ledger().peak - base <= need + (64 << 10)
            found = int(str(refused).split()[2])
            assert found > need
            need = found
    assert model.spec.parameters * 4 < engine.ledger().peak - base <= need


def test_one_thread_is_all_there_is_when_pictures_and_series_are_worked_on(shared: Path, tmp_path: Path, run) -> None:  # noqa: ANN001
    """No pool starts at load or in a call, in the decoders least of all."""
    (tmp_path / "a.jpg").write_bytes(picture((3000, 2000), "jpeg progressive"))
    (tmp_path / "a.webp").write_bytes(picture((3000, 2000), "webp"))
    program = """
import sys
import wickguard_engine as engine
def threads():
    return int(next(l for l in open("/proc/self/status") if l.startswith("Threads")).split()[1])
shared, files, resnet = sys.argv[1:]
digits = engine.load(shared + "/models/digits-vit"); assert threads() == 1
other = engine.load(resnet); assert threads() == 1
series = engine.load(shared + "/models/series-chronos"); assert threads() == 1
for name in ("a.jpg", "a.webp"):
    for model in (digits, other):
        model.classify([open(files + "/" + name, "rb").read()], max_pixels=6000000); assert threads() == 1
series.forecast([bytes(4 * 192)] * 3, 32); assert threads() == 1
print("one")
"""
    (tmp_path / "resnet").mkdir()
    done = run(program, shared, tmp_path, resnet(tmp_path / "resnet"))
    assert done.stdout.strip() == "one", done.stderr


def test_call_ends_early_when_it_is_cancelled(digits: engine.Classifier, shared: Path) -> None:
    """Every kind of call looks at the flag before it does anything."""
    expected = load_file(shared / "fixtures" / "vit" / "expected.safetensors")["pixel_values"][:1]
    vit, series = engine.load(shared / "fixtures" / "vit"), engine.load(shared / "models" / "series-chronos")
    engine.cancel()
    try:
        for call in (
            lambda: digits.classify([picture((64, 48), "png")], max_pixels=1 << 20),
            lambda: vit.classify_pixels(expected.tobytes()),
            lambda: series.forecast([bytes(40)], 5),
        ):
            with pytest.raises(engine.Cancelled):
                call()
    finally:
        engine.clear_cancel()
