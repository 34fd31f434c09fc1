"""The cost file: written whole, read strictly, refused elsewhere."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.fakes import MINILM, SPEED

from wickguard.cost import store
from wickguard.cost.analytic import TextCost
from wickguard.cost.calibration import Calibrated, Quality
from wickguard.cost.curve import BANDS, Band, Curve
from wickguard.errors import ConfigError

MODEL = TextCost(MINILM, SPEED[MINILM.name])
HERE = store.Identity("sha256:ab12cd34ef567890", "0.1.0+feed", 1, "a processor")
CURVE = Curve(
    (1e-3, 2e-4, 1e-8, 0.025, 0.03), (1.1e-3, 2e-4, 0.0, 0.026, 0.03), (2e5, 0.9), 0.4,
    {kind: tuple(Band(name, from_s, 0.1, 0.2, 1 / 3) for name, from_s in BANDS) for kind in MODEL.kinds},
)  # fmt: skip
FOUND = Calibrated(CURVE, {"letter": 0.2, "wide": 1.1}, Quality(900, 0.05, 0.951, 0.02))


def content() -> store.CostFile:
    """A file as it is written."""
    return store.file_of("minilm", HERE, "2026-01-02T03:04:05Z", 4e10, (MODEL, FOUND))


def test_a_calibration_comes_back_when_its_file_is_read(tmp_path: Path) -> None:
    """To the last digit."""
    path = tmp_path / "deep" / "costs.json"
    store.save(path, content())
    found = store.load(path, HERE)
    assert found == content()
    assert found.calibrated(MODEL) == FOUND
    assert store.model_of(path) == "minilm"


def test_people_can_read_a_file_when_they_open_it(tmp_path: Path) -> None:
    """Indented JSON with names for everything."""
    path = tmp_path / "costs.json"
    store.save(path, content())
    text = path.read_text()
    assert text.count("\n") > 40
    assert json.loads(text)["cpu_s"]["giga-operation of products"] == 0.025
    assert json.loads(text)["identity"]["cpu"] == "a processor"


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"weights": "sha256:other"}, "another model"),
        ({"engine": "0.2.0+feed"}, "another engine build"),
        ({"threads": 2}, "another number of threads"),
        ({"cpu": "another processor"}, "another CPU"),
    ],
)
def test_a_file_is_refused_when_it_was_measured_elsewhere(tmp_path: Path, change: dict[str, Any], word: str) -> None:
    """With what differs, and what to do."""
    path = tmp_path / "costs.json"
    store.save(path, content())
    elsewhere = msgspec.structs.replace(HERE, **change)
    with pytest.raises(ConfigError, match=f"{path}.*{word}.*wickguard calibrate"):
        store.load(path, elsewhere)


def broken(change: Callable[[dict[str, Any]], object]) -> bytes:
    """The file with a change."""
    document = json.loads(msgspec.json.encode(content()))
    change(document)
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"\xff\xfe",
        broken(lambda document: document.update(format=99)),
        broken(lambda document: document.update(extra=1)),
        broken(lambda document: document["cpu_s"].update(call="cheap")),
        broken(lambda document: document.pop("bands")),
    ],
)
def test_a_file_is_refused_when_it_is_no_cost_file(tmp_path: Path, data: bytes) -> None:
    """Never half understood."""
    path = tmp_path / "costs.json"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=r"costs.json.*wickguard calibrate"):
        store.load(path, HERE)


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document["cpu_s"].pop("call"),
        lambda document: document["cpu_s"].update(call=-1.0),
        lambda document: document["peak_bytes"].pop("call"),
        lambda document: document["bands"].pop("text"),
        lambda document: document["bands"].update(text=[]),
        lambda document: document["bands"]["text"][0].update(from_s=0.5),
        lambda document: document["bands"]["text"][0].update(spread=0.0),
        lambda document: document["bands"]["text"][0].update(reserve=-0.1),
        lambda document: document.update(flops_per_s=0.0),
        lambda document: document["cpu_s"].update(dict.fromkeys(document["cpu_s"], 0.0)),
    ],
)
def test_a_calibration_is_refused_when_no_price_can_come_of_it(change: Callable[[dict[str, Any]], object]) -> None:
    """A file that somebody edited must not make calls free."""
    found = msgspec.json.decode(broken(change), type=store.CostFile)
    with pytest.raises(ConfigError, match="wickguard calibrate"):
        found.calibrated(MODEL)


def test_nothing_is_left_when_a_file_can_not_be_written(tmp_path: Path) -> None:
    """The directory's name is taken by a file."""
    (tmp_path / "costs").write_text("in the way")
    with pytest.raises(ConfigError, match="can't be written"):
        store.save(tmp_path / "costs" / "file.json", content())
    assert [path.name for path in tmp_path.iterdir()] == ["costs"]


def test_the_old_file_stays_when_the_new_one_can_not_be_encoded(tmp_path: Path) -> None:
    """It is replaced whole, or not at all."""
    path = tmp_path / "costs.json"
    store.save(path, content())
    with pytest.raises(ConfigError, match="can't be written"):
        store.save(path / "below", content())
    assert store.load(path, HERE) == content()
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("folder", "environment", "where"),
    [
        ("", {"HOME": "/home/a"}, "/home/a/.local/state/wickguard/costs"),
        ("", {"HOME": "/home/a", "XDG_STATE_HOME": "/state"}, "/state/wickguard/costs"),
        ("/etc/costs", {"HOME": "/home/a"}, "/etc/costs"),
    ],
)
def test_files_are_kept_apart_when_models_differ(folder: str, environment: dict[str, str], where: str) -> None:
    """By name and weights; a name can't climb out of the directory."""
    path = store.default_path(folder, "../org/model v2", HERE, environment)
    assert path.parent == Path(where)
    assert path.name == ".._org_model_v2-ab12cd34ef56.json"


def test_tail_is_finite_when_a_calibration_is_stored() -> None:
    """JSON knows no infinity."""
    assert all(math.isfinite(row.tail) for rows in content().bands.values() for row in rows)
