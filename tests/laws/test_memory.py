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
