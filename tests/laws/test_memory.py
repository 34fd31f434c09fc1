"""Law 3: the sum of live grants never exceeds the budget, whatever is held and released."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wickguard.control.memory import MemoryReservation

STEPS = st.lists(st.tuples(st.integers(0, 9), st.one_of(st.none(), st.integers(0, 400))), max_size=80)


@given(st.integers(1, 1000), STEPS)
def test_the_sum_is_within_the_budget_when_holds_come_and_go(budget: int, steps: list[tuple[int, int | None]]) -> None:
    """Against a plain dictionary: what was granted is what is held; a refusal takes nothing."""
    memory, held = MemoryReservation(budget), dict[str, int]()
    for number, size in steps:
        name = str(number)
        if name in held:
            assert memory.release(name) == held.pop(name)
        elif size is not None:
            granted = memory.hold(name, size)
            assert granted is (sum(held.values()) + size <= budget)
            if granted:
                held[name] = size
        assert memory.held_bytes == sum(held.values()) <= budget


TENANT_STEPS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 2), st.integers(0, 400)), max_size=80)


@given(st.integers(1, 1000), st.floats(0.1, 1.0), TENANT_STEPS)
def test_no_tenant_has_more_than_its_share_when_holds_come_and_go(
    budget: int, share: float, steps: list[tuple[int, int, int]]
) -> None:
    """And nothing else keeps a hold out: it is granted when both the budget and the share allow it."""
    memory, held = MemoryReservation(budget, share), dict[str, tuple[str, int]]()
    for number, owner, size in steps:
        name, tenant = str(number), str(owner)
        if name in held:
            assert memory.release(name) == held.pop(name)[1]
            continue
        own = sum(size for who, size in held.values() if who == tenant)
        everything = sum(size for _, size in held.values())
        granted = memory.hold(name, size, tenant)
        assert granted is (own + size <= memory.share_bytes and everything + size <= budget)
        if granted:
            held[name] = (tenant, size)
