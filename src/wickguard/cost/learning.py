"""Learning: how far what calls cost has moved from their calibration, learned from calls that ended, and hard to teach lies.

Decides one factor per model and class. Every tenant has one voice, the mean of what its calls cost against the calibrated
price, each call clipped; all anonymous callers together are one tenant. With voices of at least five tenants, the factor goes
towards their weighted median (weights are numbers of calls, none above a fifth), by at most 5 % an hour, and stays between
fixed bounds. So whoever wants to move a price needs most of the voices among five keys and more, then hours, and can make calls
cheaper by a fifth at most; the analytic bounds (cost/quote.py) hold on top. Nothing is kept over a restart: the calibration is
the memory.

Promises microseconds per call and bounded memory. Pure; it must not know how prices are made, nor who a tenant is.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from wickguard.setting import check

_HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class LearningSettings:
    """How prices follow what calls cost.

    tenants: voices that are needed before a price moves.
    share: the largest share of one voice.
    calls: calls before a tenant has a voice.
    clip: what one call can say at most, as |ln(actual / price)|.
    hourly: how far a price may move in an hour.
    least: the lowest factor.
    most: the highest factor.
    step_s: how often a price may move.
    silence_s: how long a voice is remembered after its last call.
    """

    tenants: Annotated[int, Meta(ge=3, le=1000)] = 5
    share: Annotated[float, Meta(ge=0.01, le=0.33)] = 0.2
    calls: Annotated[int, Meta(ge=1, le=10_000)] = 20
    clip: Annotated[float, Meta(ge=0.05, le=3)] = 0.7
    hourly: Annotated[float, Meta(ge=0, le=0.5)] = 0.05
    least: Annotated[float, Meta(ge=0.5, le=1)] = 0.8
    most: Annotated[float, Meta(ge=1, le=10)] = 2.0
    step_s: Annotated[float, Meta(ge=1, le=3600)] = 60.0
    silence_s: Annotated[float, Meta(ge=60, le=1_000_000)] = 86_400.0

    def __post_init__(self) -> None:
        check(self)


# Classes and voices per class that are remembered; the ones heard longest ago are forgotten.
CLASSES = 128
VOICES = 256
# A voice is a mean over about so many calls.
_MEMORY = 200


@dataclass(slots=True)
class _Voice:
    """A tenant's mean ln(actual / calibrated price), and how many calls it is of (at most the memory)."""

    mean: float = 0.0
    calls: int = 0
    heard_at: float = 0.0


class _Class:
    """What is known of one class of a model."""

    __slots__ = ("ln_factor", "moved_at", "voices")

    def __init__(self, now: float) -> None:
        self.ln_factor = 0.0
        self.moved_at = now
        self.voices: OrderedDict[str, _Voice] = OrderedDict()


class Learning:
    """The factors of one server."""

    def __init__(self, settings: LearningSettings | None = None) -> None:
        self._settings = settings or LearningSettings()
        self._classes: OrderedDict[tuple[str, str], _Class] = OrderedDict()

    def factor(self, model: str, feature_class: str) -> float:
        """What a calibrated price of this class is multiplied by."""
        found = self._classes.get((model, feature_class))
        return 1.0 if found is None else math.exp(found.ln_factor)

    def observe(self, now: float, model: str, feature_class: str, witness: str, ln_ratio: float) -> None:
        """A call has ended well. ln_ratio: ln(actual / expected), by the price it was given. witness: its tenant."""
        if not math.isfinite(ln_ratio):
            return
        found = self._find(now, model, feature_class)
        clip = self._settings.clip
        voice = found.voices.setdefault(witness, _Voice())
        found.voices.move_to_end(witness)
        if len(found.voices) > VOICES:
            found.voices.popitem(last=False)
        voice.calls = min(_MEMORY, voice.calls + 1)
        # Clipped against the price in force, remembered against the calibration, which does not move.
        said = max(-clip, min(clip, ln_ratio)) + found.ln_factor
        voice.mean += (said - voice.mean) / voice.calls
        voice.heard_at = now
        if now - found.moved_at >= self._settings.step_s:
            self._move(now, found)

    def _find(self, now: float, model: str, feature_class: str) -> _Class:
        key = (model, feature_class)
        found = self._classes.get(key)
        if found is None:
            found = self._classes[key] = _Class(now)
            if len(self._classes) > CLASSES:
                self._classes.popitem(last=False)
        self._classes.move_to_end(key)
        return found

    def _move(self, now: float, found: _Class) -> None:
        settings = self._settings
        # A pause earns nothing: after an idle night a price moves no faster than in the middle of the day.
        found.moved_at = now
        for witness in [name for name, voice in found.voices.items() if now - voice.heard_at > settings.silence_s]:
            del found.voices[witness]
        voices = [voice for voice in found.voices.values() if voice.calls >= settings.calls]
        if len(voices) < settings.tenants:
            return
        target = weighted_median([(voice.mean, float(voice.calls)) for voice in voices], settings.share)
        stride = math.log1p(settings.hourly) * settings.step_s / _HOUR_S
        moved = found.ln_factor + max(-stride, min(stride, target - found.ln_factor))
        found.ln_factor = max(math.log(settings.least), min(math.log(settings.most), moved))


def weighted_median(values: list[tuple[float, float]], share: float) -> float:
    """The median of (value, weight), after every weight is cut to `share` of what then is their sum.

    With fewer than 1 / share values no cut reaches that; all weights are then as good as equal.
    """
    cut = _cut(sorted((weight for _, weight in values), reverse=True), share)
    ordered = sorted((value, min(weight, cut)) for value, weight in values)
    half, passed = sum(weight for _, weight in ordered) / 2, 0.0
    for value, weight in ordered:
        passed += weight
        if passed >= half:
            return value
    raise AssertionError("half of the weights comes before their end")


def _cut(weights: list[float], share: float) -> float:
    """The largest weight such that none above it, cut to it, is more than `share` of the sum. `weights`: descending."""
    rest = sum(weights)
    for loud, weight in enumerate(weights):
        # The first `loud` weights are cut to c: c = share * (loud * c + rest).
        cut = share * rest / (1 - share * loud) if share * loud < 1 else weights[-1]
        if weight <= cut:
            return cut
        rest -= weight
    return weights[-1]
