"""Calibration: which calls to measure, in which order, and the curve through what they cost.

Decides the sweep: sizes in geometric strata, each visited once per round in random order, so that a machine that slows down
meanwhile slows all sizes alike; a fixed call once per round, so that how much the machine itself varied is known; as many
rounds as the time allows, small calls more often than large ones because they are cheap and more frequent in life. Promises the
same sweep for the same seed. Pure: the runner (calibrate.py) has the clock and the workers. It must not know what inputs are.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Generic, Protocol, TypeVar

from msgspec import Meta

from wickguard.cost.curve import Curve, Observation, fit, residual
from wickguard.cost.model import CostModel
from wickguard.errors import ModelError
from wickguard.records import Cost, Features
from wickguard.setting import check as check_settings

# Sizes per round. The k-th of them is drawn from the k-th stratum of the unit interval.
STRATA = 16
# Above 1: more of the small ones, which are cheap to measure and frequent in life.
SKEW = 1.5
# Fewer calls than this are no calibration: the model is too slow for the time it was given.
LEAST_CALLS = 40

Subject = TypeVar("Subject")


@dataclass(frozen=True, slots=True)
class CalibrationSettings:
    """How a model is measured before it is served for the first time.

    seconds: how long the sweep may take.
    dearest_s: the most expensive call in it, in expected CPU-seconds.
    seed: of the sweep's choices.
    cost_dir: where cost files are kept; "" is the user's state directory.
    """

    seconds: Annotated[float, Meta(ge=1, le=3600)] = 25.0
    dearest_s: Annotated[float, Meta(ge=0.001, le=60)] = 0.4
    seed: Annotated[int, Meta(ge=0, le=1 << 53)] = 1
    cost_dir: str = ""

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True, slots=True)
class Point(Generic[Subject]):
    """One call to measure: what the worker gets, and what was put into it.

    weight: how much it counts; 0 for inputs too odd to be expected, which the grant must cover all the same. anchor: the
    fixed call.
    """

    payload: bytes
    subject: Subject
    weight: float = 1.0
    anchor: bool = False


@dataclass(frozen=True, slots=True)
class Run(Generic[Subject]):
    """A point that was measured, and the worker's answer."""

    point: Point[Subject]
    actual: Cost
    result: bytes


class Sweep(Protocol[Subject]):
    """What a modality gives to be calibrated: calls of any size, and what their answers tell."""

    def point(self, size: float, order: random.Random) -> Point[Subject]:
        """A call of about this size (0: the smallest, 1: the dearest), with the choices that `order` makes."""
        ...

    def anchor(self) -> Point[Subject]:
        """The fixed call."""
        ...

    def learn(self, runs: Sequence[Run[Subject]]) -> Mapping[str, float]:
        """Numbers that measuring the features of this model needs, found in the answers; empty when it needs none."""
        ...

    def features(self, subject: Subject, learned: Mapping[str, float]) -> Features:
        """The features of a call, as the guard would measure them with these numbers."""
        ...


@dataclass(frozen=True, slots=True)
class Quality:
    """How good a calibration is, in its own eyes: of the last fifth of the calls, priced by a curve through the others.

    error: median of |ln(actual / expected)|. covered: share of calls within their reservation. noise: standard deviation of
    ln(actual) of the fixed call.
    """

    calls: int
    error: float
    covered: float
    noise: float


@dataclass(frozen=True, slots=True)
class Calibrated:
    """The curve of a model, the numbers its features are measured with, and how good both are."""

    curve: Curve
    learned: Mapping[str, float] = field(default_factory=dict)
    quality: Quality = Quality(0, 0.0, 0.0, 0.0)


def plan(sweep: Sweep[Subject], settings: CalibrationSettings) -> Iterator[Point[Subject]]:
    """The calls to measure, endless: whoever runs them stops when the time is over."""
    order = random.Random(settings.seed)
    while True:
        sizes: list[float | None] = [(stratum + order.random()) / STRATA for stratum in range(STRATA)]
        order.shuffle(sizes)
        for size in [*sizes, None]:
            yield sweep.anchor() if size is None else sweep.point(size**SKEW, order)


def conclude(model: CostModel, sweep: Sweep[Subject], runs: Sequence[Run[Subject]]) -> Calibrated:
    """The calibration that these runs make. Raises ModelError when they are too few."""
    if len(runs) < LEAST_CALLS:
        raise ModelError(
            f"only {len(runs)} calls ran in the time for the calibration, {LEAST_CALLS} are needed: give it more seconds "
            "([calibration] seconds), or serve with --no-calibrate"
        )
    learned = sweep.learn(runs)
    counted = [run for run in runs if not run.point.anchor]
    observations = [_observe(model, sweep, run, learned) for run in counted]
    anchors = [math.log(max(1e-6, run.actual.cpu_s)) for run in runs if run.point.anchor]
    noise = statistics.pstdev(anchors) if anchors else 0.0
    cut = len(observations) * 4 // 5
    curve = fit(observations, model.kinds)
    error, covered = check(fit(observations[:cut], model.kinds), observations[cut:])
    return Calibrated(curve, learned, Quality(len(runs), error, covered, noise))


def check(curve: Curve, observations: Sequence[Observation]) -> tuple[float, float]:
    """Median of |ln(actual / expected)|, and the share of calls that cost no more than their reservation."""
    counted = [seen for seen in observations if seen.weight > 0]
    if not counted:
        return 0.0, 0.0
    errors = [abs(residual(seen, curve.cpu)) for seen in counted]
    within = [
        seen.actual.cpu_s <= curve.predict(seen.kind, seen.basis, seen.memory_basis).reserve_s for seen in counted
    ]
    return statistics.median(errors), sum(within) / len(within)


def _observe(model: CostModel, sweep: Sweep[Subject], run: Run[Subject], learned: Mapping[str, float]) -> Observation:
    features = sweep.features(run.point.subject, learned)
    return Observation(
        model.kind(features), model.basis(features), model.memory_basis(features), run.actual, run.point.weight
    )
