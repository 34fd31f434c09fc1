"""Attacks with series (S02 to S08): what a forecast could be made to multiply."""

from __future__ import annotations

import json

import pytest
from tests.attacks.harness import Reply, Target, siege

from wickguard.units import MIB

MODEL = "series-chronos"


def ask(target: Target, **fields: object) -> Reply:
    """A forecast."""
    asked = {"model": MODEL, "series": [1.0, 2.0, 3.0], "horizon": 4} | fields
    return target.post(json.dumps(asked).encode(), path="/v1/forecast")


def raw(target: Target, series: str, rest: str = '"horizon":4') -> Reply:
    """A forecast of series as they are spelled."""
    return target.post(f'{{"model":"{MODEL}","series":{series},{rest}}}'.encode(), path="/v1/forecast")


OUTSIDE = {
    "S02-a-thousand-series": {"series": [[1.0]] * 1000},
    "S02-too-long-a-series": {"series": [1.0] * 20_000},
    "S03-horizon": {"horizon": 1_000_000},
    "S03-samples": {"num_samples": 100_000},
    "S03-product": {"series": [[1.0]] * 64, "horizon": 512, "num_samples": 200},
    "S03-quantiles": {"quantiles": [0.5] * 1000},
    "S05-empty": {"series": []},
    "S05-one-empty": {"series": [[1.0], []]},
}


@pytest.mark.parametrize("name", list(OUTSIDE))
def test_forecast_is_refused_when_it_multiplies_beyond_the_envelope(gallery: Target, name: str) -> None:
    """422 or 413 that names the limit, before a worker is asked."""
    with siege(gallery, cpu_s=0.15, front_bytes=8 * MIB):
        reply = ask(gallery, **OUTSIDE[name])
    assert reply.status in {413, 422}, reply.body
    assert {"limit", "seen", "accepted"} <= json.loads(reply.body)["error"].keys()


@pytest.mark.parametrize(
    ("series", "rest"),
    [
        ("[NaN]", '"horizon":4'), ("[Infinity]", '"horizon":4'), ("[1e400]", '"horizon":4'), ("[1e39]", '"horizon":4'),
        ('["1"]', '"horizon":4'), ("[true]", '"horizon":4'), ("[[[1]]]", '"horizon":4'), ("[[1],2]", '"horizon":4'),
        ("{}", '"horizon":4'), ("null", '"horizon":4'), ("5", '"horizon":4'), ("[1", '"horizon":4'),
        ("[1]", '"horizon":0'), ("[1]", '"horizon":-1'), ("[1]", '"horizon":1.5'), ("[1]", '"horizon":"4"'),
        ("[1]", '"horizon":1e30'), ("[1]", '"horizon":4,"seed":1e30'), ("[1]", '"horizon":4,"temperature":0'),
        ("[1]", '"horizon":4,"top_p":0'), ("[1]", '"horizon":4,"top_k":0'), ("[1]", '"horizon":4,"quantiles":[2]'),
        ("[1]", '"horizon":4,"timestamps":[0,1]'), ("[1]", '"horizon":4,"freq":"1ns"'), ("[" * 5000, '"horizon":4'),
        ("[" + "9" * 5000 + "]", '"horizon":4'),
    ],
)  # fmt: skip
def test_s05_numbers_are_refused_when_they_are_none(gallery: Target, series: str, rest: str) -> None:
    """4xx: JSON has no NaN; single precision no 1e39; and nobody resamples on timestamps here (S04)."""
    reply = raw(gallery, series, rest)
    assert reply.status in {400, 413, 422}, reply.body
    assert len(reply.body) < 1000


@pytest.mark.parametrize("series", [[None] * 50, [0.0] * 50, [2e37, -2e37], [1e-38], [7.0], [None, 1.0, None]])
def test_s05_forecast_is_finite_when_a_series_is_odd(gallery: Target, series: list[float | None]) -> None:
    """All missing, constant, enormous, tiny: answered, with numbers."""
    reply = ask(gallery, series=series)
    assert reply.status == 200, reply.body
    assert b"null" not in reply.body


def test_s03_price_follows_the_product_when_the_answer_grows(gallery: Target) -> None:
    """The same series, 64 times the values: the quote is dozens of times as high, and the body hardly longer."""

    def expected(horizon: int, samples: int) -> float:
        asked = {"series": [1.0] * 192, "horizon": horizon, "num_samples": samples}
        body = json.dumps({"route": "/v1/forecast", "request": asked}).encode()
        found: float = json.loads(gallery.post(body, path="/v1/quote").body)["expected"]["cpu_s"]
        return found

    assert expected(256, 160) > 30 * expected(32, 20)


def test_s07_ragged_batch_costs_what_its_series_cost_when_one_is_long(gallery: Target) -> None:
    """Nothing is padded: one long series and sixty short ones are far from sixty-one long ones."""
    with siege(gallery, cpu_s=2.0, front_bytes=8 * MIB):
        reply = ask(gallery, series=[[1.0] * 5000, *[[1.0, 2.0]] * 60], horizon=8, num_samples=4)
    assert reply.status == 200, reply.body


def test_dearest_forecasts_leave_the_neighbour_alone_when_they_come_one_after_another(gallery: Target) -> None:
    """As much as the envelope allows, twenty times: served while there is quota, then 429."""
    with siege(gallery, cpu_s=60.0, front_bytes=16 * MIB):
        replies = [ask(gallery, series=[1.0] * 192, horizon=512, num_samples=200) for _ in range(20)]
    assert {reply.status for reply in replies} <= {200, 422, 429, 503}, replies[0].body
