"""A real calibration: a small sweep of the real model in the real cage, its file, and the prices that come of it."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

pytest.importorskip("wickguard_engine", reason="the engine is not built: run `make install`")

from tests.fakes import call_of

from wickguard.calibrate import Prices, calibrate_alone, find_prices, identify
from wickguard.cost import store
from wickguard.cost.calibration import CalibrationSettings
from wickguard.cost.curve import ASSUMED_SPREAD
from wickguard.errors import ConfigError
from wickguard.guard.price import Pricer
from wickguard.models import ModelSource, demo_models
from wickguard.policy.schema import Policy
from wickguard.records import Quote
from wickguard.workers.pool import Pool
from wickguard.workers.settings import ZygoteSpec

SOURCE = demo_models()[0]
TEXTS = ("A quiet morning by the river.", "Nothing happened, and then it rained for an hour.")


def policy_of(folder: Path) -> Policy:
    """A sweep of small calls that is over in seconds, and files in a folder of their own."""
    return Policy(calibration=CalibrationSettings(seconds=4.0, dearest_s=0.02, cost_dir=str(folder)))


async def prices_of(
    sources: Sequence[ModelSource], policy: Policy, files: Sequence[Path] = ()
) -> tuple[Prices, list[tuple[str, float]]]:
    """The prices that a server would start with, and how its progress bar moved."""
    pool = Pool([ZygoteSpec(name=source.name, path=str(source.path)) for source in sources], policy.workers)
    await pool.start()
    told: list[tuple[str, float]] = []
    try:
        return await find_prices(pool, sources, policy, files, lambda name, done: told.append((name, done))), told
    finally:
        await pool.close()


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, store.CostFile]:
    """The file of a calibration by itself."""
    folder = tmp_path_factory.mktemp("costs")
    told: list[float] = []
    path, content = asyncio.run(calibrate_alone(SOURCE, policy_of(folder), None, lambda _, done: told.append(done)))
    assert path.parent == folder
    assert told[-1] == 1.0
    return path, content


def test_calls_cost_what_they_cost_when_a_model_was_calibrated(calibrated: tuple[Path, store.CostFile]) -> None:
    """Forty calls and more, with an error that is far below the assumed one even on a busy machine."""
    _, content = calibrated
    assert content.quality.calls >= 40
    assert content.quality.error < 0.5
    assert content.cpu_s["giga-operation of products"] > 0
    assert 0.05 < content.learned["letter"] < 0.6
    assert content.identity == identify(SOURCE)


def test_a_file_is_used_when_it_holds_here(calibrated: tuple[Path, store.CostFile]) -> None:
    """The second start measures nothing, and prices by the curve."""
    path, content = calibrated
    policy = policy_of(path.parent)
    prices, told = asyncio.run(prices_of([SOURCE], policy))
    assert told == []
    priced = prices.priced[SOURCE.name]
    assert dict(zip(priced.model.terms, priced.curve.cpu, strict=True)) == content.cpu_s
    assert dataclasses.asdict(prices.weights[SOURCE.name]) == content.learned
    call = dataclasses.replace(call_of(*TEXTS), model=SOURCE.name)
    quote = Pricer(prices.priced, policy.price).price(call)
    assert isinstance(quote, Quote)
    assert quote.feature_class == "text, under 10 ms"
    assert quote.spread == content.bands["text"][0].spread


def test_a_model_is_calibrated_when_it_is_served_for_the_first_time(tmp_path: Path) -> None:
    """The bar moves, the operator is told, and the file is there afterwards."""
    prices, told = asyncio.run(prices_of([SOURCE], policy_of(tmp_path)))
    assert len(told) > 40
    assert told[-1] == (SOURCE.name, 1.0)
    (path,) = tmp_path.iterdir()
    assert str(path) in prices.notes[0]
    assert store.load(path, identify(SOURCE)).model == SOURCE.name


def test_prices_are_analytic_when_the_operator_wants_no_calibration(tmp_path: Path) -> None:
    """The speed of one core is measured all the same; the spread is the assumed one."""
    policy = policy_of(tmp_path)
    prices, told = asyncio.run(
        prices_of([SOURCE], dataclasses.replace(policy, price=dataclasses.replace(policy.price, calibrate=False)))
    )
    assert told == prices.notes == []
    assert not list(tmp_path.iterdir())
    assert prices.weights == {}
    assert prices.priced[SOURCE.name].curve.bands["text"][0].spread == ASSUMED_SPREAD


def test_start_fails_when_the_file_is_of_another_machine(
    tmp_path: Path, calibrated: tuple[Path, store.CostFile]
) -> None:
    """Given or found: a price from elsewhere is refused, with what to do."""
    document = json.loads(calibrated[0].read_text())
    document["identity"]["cpu"] = "another processor"
    path = tmp_path / calibrated[0].name
    path.write_text(json.dumps(document))
    for files in ([path], []):
        with pytest.raises(ConfigError, match=r"another CPU.*wickguard calibrate"):
            asyncio.run(prices_of([SOURCE], policy_of(tmp_path), files))


def test_start_fails_when_a_file_is_of_a_model_that_is_not_served(
    tmp_path: Path, calibrated: tuple[Path, store.CostFile]
) -> None:
    """A misspelled name must not mean that the file is silently ignored."""
    document = json.loads(calibrated[0].read_text())
    document["model"] = "somebody-else"
    path = tmp_path / "costs.json"
    path.write_text(json.dumps(document))
    with pytest.raises(ConfigError, match="somebody-else"):
        asyncio.run(prices_of([SOURCE], policy_of(tmp_path), [path]))
