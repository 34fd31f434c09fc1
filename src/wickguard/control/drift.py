"""Drift: whether what calls cost has moved away from what they are priced at.

Decides by CUSUM (Page 1954) over the residuals ln(actual / predicted), in units of their spread and clipped at 3 of them:
one wild call proves nothing, and without the clip 2 % of outliers raise an alarm every few hundred calls. A sum over 16 says
that a model's curve is wrong (recalibrate, widen grants meanwhile); a sum over 12 says that a tenant's calls cost more than
they look (raise that tenant's prices). Only upward: what costs less than predicted harms nobody.

Promises: at a spread of 0.12, calls that cost 35 % more are found after about nine of them, with less than one false alarm in
a million calls, outliers included (benches/admission.py); at most `capacity` keys. Pure; it must not know prices.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from enum import StrEnum

from wickguard.errors import ConfigError, WickguardError


class Watched(StrEnum):
    """Whose residuals are summed."""

    MODEL = "model"
    TENANT = "tenant"


@dataclass(frozen=True, slots=True)
class DriftSettings:
    """slack: what each residual must exceed to count. clip: the most that one can count, both in spreads. model_sum,
    tenant_sum: an alarm above. tenant_least: calls before a tenant can be accused. capacity: keys remembered.
    """

    slack: float = 0.5
    clip: float = 3.0
    model_sum: float = 16.0
    tenant_sum: float = 12.0
    tenant_least: int = 10
    capacity: int = 10_000

    def __post_init__(self) -> None:
        if not 0 < self.slack < self.clip or min(self.model_sum, self.tenant_sum) <= 0 or self.capacity < 1:
            raise ConfigError("drift needs 0 < slack < clip, positive sums and a capacity of at least 1")


def residual(actual_s: float, predicted_s: float, spread: float) -> float:
    """ln(actual / predicted) in units of `spread` (the standard deviation of that logarithm in calibration).

    Raises WickguardError when the prediction or the spread is not positive; what took no time counts as a nanosecond.
    """
    if predicted_s <= 0 or spread <= 0:
        raise WickguardError(f"a residual needs a prediction and a spread above 0, not {predicted_s} and {spread}")
    return math.log(max(actual_s, 1e-9) / predicted_s) / spread


class Cusum:
    """One sum. Once over its threshold it stays alarmed until it is replaced."""

    __slots__ = ("_clip", "_least", "_slack", "_threshold", "alarmed", "seen", "total")

    def __init__(self, threshold: float, slack: float = 0.5, clip: float = 3.0, least: int = 0) -> None:
        self._threshold = threshold
        self._slack = slack
        self._clip = clip
        self._least = least
        self.total = 0.0
        self.seen = 0
        self.alarmed = False

    def add(self, z: float) -> bool:
        """Add a residual; whether this one raised the alarm. Not a number counts as the clip: unknown is expensive."""
        clip = self._clip
        z = clip if not z < clip else max(z, -clip)
        self.seen += 1
        self.total = max(0.0, self.total + z - self._slack)
        if self.alarmed or self.total <= self._threshold or self.seen < self._least:
            return False
        self.alarmed = True
        return True


class Drift:
    """The sums of all models and tenants, per feature class."""

    def __init__(self, settings: DriftSettings | None = None) -> None:
        self._settings = settings or DriftSettings()
        self._sums: OrderedDict[tuple[Watched, str, str], Cusum] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sums)

    def observe(self, watched: Watched, name: str, feature_class: str, z: float) -> bool:
        """Add a residual of (name, class); whether it raised the alarm just now."""
        key = (watched, name, feature_class)
        found = self._sums.get(key)
        if found is None:
            found = self._sums[key] = self._new(watched)
            if len(self._sums) > self._settings.capacity:
                self._sums.popitem(last=False)
        self._sums.move_to_end(key)
        return found.add(z)

    def alarmed(self, watched: Watched, name: str, feature_class: str) -> bool:
        """Whether an alarm stands."""
        found = self._sums.get((watched, name, feature_class))
        return found is not None and found.alarmed

    def reset(self, watched: Watched, name: str, feature_class: str) -> None:
        """The cause is gone (recalibrated, prices raised): begin again."""
        self._sums.pop((watched, name, feature_class), None)

    def _new(self, watched: Watched) -> Cusum:
        settings = self._settings
        if watched is Watched.MODEL:
            return Cusum(settings.model_sum, settings.slack, settings.clip)
        return Cusum(settings.tenant_sum, settings.slack, settings.clip, settings.tenant_least)
