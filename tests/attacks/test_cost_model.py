"""Attacks on prices: cheap calls that look dear, dear calls that look cheap, and whoever sends enough of either (E07, E08).

The prices, the lessons and the learning of a server are the real ones; only the hours are simulated.
"""

from __future__ import annotations

import dataclasses
import math

import pytest
from tests.fakes import MINILM, SPEED, call_of, ended, grant_of

from wickguard.cost.analytic import PriceSettings, TextCost
from wickguard.cost.curve import BANDS, Band, Curve
from wickguard.cost.learning import Learning
from wickguard.cost.quote import Priced
from wickguard.guard.lessons import Lessons
from wickguard.guard.price import Pricer
from wickguard.records import Caller, OutcomeKind, Pool, Quote

BAND = tuple(Band(name, from_s, 0.1, 0.17, 0.6) for name, from_s in BANDS)
CURVE = Curve(
    (1e-3, 1e-4, 0.0, 0.025, 0.025), (1e-3, 1e-4, 0.0, 0.025, 0.025), (0.0, 0.8), 0.3, {"ids": BAND, "text": BAND}
)
TEXT = "A victim writes two or three sentences of ordinary length. Then it waits for an answer, as people do. "
CHEAP, DEAR = 0.2, 5.0


class Site:
    """A server's prices, and callers whose calls cost what the test says."""

    def __init__(self) -> None:
        self.learning = Learning()
        self.now = 0.0
        self.lessons = Lessons(
            lambda caller, factor: self.surcharged.append(caller.tenant),
            lambda model, name: None,
            on_miss=lambda *miss: self.learning.observe(self.now, *miss),
        )
        self.surcharged: list[str] = []
        self.pricer = Pricer({MINILM.name: Priced(TextCost(MINILM, SPEED[MINILM.name]), CURVE)}, PriceSettings())
        self.pricer.learned = self.learning.factor
        self.pricer.widening = self.lessons.widening

    def quote(self, text: str = TEXT) -> Quote:
        """What a caller is told."""
        found = self.pricer.price(call_of(text))
        assert isinstance(found, Quote)
        return found

    def call(self, caller: Caller, ratio: float, text: str = TEXT) -> None:
        """A call that costs `ratio` times the calibrated price."""
        quote = self.quote(text)
        call = dataclasses.replace(call_of(text), caller=caller)
        calibrated = quote.expected.cpu_s / self.learning.factor(call.model, quote.feature_class)
        self.lessons.learn(grant_of(call, quote), ended(OutcomeKind.COMPLETED, calibrated * ratio))

    def pass_time(self, seconds: float) -> None:
        """It is later."""
        self.now += seconds


def keyed(number: int, name: str = "t") -> Caller:
    """A caller with a key of its own."""
    return Caller(f"key:{name}{number}", Pool.KEYED, f"10.0.0.{number}", f"k{number}")


def stranger(number: int) -> Caller:
    """A caller without a key, from an address of its own."""
    return Caller(f"ip:2001:db8:{number:x}::/64", Pool.ANONYMOUS, f"2001:db8:{number:x}::1")


@pytest.mark.parametrize("ratio", [CHEAP, DEAR])
@pytest.mark.parametrize("honest", [0, 3, 9])
def test_price_of_the_victim_stands_when_one_tenant_sends_500_calls(ratio: float, honest: int) -> None:
    """E07: 500 calls in the victim's class, cheap or dear, alone or among others."""
    site = Site()
    before = site.quote()
    for number in range(500):
        site.call(keyed(0, "attacker"), ratio)
        for other in range(honest):
            site.call(keyed(other), 1.0)
        site.pass_time(number % 8)
    after = site.quote()
    assert after.expected.cpu_s == pytest.approx(before.expected.cpu_s, rel=0.001)
    assert after.reserve.cpu_s == pytest.approx(before.reserve.cpu_s, rel=0.001)


@pytest.mark.parametrize("ratio", [CHEAP, DEAR])
def test_price_stands_when_300_strangers_send_calls_for_a_day(ratio: float) -> None:
    """E07: identities without keys are one voice, however many addresses they have; four tenants are no majority with it."""
    site = Site()
    before = site.quote().expected.cpu_s
    for minute in range(24 * 60):
        for number in range(10):
            site.call(stranger(minute * 10 + number), ratio)
        for other in range(4):
            site.call(keyed(other), 1.0)
        site.pass_time(60.0)
    assert site.quote().expected.cpu_s == pytest.approx(before, rel=0.001)


@pytest.mark.parametrize("ratio", [CHEAP, DEAR])
def test_price_moves_less_than_a_tenth_when_five_keys_conspire_for_an_hour(ratio: float) -> None:
    """E07: with all the voices there are, and as many calls as they can pay for."""
    site = Site()
    before = site.quote().expected.cpu_s
    for _ in range(360):
        for number in range(5):
            site.call(keyed(number, "attacker"), ratio)
        site.pass_time(10.0)
    assert 0.9 < site.quote().expected.cpu_s / before < 1.1


def test_price_is_above_half_the_cost_when_it_was_trained_down_for_a_week() -> None:
    """E08: ten keys that nobody contradicts send cheap calls for a week, then the dear one."""
    site = Site()
    honest_s = site.quote().expected.cpu_s
    for _ in range(7 * 24 * 6):
        for number in range(10):
            site.call(keyed(number, "attacker"), CHEAP)
        site.pass_time(600.0)
    after = site.quote()
    assert after.expected.cpu_s >= 0.5 * honest_s
    # What the dear call costs is inside what it is granted: it is served, and its tenant is charged for all of it.
    assert after.ceiling.cpu_s >= honest_s


def test_price_stays_under_the_analytic_bound_when_it_was_trained_up_for_a_week() -> None:
    """E07: and under twice the calibrated one."""
    site = Site()
    before = site.quote()
    for _ in range(7 * 24 * 6):
        for number in range(10):
            site.call(keyed(number, "attacker"), DEAR)
        site.pass_time(600.0)
    after = site.quote()
    bounds = TextCost(MINILM, SPEED[MINILM.name]).bounds(call_of(TEXT).features)
    assert after.reserve.cpu_s <= bounds.most_s * PriceSettings().slowdown
    assert after.expected.cpu_s <= 2.0 * before.expected.cpu_s + 1e-9


def test_only_the_attacker_pays_more_when_its_calls_cost_more_than_they_look() -> None:
    """E08: a text that costs five times what it looks like is charged to who sends it, and to nobody else."""
    site = Site()
    for _ in range(50):
        site.call(keyed(0, "attacker"), DEAR)
        for other in range(4):
            site.call(keyed(other), 1.0)
    assert set(site.surcharged) == {"key:attacker0"}


def test_other_classes_stand_when_one_is_poisoned() -> None:
    """E07: what short calls teach says nothing of long ones."""
    site = Site()
    long = TEXT * 30
    before = site.quote(long).expected.cpu_s
    for _ in range(24 * 6):
        for number in range(10):
            site.call(keyed(number), DEAR)
        site.pass_time(600.0)
    assert site.quote(long).expected.cpu_s == pytest.approx(before, rel=0.001)
    assert site.quote().feature_class != site.quote(long).feature_class
    assert math.isfinite(site.quote().expected.cpu_s)
