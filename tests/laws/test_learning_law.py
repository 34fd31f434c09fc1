"""The law of learned prices: slow, bounded, and nobody's alone."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from wickguard.cost.learning import Learning, LearningSettings

SETTINGS = LearningSettings()
EVENTS = st.lists(
    st.tuples(st.floats(0.0, 400.0), st.integers(0, 8), st.floats(-5.0, 5.0), st.integers(1, 30)), max_size=60
)


def histories(events: list[tuple[float, int, float, int]]) -> list[tuple[float, str, float]]:
    """Time, tenant and ln ratio of every call: bursts of up to 30 calls, minutes apart."""
    now, found = 0.0, []
    for pause, tenant, ratio, calls in events:
        now += pause
        found += [(now, f"t{tenant}", ratio)] * calls
    return found


@given(EVENTS)
def test_a_price_is_slow_and_bounded_when_anything_is_said(events: list[tuple[float, int, float, int]]) -> None:
    """At most 5 % up or down in any hour, and never beyond its bounds."""
    learned, past = Learning(SETTINGS), [(-1e9, 1.0)]
    for now, tenant, ratio in histories(events):
        learned.observe(now, "m", "c", tenant, ratio)
        factor = learned.factor("m", "c")
        assert SETTINGS.least - 1e-9 <= factor <= SETTINGS.most + 1e-9
        for then, before in past:
            if now - then <= 3600:
                # One step more: the first one of the hour may fall on its beginning.
                most = math.log1p(SETTINGS.hourly) * (1 + SETTINGS.step_s / 3600)
                assert abs(math.log(factor / before)) <= most + 1e-9
        past.append((now, factor))


@given(EVENTS, st.integers(1, SETTINGS.tenants - 1))
def test_a_price_does_not_move_when_too_few_speak(events: list[tuple[float, int, float, int]], tenants: int) -> None:
    """Whatever fewer than five tenants do."""
    learned = Learning(SETTINGS)
    for now, tenant, ratio in histories(events):
        learned.observe(now, "m", "c", f"t{hash(tenant) % tenants}", ratio)
    assert learned.factor("m", "c") == 1.0


@given(st.floats(-0.1, 0.1), st.lists(st.tuples(st.floats(-5, 5), st.integers(1, 50)), min_size=1, max_size=4))
def test_a_minority_does_not_lead_when_five_honest_tenants_speak(honest: float, lies: list[tuple[float, int]]) -> None:
    """Up to four liars of nine, as loud as they like: the price goes where the honest ones are, or stays."""
    learned = Learning(SETTINGS)
    for minute in range(60 * 8):
        for number in range(5):
            learned.observe(60.0 * minute, "m", "c", f"honest{number}", honest - math.log(learned.factor("m", "c")))
        for number, (ratio, calls) in enumerate(lies):
            for _ in range(calls):
                learned.observe(60.0 * minute, "m", "c", f"liar{number}", ratio)
    ln_factor = math.log(learned.factor("m", "c"))
    assert min(0.0, honest) - 0.01 <= ln_factor <= max(0.0, honest) + 0.01
