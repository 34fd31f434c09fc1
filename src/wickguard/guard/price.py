"""Price: Call -> Quote, and whether any call may cost that much.

Decides with the model's cost curve and with what has been learned since it was measured; what can't be estimated costs the
maximum, never the minimum (law 6). It must not know queues, tenants or processes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial

from wickguard.cost.analytic import PriceSettings
from wickguard.cost.curve import ASSUMED_SPREAD
from wickguard.cost.quote import Priced, quote
from wickguard.records import Call, Cost, Lane, Quote
from wickguard.rejection import Reason, Rejection


class Pricer:
    """Prices calls of the models in `prices`."""

    def __init__(self, prices: Mapping[str, Priced], settings: PriceSettings) -> None:
        self._prices = prices
        self._settings = settings
        # Set by whoever knows: (model, class) -> actual over calibrated cost, and -> factor of the grant.
        self.learned: Callable[[str, str], float] = lambda model, feature_class: 1.0
        self.widening: Callable[[str, str], float] = lambda model, feature_class: 1.0

    @property
    def most_s(self) -> float:
        """CPU-seconds that no call may exceed."""
        return self._settings.max_cpu_s

    def price(self, call: Call) -> Quote | Rejection:
        """The quote for `call`, or a refusal when it needs more than any call may have."""
        settings = self._settings
        priced = self._prices.get(call.model)
        if priced is None or not priced.model.prices(call.features):
            return self._maximum()
        found = quote(priced, call.features, settings, partial(self.learned, call.model))
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
        reserve_s = min(found.reserve.cpu_s, settings.max_cpu_s)
        cpu_s = min(found.ceiling.cpu_s * self.widening(call.model, found.feature_class), settings.max_cpu_s)
        return dataclasses.replace(
            found,
            reserve=Cost(reserve_s, found.reserve.wall_s, found.reserve.peak_bytes),
            ceiling=Cost(cpu_s, cpu_s * settings.wall_factor, found.ceiling.peak_bytes),
        )

    def _maximum(self) -> Quote:
        settings = self._settings
        most = Cost(settings.max_cpu_s, settings.max_cpu_s * settings.wall_factor, settings.max_bytes)
        return Quote(most, most, most, Lane.LONG, "unknown", ASSUMED_SPREAD)
