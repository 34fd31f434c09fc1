"""The gate: one test for each barrier, what a turn says, and what stays when a caller goes."""

from __future__ import annotations

import pytest
from tests.applicants import Door, good, killed, ticket

from wickguard.control.applicant import Applicant, Barrier
from wickguard.control.gate import AdmissionSettings
from wickguard.control.ladder import LadderSettings
from wickguard.errors import WickguardError
from wickguard.records import Lane

NARROW = LadderSettings(capacity=2.0, dearest_s=0.5, median_s=0.5, burst_s=1.0)


def barrier(door: Door, now: float, applicant: Applicant) -> Barrier | None:
    """What stands in the way of `applicant`, which holds nothing when something does."""
    before = door.held()
    denial = door.gate.arrive(now, applicant)
    if denial is not None:
        assert door.held() == before
    return denial.barrier if denial is not None else None


def run(door: Door, now: float, name: str, tenant: str, *, bad: bool, digest: bytes = b"") -> None:
    """One whole call."""
    applicant = door.applicant(ticket(name, tenant, 0.1), digest=lambda: digest or name.encode())
    assert door.gate.arrive(now, applicant) is None
    assert door.started(now) == [name]
    door.gate.finish(now, name, killed(0.1, 0.01) if bad else good(0.1))


def test_a_call_is_impossible_when_it_needs_more_memory_than_a_tenant_may_have() -> None:
    """It could wait for ever."""
    door = Door(settings=AdmissionSettings(tenant_memory_share=0.5), budget_bytes=100)
    assert barrier(door, 0.0, door.applicant(ticket("1", size_bytes=51))) is Barrier.MEMORY
    assert barrier(door, 0.0, door.applicant(ticket("2", size_bytes=50))) is None


def test_a_call_is_impossible_when_even_an_idle_server_would_be_late() -> None:
    """Told now, so that its caller can do something else."""
    door = Door()
    assert barrier(door, 0.0, door.applicant(ticket("1", due=1.0), wall_s=1.1)) is Barrier.INFEASIBLE


def test_a_request_is_poison_when_it_ended_two_workers() -> None:
    """The second time on trial: alone, and known as a suspect. Other requests of the same caller pass."""
    door = Door()
    run(door, 0.0, "first", "a", bad=True, digest=b"poison")
    assert door.gate.arrive(1.0, door.applicant(ticket("again"), digest=lambda: b"poison")) is None
    turns = door.gate.turns(1.0)
    assert [(turn.trial, turn.suspect) for turn in turns] == [(True, True)]
    door.gate.finish(1.0, "again", killed(0.1))
    assert barrier(door, 2.0, door.applicant(ticket("3"), digest=lambda: b"poison")) is Barrier.POISON
    assert barrier(door, 2.0, door.applicant(ticket("4"), digest=lambda: b"bread")) is None


def test_a_trial_is_given_back_when_its_call_never_ran() -> None:
    """Else one caller that leaves would hold the trial for a minute."""
    door = Door()
    run(door, 0.0, "first", "a", bad=True, digest=b"poison")
    door.gate.arrive(1.0, door.applicant(ticket("leaves"), digest=lambda: b"poison"))
    assert barrier(door, 1.0, door.applicant(ticket("too"), digest=lambda: b"poison")) is Barrier.POISON
    assert door.gate.leave(1.0, "leaves")
    assert barrier(door, 1.0, door.applicant(ticket("2"), digest=lambda: b"poison")) is None


def test_only_its_own_breaker_opens_when_one_tenant_kills_workers() -> None:
    """Three kills of one tenant stop that tenant in that class, and nobody else."""
    door = Door()
    for number in range(3):
        run(door, 0.0, f"kill{number}", "a", bad=True)
    assert barrier(door, 1.0, door.applicant(ticket("1", "a"))) is Barrier.OWN_BREAKER
    assert barrier(door, 1.0, door.applicant(ticket("2", "a"), feature_class="size:2")) is None
    assert barrier(door, 1.0, door.applicant(ticket("3", "b"))) is None


def test_everybody_is_stopped_when_three_tenants_kill_workers_and_nothing_goes_well() -> None:
    """The class does it, then, and not a caller."""
    door = Door()
    for number in range(5):
        run(door, 0.0, f"kill{number}", "abc"[number % 3], bad=True)
    assert barrier(door, 1.0, door.applicant(ticket("1", "stranger"))) is Barrier.SHARED_BREAKER


def test_a_caller_is_refused_by_its_own_level_when_it_has_used_it_up() -> None:
    """Come back later; more than the bucket ever holds is never."""
    door = Door(ladder=NARROW, rates={"a": 1.0}, slots=(2, 2))
    door.let_in(0.0, ticket("1", "a", 1.0))
    assert barrier(door, 0.0, door.applicant(ticket("2", "a", 1.0))) is Barrier.QUOTA
    assert barrier(door, 0.0, door.applicant(ticket("3", "a", 2.0))) is Barrier.BEYOND_QUOTA


def test_a_stranger_is_refused_by_its_group_when_the_others_have_used_it_up() -> None:
    """Each is within its own limit."""
    door = Door(ladder=NARROW, slots=(9, 9), settings=AdmissionSettings())
    found = [barrier(door, 0.0, door.applicant(ticket(f"{n}", f"stranger{n}", 0.4, due=1e3))) for n in range(5)]
    assert found[0] is None
    assert found[-1] is Barrier.GROUP


def test_a_tenant_is_refused_when_its_own_queue_is_full() -> None:
    """Others still come in, and one waiting call is always allowed."""
    door = Door(settings=AdmissionSettings(queue_s=20.0, tenant_queue_s=2.0))
    door.let_in(0.0, ticket("long", "a", 10.0), ticket("short", "b", 1.5))
    assert barrier(door, 0.0, door.applicant(ticket("2", "a", 0.1))) is Barrier.OWN_QUEUE
    assert barrier(door, 0.0, door.applicant(ticket("3", "b", 0.1))) is None


def test_everybody_is_refused_when_the_queue_is_full() -> None:
    """Of that lane only."""
    door = Door(settings=AdmissionSettings(queue_s=2.0, tenant_queue_s=2.0))
    door.let_in(0.0, ticket("1", "a", 1.9))
    assert barrier(door, 0.0, door.applicant(ticket("2", "b", 0.2))) is Barrier.QUEUE
    assert barrier(door, 0.0, door.applicant(ticket("3", "b", 0.2, lane=Lane.LONG))) is None


def test_a_call_is_refused_when_it_would_wait_past_its_deadline() -> None:
    """By the work that goes first under fair sharing, and not by all that waits."""
    door = Door()
    door.let_in(0.0, *(ticket(f"{number}", "a", 1.0) for number in range(5)))
    assert barrier(door, 0.0, door.applicant(ticket("late", "a", 1.0, due=5.9))) is Barrier.OWN_QUEUE
    assert barrier(door, 0.0, door.applicant(ticket("other", "b", 0.1, due=0.15))) is Barrier.WAIT
    assert barrier(door, 0.0, door.applicant(ticket("fair", "b", 0.1, due=0.3))) is None


def test_strangers_give_way_when_every_call_waits_for_most_of_its_slack() -> None:
    """Callers with a record don't, and it ends with one call that waited little."""
    door = Door(settings=AdmissionSettings(tenant_queue_s=20.0, efficiency=1.0))
    door.let_in(0.0, *(ticket(f"{number}", "a", 1.0, due=9.1 + number / 10) for number in range(9)))
    for second in range(6, 9):
        assert len(door.started(float(second))) == 1
        door.gate.finish(float(second), f"{second - 6}", good(1.0))
    assert barrier(door, 8.0, door.applicant(ticket("s", "stranger", 0.1))) is Barrier.STANDING
    glance = door.gate.glance(8.0, door.levels("stranger"), door.trust("stranger"), 0.001)
    assert glance is not None
    assert glance.barrier is Barrier.STANDING
    assert barrier(door, 8.0, door.applicant(ticket("b", "b", 0.1))) is None


def test_everybody_is_refused_on_the_head_when_the_front_is_overrun() -> None:
    """And punctual heartbeats end it."""
    door = Door()
    for late_s in (0.2, 0.2, 0.2):
        door.parts.surge.beat(late_s)
    glance = door.gate.glance(0.0, door.levels("a"), door.trust("a"), 0.001)
    assert glance is not None
    assert glance.barrier is Barrier.OVERRUN
    for _ in range(3):
        door.parts.surge.beat(0.0)
    assert door.gate.glance(0.0, door.levels("a"), door.trust("a"), 0.001) is None


def test_a_caller_is_refused_on_the_head_when_it_has_no_quota_for_anything() -> None:
    """And charged for asking."""
    door = Door(ladder=NARROW, rates={"a": 1.0})
    door.let_in(0.0, ticket("1", "a", 1.1999))
    glance = door.gate.glance(0.0, door.levels("a"), door.trust("a"), 0.1)
    assert glance is not None
    assert glance.barrier is Barrier.QUOTA


def test_a_call_is_not_started_when_its_turn_comes_too_late() -> None:
    """It holds nothing any more, and the next one runs."""
    door = Door()
    door.let_in(0.0, ticket("runs", "a", due=2.9))
    assert door.started(0.0) == ["runs"]
    door.let_in(0.0, ticket("late", "a", due=3.0), ticket("next", "b", 1.1))
    door.gate.finish(2.5, "runs", good(0.0))
    turns = door.gate.turns(2.5)
    assert {turn.id: turn.denial.barrier if turn.denial else None for turn in turns} == {
        "late": Barrier.LATE,
        "next": None,
    }


def test_nothing_is_held_when_calls_have_ended_or_left() -> None:
    """Waiting, running, slots, bytes, leases, reservations, backlog."""
    door = Door()
    door.let_in(0.0, ticket("1", "a"), ticket("2", "b"), ticket("3", "stranger", 0.5))
    assert len(door.started(0.0)) == 1
    assert door.held()["leases"] == 3
    for name in ("1", "2", "3"):
        if not door.gate.leave(0.0, name):
            door.gate.finish(0.0, name, good(1.0))
    assert set(door.held().values()) == {0}


def test_a_call_is_finished_only_once_when_asked_twice() -> None:
    """Or slots and bytes would drift."""
    door = Door()
    run(door, 0.0, "1", "a", bad=False)
    with pytest.raises(WickguardError):
        door.gate.finish(0.0, "1", good(0.1))
    assert not door.gate.leave(0.0, "1")


def test_a_question_takes_nothing_when_it_is_only_asked() -> None:
    """And says the same as arriving."""
    door = Door(ladder=NARROW, rates={"a": 1.0})
    first, second = (door.applicant(ticket(name, "a", 1.0)) for name in ("1", "2"))
    before = door.held()
    assert door.gate.would(0.0, first) == (None, 0.0)
    assert door.held() == before
    assert door.gate.arrive(0.0, first) is None
    denial, wait_s = door.gate.would(0.0, second)
    assert denial is not None
    assert (denial.barrier, wait_s) == (Barrier.QUOTA, 1.0)


def test_a_refusal_is_charged_when_its_caller_is_known() -> None:
    """A thousandth of a second: asking is not free either."""
    door = Door(ladder=NARROW, rates={"a": 1.0})
    assert door.gate.arrive(0.0, door.applicant(ticket("1", "a", 5.0))) is not None
    own = door.levels("a")[-1]
    available, _ = door.parts.quota.available(0.0, own)
    assert available == pytest.approx(own.limit.depth - 0.001, abs=1e-5)


def test_a_waiting_call_is_not_started_when_its_breaker_has_opened_meanwhile() -> None:
    """Poison that was let in before its tenant was found out does not run; what others wait with does."""
    door = Door()
    for number in range(5):
        assert door.gate.arrive(0.0, door.applicant(ticket(f"a{number}"), digest=f"a{number}".encode)) is None
    door.let_in(0.0, ticket("b0", "b"))
    denials, ran = [], []
    for second in range(8):
        for turn in door.gate.turns(float(second)):
            if turn.denial is not None:
                denials.append((turn.id, turn.denial.barrier))
                continue
            ran.append(turn.id)
            door.gate.finish(float(second), turn.id, good(1.0) if turn.id == "b0" else killed(1.0))
    assert sorted(ran) == ["a0", "a1", "a2", "b0"]
    assert denials == [(f"a{number}", Barrier.OWN_BREAKER) for number in (3, 4)]
    assert set(door.held().values()) == {0}


def test_a_copy_is_tried_alone_when_it_waited_while_the_first_one_struck() -> None:
    """The first copy ends a worker; the second runs as a trial; after its strike the third is refused."""
    door = Door()
    for name in "xyz":
        waiting = ticket(name, "abc"["xyz".index(name)])
        assert door.gate.arrive(0.0, door.applicant(waiting, digest=lambda: b"poison")) is None
    seen = []
    for second in range(3):
        for turn in door.gate.turns(float(second)):
            seen.append((turn.suspect, turn.denial.barrier if turn.denial else None))
            if turn.denial is None:
                door.gate.finish(float(second), turn.id, killed(1.0))
    assert seen == [(False, None), (True, None), (False, Barrier.POISON)]
    assert set(door.held().values()) == {0}


def test_a_crowd_of_strangers_leaves_half_of_the_queue_and_every_other_turn_to_those_who_are_known() -> None:
    """Who has called for a minute, and well, is not in the crowd of those who have come just now."""
    door = Door(settings=AdmissionSettings(queue_s=10.0, tenant_queue_s=5.0, efficiency=1.0))
    for number in range(6):
        door.let_in(12.0 * number, ticket(f"{number}", "friend", 0.1))
        assert door.started(12.0 * number) == [f"{number}"]
        door.gate.finish(12.0 * number + 0.1, f"{number}", good(0.1))
    found = [barrier(door, 61.0, door.applicant(ticket(f"s{n}", f"stranger{n}", 0.5, due=1e3))) for n in range(12)]
    assert found == [None] * 10 + [Barrier.QUEUE] * 2
    door.let_in(61.0, ticket("f1", "friend", 0.5, due=1e3), ticket("f2", "friend", 0.5, due=1e3))
    order = []
    for half_seconds in range(122, 126):
        (name,) = door.started(half_seconds / 2)
        order.append(name[0])
        door.gate.finish(half_seconds / 2 + 0.5, name, good(0.5))
    assert sorted(order) == ["f", "f", "s", "s"]
