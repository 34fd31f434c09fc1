"""The fair queue: order, lift, deadlines, and bounded memory."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.applicants import ticket

from wickguard.control.fair_queue import FairQueue, Ticket
from wickguard.records import Lane


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
    assert queue.ahead_s(ticket("x", "b", 0.1)) == pytest.approx(0.1)
    assert queue.remove("a0")
    assert not queue.remove("a0")
    assert queue.remove("a1")
    assert (len(queue), queue.backlog_s("a", Lane.SHORT), queue.total_s(Lane.SHORT)) == (0, 0.0, 0.0)
    assert queue.ahead_s(ticket("x", "b", 0.1)) == 0.0


def test_memory_is_bounded_when_callers_queue_and_leave_behind_one_that_stays() -> None:
    """Entries of those that left are at most as many as those that wait."""
    queue = FairQueue()
    queue.push(ticket("stays", "a", due=1.0))
    for number in range(1000):
        queue.push(ticket(f"leaves{number}", "a", due=2.0))
        queue.remove(f"leaves{number}")
    held = queue._tenants["a"].orders[Lane.SHORT].waiting
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
    assert len(queue._contest._idle) <= 10
    assert len(queue._tenants) == len(queue._contest) == 1


def test_a_tenant_is_served_twice_as_much_when_its_weight_is_two() -> None:
    """Of compute-seconds, while both wait."""
    queue = FairQueue()
    for number in range(30):
        queue.push(replace(ticket(f"two{number}", "two"), weight=2.0))
        queue.push(ticket(f"one{number}", "one"))
    order = drain(queue)
    assert sum(name.startswith("two") for name in order[:30]) == 20


def test_long_calls_get_their_floor_when_short_ones_never_end() -> None:
    """A quarter of the compute-seconds, although the counters of short callers are lower."""
    queue = FairQueue(long_floor=0.25)
    for number in range(200):
        queue.push(ticket(f"short{number}", f"tenant{number}", 0.1))
    for number in range(20):
        queue.push(ticket(f"long{number}", "long", 1.0, lane=Lane.LONG))
    order = drain(queue)
    until = next(place for place, name in enumerate(order) if all(one.startswith("long") for one in order[place:]))
    long = sum(1.0 for name in order[:until] if name.startswith("long"))
    assert long / (long + 20.0) == pytest.approx(0.25, abs=0.05)


def test_long_calls_get_nothing_for_the_past_when_none_of_them_waited() -> None:
    """The floor is a share of what is handed out while they wait."""
    queue = FairQueue(long_floor=0.25)
    for number in range(100):
        queue.push(ticket(f"before{number}", "a", 0.1))
    drain(queue)
    for number in range(8):
        queue.push(ticket(f"long{number}", "b", 1.0, lane=Lane.LONG))
        queue.push(ticket(f"short{number}", f"c{number}", 1.0))
    assert sum(name.startswith("long") for name in drain(queue)[:8]) <= 4


def test_work_ahead_is_what_fair_sharing_puts_first_when_others_wait() -> None:
    """All of its own, and of every other tenant no more than that and itself; weighted; of its lane only."""
    queue = FairQueue()
    for number in range(10):
        queue.push(ticket(f"a{number}", "a", 1.0))
    queue.push(ticket("b0", "b", 0.5))
    queue.push(ticket("l0", "c", 5.0, lane=Lane.LONG))
    assert queue.ahead_s(ticket("x", "new", 2.0)) == pytest.approx(2.0 + 0.5)
    assert queue.ahead_s(ticket("x", "b", 2.0)) == pytest.approx(0.5 + 2.5)
    assert queue.ahead_s(ticket("x", "a", 1.0)) == pytest.approx(10.0 + 0.5)
    assert queue.ahead_s(replace(ticket("x", "new", 2.0), weight=4.0)) == pytest.approx(0.5 + 0.5)
    assert queue.ahead_s(ticket("x", "new", 1.0, lane=Lane.LONG)) == pytest.approx(1.0)


def test_short_calls_are_not_set_back_when_their_tenant_was_served_a_long_one() -> None:
    """The lanes are compared by themselves: it has had no short call for its long one."""
    queue = FairQueue()
    queue.push(ticket("long", "a", 10.0, lane=Lane.LONG))
    assert drain(queue) == ["long"]
    for number in range(6):
        queue.push(ticket(f"a{number}", "a", 0.1))
        queue.push(ticket(f"b{number}", "b", 0.1))
    assert sum(name.startswith("a") for name in drain(queue)[:6]) == 3


def test_long_calls_pay_for_everything_when_tenants_compete_for_them() -> None:
    """Else whoever uses both lanes would have twice the share."""
    queue = FairQueue(long_floor=0.0)
    for number in range(10):
        queue.push(ticket(f"s{number}", "both", 1.0))
        queue.push(ticket(f"l{number}", "both", 1.0, lane=Lane.LONG))
        queue.push(ticket(f"o{number}", "other", 1.0, lane=Lane.LONG))
    order = drain(queue)
    served = [name for name in order if name[0] in "so"][:10]
    assert abs(sum(name[0] == "s" for name in served) - 5) <= 1
    assert all(name[0] == "l" for name in order[-9:])


def test_a_crowd_has_one_share_when_its_members_are_many() -> None:
    """Names that cost nothing are worth nothing; inside the crowd they take turns."""
    queue = FairQueue()
    for number in range(300):
        queue.push(ticket(f"crowd{number}", f"ip:{number}"), "strangers")
        queue.push(ticket(f"again{number}", f"ip:{number}"), "strangers")
    for number in range(10):
        queue.push(ticket(f"alice{number}", "alice"))
        queue.push(ticket(f"bob{number}", "bob"))
    order = drain(queue)
    assert sum(name.startswith("alice") for name in order[:30]) == 10
    assert len({name[5:] for name in order if name.startswith("crowd")}) == 300
    assert max(place for place, name in enumerate(order) if name.startswith("crowd")) < min(
        place for place, name in enumerate(order[30:], 30) if name.startswith("again")
    )


def test_a_crowd_counts_once_when_work_ahead_is_predicted() -> None:
    """For whoever is outside it as one tenant; for its members with each other's turns."""
    queue = FairQueue()
    for number in range(100):
        queue.push(ticket(f"c{number}", f"ip:{number}", 1.0), "strangers")
    queue.push(ticket("a0", "a", 1.0))
    assert queue.ahead_s(ticket("x", "b", 1.0)) == pytest.approx(2.0)
    assert queue.ahead_s(ticket("x", "ip:new", 1.0), "strangers") == pytest.approx(101.0)


def test_a_tenant_keeps_its_party_when_it_is_promoted_while_it_waits() -> None:
    """Whatever the policy says meanwhile, what came in together goes out together."""
    queue = FairQueue()
    queue.push(ticket("1", "a"), "new")
    queue.push(ticket("2", "a"))
    assert drain(queue) == ["1", "2"]
    for name in ("1", "2"):
        queue.settle(ticket(name, "a"), 1.0)
    assert (len(queue._tenants), len(queue._parties), len(queue._contest)) == (0, 0, 0)
    queue.push(ticket("3", "a"))
    assert queue._tenants["a"].party is queue._parties["a"]
