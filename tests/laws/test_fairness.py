"""The fair queue's promises, for random loads: shares, lift, deadlines, lanes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wickguard.control.bucket import grains
from wickguard.control.fair_queue import FairQueue, Ticket
from wickguard.records import Lane

PRICES = st.floats(0.001, 2.0)
LOADS = st.lists(st.lists(PRICES, min_size=1, max_size=25), min_size=2, max_size=5)


def always(_: Ticket) -> bool:
    """Everything can start."""
    return True


@given(LOADS, st.booleans())
def test_backlogged_tenants_are_level_within_one_price_when_all_compete(
    loads: list[list[float]], settled: bool
) -> None:
    """While two tenants both wait, what each was served differs by at most the largest price."""
    queue, left, served = FairQueue(), [len(load) for load in loads], [0.0] * len(loads)
    for tenant, load in enumerate(loads):
        for number, price in enumerate(load):
            queue.push(Ticket(f"{tenant}-{number}", str(tenant), Lane.SHORT, price, 1, float(number)))
    largest = max(max(load) for load in loads)
    while (ticket := queue.pop(always)) is not None:
        tenant = int(ticket.tenant)
        served[tenant] += ticket.price_s
        left[tenant] -= 1
        if settled:
            queue.settle(ticket, ticket.price_s)
        waiting = [served[index] for index in range(len(loads)) if left[index]]
        if len(waiting) > 1:
            assert max(waiting) - min(waiting) <= largest + 1e-9
    assert len(queue) == 0


@given(st.lists(PRICES, min_size=5, max_size=40), st.integers(1, 30), st.lists(PRICES, min_size=1, max_size=10))
def test_a_tenant_waits_for_one_price_at_most_when_it_comes_from_idle(
    busy: list[float], before: int, fresh: list[float]
) -> None:
    """And gets no credit for the time that it did not ask: after the first, it takes turns."""
    queue = FairQueue()
    for number, price in enumerate(busy):
        queue.push(Ticket(f"busy-{number}", "busy", Lane.SHORT, price, 1, float(number)))
    for _ in range(min(before, len(busy) - 1)):
        queue.pop(always)
    for number, price in enumerate(fresh):
        queue.push(Ticket(f"fresh-{number}", "fresh", Lane.SHORT, price, 1, float(number)))
    largest = max(*busy, *fresh)
    taken = {"busy": 0.0, "fresh": 0.0}
    counts = {"busy": len(busy) - min(before, len(busy) - 1), "fresh": len(fresh)}
    while (ticket := queue.pop(always)) is not None and all(counts.values()):
        taken[ticket.tenant] += ticket.price_s
        counts[ticket.tenant] -= 1
        if all(counts.values()):
            assert abs(taken["busy"] - taken["fresh"]) <= largest + 1e-9


@given(st.lists(st.tuples(st.floats(0, 100), PRICES), min_size=1, max_size=30))
def test_deadlines_are_met_in_order_when_calls_are_of_one_tenant(calls: list[tuple[float, float]]) -> None:
    """Earliest first."""
    queue = FairQueue()
    for number, (due, price) in enumerate(calls):
        queue.push(Ticket(str(number), "t", Lane.SHORT, price, 1, due))
    order: list[float] = []
    while (ticket := queue.pop(always)) is not None:
        order.append(ticket.deadline_at)
    assert order == sorted(order)


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(list(Lane)), PRICES), min_size=1, max_size=40))
def test_every_short_call_starts_when_no_long_one_can(calls: list[tuple[int, Lane, float]]) -> None:
    """Long calls that wait block nobody, in no tenant."""
    queue = FairQueue()
    for number, (tenant, lane, price) in enumerate(calls):
        queue.push(Ticket(str(number), str(tenant), lane, price, 1, float(number)))
    started = 0
    while queue.pop(lambda ticket: ticket.lane is Lane.SHORT) is not None:
        started += 1
    assert started == sum(lane is Lane.SHORT for _, lane, _ in calls)
    assert queue.total_s(Lane.SHORT) == 0


@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["push", "pop", "remove", "settle"]), PRICES), max_size=80)
)
def test_the_backlog_is_the_sum_of_what_waits_when_calls_come_and_go(steps: list[tuple[int, str, float]]) -> None:
    """Against a plain dictionary, whatever happens in whatever order."""
    queue, waiting, running = FairQueue(), dict[str, Ticket](), list[Ticket]()
    for number, (tenant, what, price) in enumerate(steps):
        if what == "push":
            waiting[str(number)] = Ticket(str(number), str(tenant), Lane.SHORT, price, 1, float(tenant))
            queue.push(waiting[str(number)])
        elif what == "pop" and (ticket := queue.pop(always)) is not None:
            running.append(waiting.pop(ticket.id))
        elif what == "remove" and waiting:
            assert queue.remove(waiting.popitem()[0])
        elif what == "settle" and running:
            queue.settle(running.pop(), price)
        assert len(queue) == len(waiting)
        for name in "0123":
            own = sum(grains(ticket.price_s) for ticket in waiting.values() if ticket.tenant == name)
            assert queue.backlog_s(name, Lane.SHORT) == own
        held = sum(len(order.waiting) for tenant in queue._tenants.values() for order in tenant.orders.values())
        assert held <= 2 * len(waiting)


@given(
    st.lists(st.lists(PRICES, min_size=1, max_size=15), min_size=1, max_size=3),
    st.lists(st.lists(PRICES, min_size=1, max_size=5), min_size=1, max_size=12),
)
def test_a_crowd_is_level_with_every_tenant_when_all_compete(
    loads: list[list[float]], crowd: list[list[float]]
) -> None:
    """However many it is of: within one largest price; and its members are level with one another."""
    queue = FairQueue()
    left, served = dict[str, int](), dict[str, float]()
    for number, load in enumerate((*loads, *crowd)):
        name = f"{'tenant' if number < len(loads) else 'member'}{number}"
        left[name], served[name] = len(load), 0.0
        for at, price in enumerate(load):
            queue.push(Ticket(f"{name}-{at}", name, Lane.SHORT, price, 1, at), "crowd" if name[0] == "m" else "")
    largest = max(max(load) for load in (*loads, *crowd))
    while (ticket := queue.pop(always)) is not None:
        served[ticket.tenant] += ticket.price_s
        left[ticket.tenant] -= 1
        members = [name for name in left if name[0] == "m"]
        parties = [served[name] for name in left if name[0] == "t" and left[name]]
        if any(left[name] for name in members):
            parties.append(sum(served[name] for name in members))
        inside = [served[name] for name in members if left[name]]
        for level in (parties, inside):
            assert max(level, default=0.0) - min(level, default=0.0) <= largest + 1e-9


@given(
    st.lists(
        st.tuples(
            st.integers(0, 5), st.sampled_from(["push", "push", "pop", "remove", "settle"]), st.sampled_from(list(Lane))
        ),
        max_size=80,
    )
)
def test_nothing_is_kept_of_anybody_when_all_calls_are_over(steps: list[tuple[int, str, Lane]]) -> None:
    """Sums by lane are right at every moment; in the end there is no tenant, no party and no debt."""
    queue, waiting, running = FairQueue(), dict[str, Ticket](), list[Ticket]()
    for number, (tenant, what, lane) in enumerate(steps):
        if what == "push":
            waiting[str(number)] = Ticket(str(number), str(tenant), lane, 0.1 + number / 7, 1, float(tenant))
            queue.push(waiting[str(number)], "odd" if tenant % 2 else "")
        elif what == "pop" and (ticket := queue.pop(always)) is not None:
            running.append(waiting.pop(ticket.id))
        elif what == "remove" and waiting:
            assert queue.remove(waiting.popitem()[0])
        elif what == "settle" and running:
            queue.settle(running.pop(), number / 9)
        for each in Lane:
            assert queue.total_s(each) == sum(grains(one.price_s) for one in waiting.values() if one.lane is each)
    for name in waiting:
        assert queue.remove(name)
    for ticket in running:
        queue.settle(ticket, 1.0)
    assert [len(found) for found in (queue, queue._tenants, queue._parties, queue._contest, queue._contest._idle)] == [
        0
    ] * 5
