"""Price: Call -> Quote, and whether any call may cost that much.

Decides with the model's cost curve; what can't be estimated costs the maximum, never the minimum (law 6). It must not know
queues, tenants or processes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from wickguard.backend import ModelSpec
from wickguard.cost import analytic
from wickguard.modality.text import TextFeatures
from wickguard.records import Call, Cost, Lane, Quote
from wickguard.rejection import Reason, Rejection


class Pricer:
    """Prices calls; `flops_per_s` is the speed of one core per model, measured in the cage at start-up."""

    def __init__(
        self,
        models: Mapping[str, ModelSpec],
        flops_per_s: Mapping[str, float],
        settings: analytic.PriceSettings,
    ) -> None:
        self._models = models
        self._speed = flops_per_s
        self._settings = settings
        # Set by whoever knows that prices are wrong: (model, class) -> factor of the grant.
        self.widening: Callable[[str, str], float] = lambda model, feature_class: 1.0

    @property
    def most_s(self) -> float:
        """CPU-seconds that no call may exceed."""
        return self._settings.max_cpu_s

    def price(self, call: Call) -> Quote | Rejection:
        """The quote for `call`, or a refusal when it needs more than any call may have."""
        settings = self._settings
        speed = self._speed.get(call.model)
        if speed is None or not isinstance(call.features, TextFeatures):
            return self._maximum()
        quote = analytic.quote(self._models[call.model], call.features, speed, settings)
        if quote.expected.cpu_s > settings.max_cpu_s:
            return Rejection(
                Reason.UNAFFORDABLE, "the call would take too long", limit=settings.max_cpu_s,
                seen=round(quote.expected.cpu_s, 3), unit="CPU-seconds", accepted="fewer or shorter inputs",
            )  # fmt: skip
        if quote.ceiling.peak_bytes > settings.max_bytes:
            return Rejection(
                Reason.UNAFFORDABLE, "the call would need too much memory", limit=settings.max_bytes,
                seen=quote.ceiling.peak_bytes, unit="bytes", accepted="fewer or shorter inputs",
            )  # fmt: skip
        cpu_s = min(quote.ceiling.cpu_s * self.widening(call.model, quote.feature_class), settings.max_cpu_s)
        ceiling = Cost(cpu_s, cpu_s * settings.wall_factor, quote.ceiling.peak_bytes)
        return dataclasses.replace(quote, ceiling=ceiling)

    def _maximum(self) -> Quote:
        settings = self._settings
        most = Cost(settings.max_cpu_s, settings.max_cpu_s * settings.wall_factor, settings.max_bytes)
        return Quote(most, most, most, Lane.LONG, "unknown", analytic.SPREAD)
