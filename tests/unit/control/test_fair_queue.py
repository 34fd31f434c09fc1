"""The fair queue: order, lift, deadlines, and bounded memory."""

from __future__ import annotations

import pytest

from wickguard.control.fair_queue import FairQueue, Ticket
from wickguard.records import Lane


def ticket(name: str, tenant: str, price_s: float = 1.0, *, due: float = 100.0, lane: Lane = Lane.SHORT) -> Ticket:
    """A waiting call."""
    return Ticket(name, tenant, lane, price_s, 1, due)


def always(_: Ticket) -> bool:
    """Everything can start."""
    return True


def drain(queue: FairQueue) -> list[str]:
    """Ids in the order in which they start, with unlimited slots."""
    order: list[str] = []
    while (found := queue.pop(always)) is not None:
        order.append(found.id)
    return order


def test_tenants_alternate_when_their_calls_cost_the_same() -> None:
    """However many one of them has queued."""
    queue = FairQueue()
    for number in range(6):
        queue.push(ticket(f"a{number}", "a"))
    queue.push(ticket("b0", "b"))
    queue.push(ticket("b1", "b"))
    order = drain(queue)
    assert order.index("b0") <= 1
    assert order.index("b1") <= 3


def test_a_dear_call_buys_many_cheap_ones_when_tenants_compete() -> None:
    """The share is compute-seconds, not requests."""
    queue = FairQueue()
    for number in range(3):
        queue.push(ticket(f"dear{number}", "a", 10.0))
    for number in range(15):
        queue.push(ticket(f"cheap{number}", "b", 1.0))
    assert sum(name.startswith("cheap") for name in drain(queue)[:12]) >= 10


def test_the_nearest_deadline_goes_first_when_calls_are_of_one_tenant() -> None:
    """Equal deadlines in order of arrival."""
    queue = FairQueue()
    for name, due in (("late", 9.0), ("soon", 1.0), ("first", 5.0), ("second", 5.0)):
        queue.push(ticket(name, "a", due=due))
    assert drain(queue) == ["soon", "first", "second", "late"]


def test_idling_saves_nothing_up_when_a_tenant_comes_back() -> None:
    """It starts level with the others, so it can't take the machine for as long as it idled."""
    queue = FairQueue()
    for number in range(50):
        queue.push(ticket(f"a{number}", "a"))
    for _ in range(40):
        queue.pop(always)
    for number in range(10):
        queue.push(ticket(f"b{number}", "b"))
    order = drain(queue)
    assert sum(name.startswith("a") for name in order[:10]) >= 4


def test_leaving_forgives_no_debt_when_a_tenant_comes_back() -> None:
    """Else closing and opening a connection would be a way to jump the queue."""
    queue = FairQueue()
    queue.push(ticket("b0", "b"))
    queue.push(ticket("a0", "a", 5.0))
    started = [queue.pop(always), queue.pop(always)]
    for found in started:
        assert found is not None
        if found.tenant == "a":
            queue.settle(found, 5.0)
    for number in range(3):
        queue.push(ticket(f"b{number + 1}", "b"))
    queue.push(ticket("a1", "a"))
    assert drain(queue)[-1] == "a1"


def test_the_counter_is_corrected_when_a_call_used_less_than_predicted() -> None:
    """A tenant that was over-priced gets its time back."""
    queue = FairQueue()
    queue.push(ticket("a0", "a", 10.0))
    found = queue.pop(always)
    assert found is not None
    queue.push(ticket("b0", "b", 1.0))
    queue.push(ticket("b1", "b", 1.0))
    queue.push(ticket("a1", "a", 1.0))
    queue.settle(found, 0.5)
    assert drain(queue).index("a1") <= 1


def test_a_long_call_blocks_no_short_one_when_it_can_not_start() -> None:
    """Of its own tenant or of another."""
    queue = FairQueue()
    queue.push(ticket("long", "a", lane=Lane.LONG, due=1.0))
    queue.push(ticket("short", "a", due=9.0))
    queue.push(ticket("other", "b", due=9.0))
    found = [queue.pop(lambda waiting: waiting.lane is Lane.SHORT) for _ in range(3)]
    assert {one.id for one in found if one} == {"short", "other"}
    assert len(queue) == 1


def test_nothing_is_left_when_callers_leave() -> None:
    """Backlogs, contenders, tickets."""
    queue = FairQueue()
    queue.push(ticket("a0", "a", 0.1))
    queue.push(ticket("a1", "a", 0.2))
    assert queue.ahead_s("b", Lane.SHORT, 0.1) == pytest.approx(0.1)
    assert queue.remove("a0")
    assert not queue.remove("a0")
    assert queue.remove("a1")
    assert (len(queue), queue.backlog_s("a", Lane.SHORT), queue.total_s(Lane.SHORT)) == (0, 0.0, 0.0)
    assert queue.ahead_s("b", Lane.SHORT, 0.1) == 0.0


def test_memory_is_bounded_when_callers_queue_and_leave_behind_one_that_stays() -> None:
    """Entries of those that left are at most as many as those that wait."""
    queue = FairQueue()
    queue.push(ticket("stays", "a", due=1.0))
    for number in range(1000):
        queue.push(ticket(f"leaves{number}", "a", due=2.0))
        queue.remove(f"leaves{number}")
    held = queue._active["a"].waiting[Lane.SHORT]
    assert len(held) <= 2
    assert drain(queue) == ["stays"]


def test_memory_is_bounded_when_identities_are_sprayed() -> None:
    """Counters of tenants that are gone are forgotten, the oldest first."""
    queue = FairQueue(max_idle=10)
    queue.push(ticket("anchor", "anchor", due=0.0))
    for number in range(500):
        queue.push(ticket(f"t{number}", f"tenant{number}", 2.0))
        found = queue.pop(lambda waiting: waiting.tenant != "anchor")
        assert found is not None
        queue.settle(found, 2.0)
    assert len(queue._idle) <= 10
    assert len(queue._active) == 1
