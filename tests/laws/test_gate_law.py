"""The gate as a whole, for random callers: nothing is held twice, nothing leaks, no limit is passed, long calls get a floor."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.applicants import Door, good, killed, ticket

from wickguard.control.applicant import Applicant, Barrier, Ending
from wickguard.control.breaker import Verdict
from wickguard.control.bucket import grains
from wickguard.control.fair_queue import Ticket
from wickguard.control.gate import AdmissionSettings
from wickguard.control.ladder import LadderSettings
from wickguard.control.lease import SettlementStatus
from wickguard.records import Lane

TENANTS = ("a", "b", "c", "stranger", "guest")
BUDGET_BYTES = 100
FOUND_OUT = (Barrier.LATE, Barrier.OWN_BREAKER, Barrier.SHARED_BREAKER, Barrier.POISON)
DOORS = st.builds(
    Door,
    slots=st.integers(1, 4).flatmap(lambda total: st.tuples(st.just(total), st.integers(1, total))),
    budget_bytes=st.just(BUDGET_BYTES),
    settings=st.builds(
        AdmissionSettings,
        queue_s=st.floats(5.0, 50.0),
        tenant_queue_s=st.floats(0.5, 5.0),
        tenant_memory_share=st.floats(0.3, 1.0),
        long_floor=st.floats(0.0, 0.5),
        batch_s=st.floats(0.05, 1.0),
    ),
    ladder=st.just(LadderSettings(capacity=2.0, dearest_s=2.0, median_s=1.0, burst_s=2.0)),
    rates=st.just({"a": 1.0, "b": 0.5, "c": 2.0}),
)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["arrive", "arrive", "arrive", "turns", "finish", "leave", "wait", "would", "glance"]),
        st.sampled_from(TENANTS),
        st.one_of(st.floats(0.01, 0.1), st.floats(0.01, 2.0)),
        st.integers(0, 40),
    ),
    min_size=15,
    max_size=80,
)


@dataclass
class Story:
    """What should be true by plain bookkeeping, beside the gate."""

    door: Door
    now: float = 0.0
    waiting: dict[str, Applicant] = field(default_factory=dict)
    running: dict[str, Applicant] = field(default_factory=dict)
    over: set[str] = field(default_factory=set)
    seats: dict[str, list[str]] = field(default_factory=dict)

    def arrive(self, name: str, tenant: str, size: float, pick: int) -> None:
        """A caller asks; a no must leave everything as it was."""
        lane = Lane.LONG if size > 0.5 else Lane.SHORT
        call = ticket(name, tenant, size, due=self.now + 4.0 * size + pick % 5, lane=lane, size_bytes=pick)
        if pick % 3:
            # Alike, or also doing a part of their work once for all who run together.
            shared_s = 0.7 * size if pick % 3 == 2 else 0.0
            call = replace(call, batch=f"{lane}/{pick % 3}", shared_s=shared_s)
        applicant = self.door.applicant(call, reserve_s=1.2 * size, feature_class=str(pick % 2), digest=name.encode)
        before = self.door.held()
        if self.door.gate.arrive(self.now, applicant) is None:
            self.waiting[name] = applicant
        else:
            assert self.door.held() == before

    def ask(self, name: str, tenant: str, size: float) -> None:
        """A question takes nothing, whatever the answer."""
        before = self.door.held()
        self.door.gate.would(self.now, self.door.applicant(ticket(name, tenant, size, due=self.now + 10.0)))
        self.door.gate.glance(self.now, self.door.levels(tenant), self.door.trust(tenant), 0.001)
        assert self.door.held() == before

    def turns(self) -> None:
        """Whose turn has come either runs, was too late, or was found out meanwhile."""
        together: dict[str, list[Applicant]] = {}
        for turn in self.door.gate.turns(self.now):
            applicant = self.waiting.pop(turn.id)
            if turn.denial is None:
                assert applicant.wall_s <= applicant.ticket.deadline_at - self.now
                self.running[turn.id] = applicant
                leader = turn.company.id if turn.company is not None else turn.id
                self.seats.setdefault(leader, []).append(turn.id)
                together.setdefault(leader, []).append(applicant)
            else:
                assert turn.denial.barrier in FOUND_OUT
        for name, party in together.items():
            if len(party) > 1:
                self.meet(next(one for one in party if one.ticket.id == name), party)

    def meet(self, leader: Applicant, party: list[Applicant]) -> None:
        """Who runs together is alike; the others add no more than a company may, and nobody is late for them."""
        tickets = [one.ticket for one in party]
        assert leader.ticket.batch and len({call.batch for call in tickets}) == 1
        assert len(party) <= self.door.settings.batch_calls
        added_s = sum(call.price_s - call.shared_s for call in tickets if call is not leader.ticket)
        assert added_s <= max(self.door.settings.batch_s - leader.ticket.price_s, leader.ticket.shared_s) + 1e-9
        done_at = self.now + max(one.wall_s for one in party) + added_s
        assert done_at <= min(call.deadline_at for call in tickets) + 1e-9

    def finish(self, name: str, ending: Ending) -> None:
        """Work stops; its lease is settled now and was not before."""
        del self.running[name]
        self.seats = {
            leader: left for leader, them in self.seats.items() if (left := [one for one in them if one != name])
        }
        assert name not in self.over
        self.over.add(name)
        assert self.door.gate.finish(self.now, name, ending).status is SettlementStatus.SETTLED

    def wait(self, seconds: float) -> None:
        """Time passes. As in the server: whoever waits past its deadline leaves, whatever runs past it is ended."""
        self.now += seconds
        for name in [name for name, one in self.waiting.items() if one.ticket.deadline_at <= self.now]:
            del self.waiting[name]
            assert self.door.gate.leave(self.now, name)
        for name in [name for name, one in self.running.items() if one.ticket.deadline_at <= self.now]:
            self.finish(name, killed(0.1, 0.01))

    def check(self) -> None:
        """The limits, and what is held against what should be."""
        parts, running = self.door.parts, [one.ticket for one in self.running.values()]
        total, most_long = self.door.slots
        assert len(self.seats) <= total
        assert sum(self.running[them[0]].ticket.lane is Lane.LONG for them in self.seats.values()) <= most_long
        assert sum(parts.slots.running(lane) for lane in Lane) == len(self.seats)
        held = sum(call.memory_bytes for call in running)
        assert parts.memory.held_bytes == held <= BUDGET_BYTES
        share = int(BUDGET_BYTES * self.door.settings.tenant_memory_share)
        for tenant in TENANTS:
            assert sum(call.memory_bytes for call in running if call.tenant == tenant) <= share
        assert (self.door.gate.waiting, self.door.gate.running) == (len(self.waiting), len(running))
        assert len(parts.quota) == len(self.waiting) + len(running)
        for lane in Lane:
            queued = [grains(one.ticket.price_s) for one in self.waiting.values() if one.ticket.lane is lane]
            assert self.door.gate.queued_s(lane) == sum(queued)


@given(DOORS, STEPS)
@settings(max_examples=200)
def test_nothing_stays_behind_when_callers_come_and_go_at_will(
    door: Door, steps: list[tuple[str, str, float, int]]
) -> None:
    """Arrivals, turns, endings good and bad, leaving, time: all limits hold in between, and in the end all is given back."""
    story = Story(door)
    for number, (what, tenant, size, pick) in enumerate(steps):
        name = f"{tenant}{number}"
        if what == "arrive":
            story.arrive(name, tenant, size, pick)
        elif what == "turns":
            story.turns()
        elif what == "finish" and story.running:
            verdict = list(Verdict)[pick % 3]
            ending = Ending(size, 0, verdict, 0.01 if verdict is Verdict.BAD else None)
            story.finish(list(story.running)[pick % len(story.running)], ending)
        elif what == "leave" and story.waiting:
            left = list(story.waiting)[pick % len(story.waiting)]
            del story.waiting[left]
            assert door.gate.leave(story.now, left)
            assert not door.gate.leave(story.now, left)
        elif what == "wait":
            story.wait(size)
        else:
            story.ask(name, tenant, size)
        story.check()
    while story.waiting or story.running:
        story.turns()
        for name in list(story.running):
            story.finish(name, good(0.1))
        story.wait(0.1)
        story.check()
    assert set(door.held().values()) == {0}
    queue = door.gate._queue
    assert (len(queue._tenants), len(queue._parties)) == (0, 0)


PRICED = st.lists(st.tuples(st.sampled_from("abc"), st.floats(0.05, 0.25)), min_size=20, max_size=60)
DEAR = st.lists(st.tuples(st.sampled_from("abc"), st.floats(0.3, 2.0)), min_size=5, max_size=25)


@given(PRICED, DEAR, st.integers(1, 3), st.floats(0.1, 0.6))
def test_long_calls_get_their_floor_when_both_lanes_are_backlogged(
    short: list[tuple[str, float]], long: list[tuple[str, float]], slots: int, floor: float
) -> None:
    """Of all compute-seconds that are handed out, at least the floor goes to long calls, less one long price."""
    endless = AdmissionSettings(queue_s=8e4, tenant_queue_s=8e4, long_floor=floor, tenant_memory_share=1.0)
    door = Door((slots, slots), budget_bytes=10**6, settings=endless)
    calls: dict[str, Ticket] = {}
    for lane, load in ((Lane.SHORT, short), (Lane.LONG, long)):
        for tenant, price in load:
            name = f"{tenant}{len(calls)}"
            calls[name] = ticket(name, tenant, price, due=1e6, lane=lane)
    for call in calls.values():
        applicant = replace(door.applicant(call), levels=())
        assert door.gate.arrive(0.0, applicant) is None
    left = {lane: sum(call.lane is lane for call in calls.values()) for lane in Lane}
    handed, largest = dict.fromkeys(Lane, 0.0), max(price for _, price in long)
    while all(left.values()):
        for turn in door.gate.turns(0.0):
            lane = calls[turn.id].lane
            if all(left.values()):
                handed[lane] += calls[turn.id].price_s
            left[lane] -= 1
            assert handed[Lane.LONG] >= floor * sum(handed.values()) - largest - 1e-9
            door.gate.finish(0.0, turn.id, good(calls[turn.id].price_s))
