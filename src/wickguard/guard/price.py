"""Price: Call -> Quote, and whether any call may cost that much.

Decides with the model's cost curve and with what has been learned since it was measured; what can't be estimated costs the
maximum, never the minimum (law 6). It must not know queues, tenants or processes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from wickguard.cost.analytic import PriceSettings
from wickguard.cost.curve import ASSUMED_SPREAD, Curve
from wickguard.cost.model import CostModel
from wickguard.cost.quote import quote
from wickguard.records import Call, Cost, Lane, Quote
from wickguard.rejection import Reason, Rejection


@dataclass(frozen=True, slots=True)
class Priced:
    """How one model is priced: what its features mean, and what that costs here."""

    model: CostModel
    curve: Curve


class Factors(Protocol):
    """What has been learned since the calibration (cost.learning.Learning)."""

    def factor(self, model: str, feature_class: str) -> float:
        """Actual over calibrated cost of this class."""
        ...


class Pricer:
    """Prices calls of the models in `prices`."""

    def __init__(self, prices: Mapping[str, Priced], settings: PriceSettings, learned: Factors | None = None) -> None:
        self._prices = prices
        self._settings = settings
        self._learned = learned

    def price(self, call: Call) -> Quote | Rejection:
        """The quote for `call`, or a refusal when it needs more than any call may have."""
        settings = self._settings
        priced = self._prices.get(call.model)
        if priced is None or not priced.model.prices(call.features):
            return self._maximum()
        if self._learned is None:
            found = quote(priced.model, priced.curve, call.features, settings)
        else:
            factor = partial(self._learned.factor, call.model)
            found = quote(priced.model, priced.curve, call.features, settings, factor)
        if found.expected.cpu_s > settings.max_cpu_s:
            return Rejection(
                Reason.UNAFFORDABLE, "the call would take too long", limit=settings.max_cpu_s,
                seen=round(found.expected.cpu_s, 3), unit="CPU-seconds", accepted="fewer or shorter inputs",
            )  # fmt: skip
        if found.ceiling.peak_bytes > settings.max_bytes:
            return Rejection(
                Reason.UNAFFORDABLE, "the call would need too much memory", limit=settings.max_bytes,
                seen=found.ceiling.peak_bytes, unit="bytes", accepted="fewer or shorter inputs",
            )  # fmt: skip
        reserve_s, cpu_s = min(found.reserve.cpu_s, settings.max_cpu_s), min(found.ceiling.cpu_s, settings.max_cpu_s)
        return dataclasses.replace(
            found,
            reserve=Cost(reserve_s, found.reserve.wall_s, found.reserve.peak_bytes),
            ceiling=Cost(cpu_s, cpu_s * settings.wall_factor, found.ceiling.peak_bytes),
        )

    def _maximum(self) -> Quote:
        settings = self._settings
        most = Cost(settings.max_cpu_s, settings.max_cpu_s * settings.wall_factor, settings.max_bytes)
        return Quote(most, most, most, Lane.LONG, "unknown", ASSUMED_SPREAD)
