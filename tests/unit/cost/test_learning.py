"""Learning: prices follow what many say, slowly."""

from __future__ import annotations

import math

import pytest

from wickguard.cost import learning
from wickguard.cost.learning import CLASSES, VOICES, Learning, LearningSettings, weighted_median
from wickguard.errors import ConfigError

HOUR_S = 3600.0


def talk(
    learned: Learning, hours: float, costs: dict[str, float], *, start: float = 0.0, every_s: float = 10.0
) -> float:
    """Each tenant's calls cost `costs` times the calibrated price, for so many hours; the time afterwards."""
    now = start
    while now < start + hours * HOUR_S:
        for tenant, ratio in costs.items():
            learned.observe(now, "m", "c", tenant, math.log(ratio / learned.factor("m", "c")))
        now += every_s
    return now


def tenants(count: int, ratio: float, name: str = "t") -> dict[str, float]:
    """So many tenants whose calls all cost the same."""
    return {f"{name}{number}": ratio for number in range(count)}


def test_price_is_the_calibrated_one_when_nothing_was_heard() -> None:
    """And for classes that nobody used."""
    learned = Learning()
    talk(learned, 1.0, tenants(6, 1.3))
    assert Learning().factor("m", "c") == learned.factor("m", "other") == learned.factor("other", "c") == 1.0
    assert learned.factor("m", "c") > 1.0


def test_price_arrives_at_what_calls_cost_when_five_tenants_say_so() -> None:
    """A machine that became a fifth slower: four hours later the price is right, and stays there."""
    learned = Learning()
    talk(learned, 8.0, tenants(5, 1.2))
    assert learned.factor("m", "c") == pytest.approx(1.2, rel=0.01)


def test_price_moves_a_twentieth_when_an_hour_has_passed() -> None:
    """However far off it is."""
    learned = Learning()
    talk(learned, 1.0, tenants(8, 2.0))
    assert learned.factor("m", "c") == pytest.approx(1.05, rel=0.005)


def test_price_stands_still_when_four_tenants_say_so() -> None:
    """However often they say it."""
    learned = Learning()
    talk(learned, 24.0, tenants(4, 2.0), every_s=2.0)
    assert learned.factor("m", "c") == 1.0


def test_a_voice_needs_calls_when_it_is_to_be_heard() -> None:
    """Four tenants and one that called nineteen times are four."""
    settings = LearningSettings()
    learned = Learning(settings)
    for _ in range(settings.calls - 1):
        learned.observe(0.0, "m", "c", "new", 0.3)
    talk(learned, 3.0, tenants(4, 1.3))
    assert learned.factor("m", "c") == 1.0
    talk(learned, 3.0, tenants(5, 1.3), start=3 * HOUR_S)
    assert learned.factor("m", "c") > 1.05


def test_a_pause_earns_nothing_when_it_is_over() -> None:
    """After a night without calls the price does not jump."""
    learned = Learning()
    talk(learned, 0.5, tenants(6, 1.5))
    before = learned.factor("m", "c")
    talk(learned, 0.05, tenants(6, 1.5), start=10 * HOUR_S)
    assert learned.factor("m", "c") <= before * 1.006


def test_a_silent_tenant_is_forgotten_when_a_day_has_passed() -> None:
    """Its voice says nothing of today's machine."""
    learned = Learning()
    talk(learned, 0.2, tenants(9, 0.8, "old"))
    now = talk(learned, 5.0, tenants(5, 1.2), start=30 * HOUR_S)
    assert learned.factor("m", "c") == pytest.approx(1.2, rel=0.02)
    assert now > 0


def test_price_keeps_its_bounds_when_everybody_agrees() -> None:
    """For days."""
    for ratio, bound in ((0.1, 0.8), (50.0, 2.0)):
        learned = Learning()
        talk(learned, 40.0, tenants(7, ratio), every_s=60.0)
        assert learned.factor("m", "c") == pytest.approx(bound)


@pytest.mark.parametrize("nonsense", [math.nan, math.inf, -math.inf])
def test_nonsense_is_not_heard_when_it_is_said(nonsense: float) -> None:
    """A measurement that failed."""
    learned = Learning()
    for second in range(600):
        for name in tenants(6, 1.0):
            learned.observe(float(second), "m", "c", name, nonsense)
    assert learned.factor("m", "c") == 1.0


def test_memory_is_bounded_when_classes_and_tenants_are_many() -> None:
    """The ones heard longest ago are forgotten."""
    learned = Learning()
    for number in range(3 * VOICES):
        learned.observe(0.0, "m", "c", f"t{number}", 0.1)
    for number in range(3 * CLASSES):
        learned.observe(0.0, "m", f"class {number}", "t", 0.1)
    assert len(learned._classes) == CLASSES
    assert all(len(found.voices) <= VOICES for found in learned._classes.values())


@pytest.mark.parametrize(
    ("values", "median"),
    [
        ([(1.0, 1.0)], 1.0),
        ([(1.0, 5.0), (2.0, 5.0), (3.0, 5.0)], 2.0),
        # The loud one counts for a fifth: two of eight others are on each side of the median.
        ([(9.0, 1000.0), *[(float(value), 1.0) for value in range(8)]], 4.0),
        # Of five, each is a fifth, however loud.
        ([(9.0, 1000.0), (8.0, 900.0), (0.0, 1.0), (0.1, 1.0), (0.2, 1.0)], 0.2),
    ],
)
def test_nobody_is_louder_than_a_fifth_when_voices_are_counted(
    values: list[tuple[float, float]], median: float
) -> None:
    """Whatever it calls."""
    assert weighted_median(values, 0.2) == median


@pytest.mark.parametrize("wrong", [{"tenants": 1}, {"share": 0.9}, {"least": 0.1}, {"most": 0.5}, {"hourly": 2.0}])
def test_settings_are_refused_when_out_of_range(wrong: dict[str, float]) -> None:
    """At load."""
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        LearningSettings(**wrong)  # type: ignore[arg-type]
    assert learning.CLASSES > 0
