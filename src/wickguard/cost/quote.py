"""The quote: the curve's word, held between the bounds that no measurement can move.

Decides the three prices of a call and its lane: the expectation and the reservation by the curve, clamped between the analytic
bounds; the grant by the curve's tail, at least the floor, at most the upper bound. Promises that expected <= reserve <= ceiling
and that more work is never cheaper. Pure; it must not know tenants, queues or processes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from wickguard.backend import ModelSpec, Task
from wickguard.cost.analytic import PriceSettings, TextCost
from wickguard.cost.curve import Curve, unlearned
from wickguard.cost.generation import GenerationCost
from wickguard.cost.image import ImageCost
from wickguard.cost.model import CostModel
from wickguard.cost.series import SeriesCost
from wickguard.records import Cost, Features, Quote


@dataclass(frozen=True, slots=True)
class Priced:
    """How one model is priced: what its features mean, and what that costs here."""

    model: CostModel
    curve: Curve


def cost_model(spec: ModelSpec, flops_per_s: float) -> CostModel:
    """What the features of calls of this model mean in work. flops_per_s: of one core, measured in the cage."""
    match spec.task:
        case Task.GENERATE:
            return GenerationCost(spec, flops_per_s)
        case Task.CLASSIFY:
            return ImageCost(spec, flops_per_s)
        case Task.FORECAST:
            return SeriesCost(spec, flops_per_s)
        case _:
            return TextCost(spec, flops_per_s)


def priced_analytically(spec: ModelSpec, flops_per_s: float) -> Priced:
    """The price of a model that was not calibrated."""
    model = cost_model(spec, flops_per_s)
    return Priced(model, model.assumed())


def quote(
    priced: Priced, features: Features, settings: PriceSettings, factor: Callable[[str], float] = unlearned
) -> Quote:
    """The price of a call with these features, which the model can price; `factor`: see Curve.predict."""
    model = priced.model
    basis = model.basis(features)
    found = priced.curve.predict(model.kind(features), basis, model.memory_basis(features), factor)
    bounds = model.bounds(features)
    most_s = bounds.most_s * settings.slowdown
    expected_s = min(most_s, max(bounds.least_s, found.expected.cpu_s))
    reserve_s = min(most_s, max(expected_s, found.reserve_s))
    ceiling_s = max(settings.floor_cpu_s, reserve_s, min(most_s, found.ceiling_s))
    wall_s = max(expected_s, found.expected.wall_s)
    # A reservation of memory that is too small kills an honest call, so it is never taken from a measurement.
    reserved_bytes = bounds.most_bytes
    granted_bytes = max(settings.floor_bytes, reserved_bytes + reserved_bytes // 4)
    return Quote(
        expected=Cost(expected_s, wall_s, min(reserved_bytes, max(1, found.expected.peak_bytes))),
        reserve=Cost(reserve_s, max(wall_s, reserve_s, found.reserve_wall_s), reserved_bytes),
        ceiling=Cost(ceiling_s, ceiling_s * settings.wall_factor, granted_bytes),
        lane=settings.lane(expected_s),
        feature_class=found.feature_class,
        spread=found.spread,
        shared_s=expected_s * _share(priced.curve, model.shared(features), basis),
    )


def _share(curve: Curve, part: Sequence[float], basis: Sequence[float]) -> float:
    """The part of the work in seconds that is this part of the basis: 0 to 1."""
    whole_s = curve.seconds(basis)
    return min(1.0, max(0.0, curve.seconds(part) / whole_s)) if whole_s > 0 else 0.0
