"""Company: which waiting calls share a slot, and when it is free again."""

from __future__ import annotations

import pytest

from wickguard.control.applicant import Applicant, Barrier, Ending
from wickguard.control.breaker import Verdict
from wickguard.control.bucket import Limit
from wickguard.control.fair_queue import Ticket
from wickguard.control.gate import AdmissionSettings, Gate, Parts
from wickguard.control.ladder import Level, Scope, Trust
from wickguard.control.lease import Demand
from wickguard.control.memory import MemoryReservation
from wickguard.control.panel import Subject
from wickguard.control.quota import Quota
from wickguard.control.slots import Slots
from wickguard.errors import WickguardError
from wickguard.records import Lane

GOOD = Ending(0.001, 0, Verdict.GOOD)


def applicant(
    name: str, tenant: str = "a", batch: str = "alike", price_s: float = 0.004, due: float = 60.0
) -> Applicant:
    """A small call."""
    levels = (Level(Scope.TENANT, tenant, Limit(100.0, 1000.0)),)
    return Applicant(
        Ticket(name, tenant, Lane.SHORT, price_s, 10, due, 1.0, batch), Subject(tenant, "m", "c", tenant),
        Trust.ESTABLISHED, levels, Demand(price_s), price_s, name.encode,
    )  # fmt: skip


def gate(budget: int = 1000, slots: int = 1, **settings: float) -> Gate:
    """One slot of these is taken, by the call "first"."""
    made = Gate(
        Parts(Slots(slots, slots), MemoryReservation(budget), Quota(b"s")),
        AdmissionSettings(tenant_memory_share=1.0, **settings),
    )
    made.arrive(0.0, applicant("first"))
    assert [turn.id for turn in made.turns(0.0)] == ["first"]
    return made


def ids(made: Gate, now: float = 1.0) -> list[str]:
    """Who starts when "first" has ended."""
    made.finish(now, "first", GOOD)
    return [turn.id for turn in made.turns(now)]


def test_a_call_starts_alone_when_nobody_waits() -> None:
    """Nothing is delayed for company."""
    made = gate()
    made.finish(1.0, "first", GOOD)
    made.arrive(1.0, applicant("second"))
    (turn,) = made.turns(1.0)
    assert turn.company is None


def test_alike_calls_share_a_slot_when_they_wait() -> None:
    """Of several tenants; it is free when the last of them has ended."""
    made = gate()
    for number in range(3):
        assert made.arrive(0.0, applicant(f"a{number}")) is None
        assert made.arrive(0.0, applicant(f"b{number}", "b")) is None
    made.finish(1.0, "first", GOOD)
    turns = made.turns(1.0)
    assert {turn.company for turn in turns} == {turns[0].company}
    assert turns[0].company is not None
    assert (turns[0].company.size, made.running, made.parts.memory.held_bytes) == (6, 6, 60)
    made.arrive(1.0, applicant("late"))
    for turn in turns[:-1]:
        made.finish(2.0, turn.id, GOOD)
        assert made.turns(2.0) == []
    made.finish(2.0, turns[-1].id, GOOD)
    assert [turn.id for turn in made.turns(2.0)] == ["late"]
    with pytest.raises(WickguardError):
        made.finish(3.0, turns[0].id, GOOD)


def test_calls_start_alone_when_they_are_not_alike() -> None:
    """Another word, or none."""
    made = gate()
    for name, batch in (("x", "alike"), ("y", "other"), ("z", "")):
        made.arrive(0.0, applicant(name, batch=batch))
    assert ids(made) == ["x"]


def test_a_company_is_bounded_when_many_wait() -> None:
    """In calls, in predicted seconds, and in bytes."""
    for settings, budget, size in (({"batch_calls": 3}, 1000, 3), ({"batch_s": 0.017}, 1000, 4), ({}, 25, 2)):
        made = gate(budget, **settings)  # type: ignore[arg-type]
        for number in range(9):
            made.arrive(0.0, applicant(f"c{number}"))
        assert len(ids(made)) == size


def test_who_waits_is_shared_out_when_there_are_several_slots() -> None:
    """Nobody takes all and leaves another slot with nothing to do."""
    made = gate(slots=2)
    made.arrive(0.0, applicant("second"))
    assert [turn.id for turn in made.turns(0.0)] == ["second"]
    for number in range(6):
        made.arrive(0.0, applicant(f"c{number}"))
    # Seven are there: four for this slot, three for the other.
    assert len(ids(made)) == 4
    made.finish(1.0, "second", GOOD)
    assert len(made.turns(1.0)) == 2


def test_tenants_take_turns_when_they_share_a_slot() -> None:
    """A tenant that queued a hundred calls does not fill the company."""
    made = gate(batch_calls=4)
    for number in range(20):
        made.arrive(0.0, applicant(f"a{number}"))
    for number in range(2):
        made.arrive(0.0, applicant(f"b{number}", "b"))
    assert {"b0", "b1"} <= set(ids(made))


def test_a_late_one_is_told_and_the_others_go_on_when_time_ran_out() -> None:
    """Its place is taken by the next."""
    made = gate()
    for name, due in (("c0", 60.0), ("c1", 5.0), ("c2", 60.0)):
        made.arrive(0.0, applicant(name, tenant=name, due=due))
    made.finish(10.0, "first", GOOD)
    turns = {turn.id: turn for turn in made.turns(10.0)}
    assert turns["c1"].denial is not None
    assert turns["c1"].denial.barrier is Barrier.LATE
    assert turns["c0"].company == turns["c2"].company
    assert turns["c0"].company is not None
    assert turns["c0"].company.size == 2


def test_a_suspect_runs_alone_when_others_wait() -> None:
    """What has ended a worker before takes nobody with it."""
    made = gate()
    made.finish(0.0, "first", Ending(0.1, 0, Verdict.BAD, 0.01))
    made.arrive(1.0, applicant("again", price_s=0.004))
    made.turns(1.0)
    made.finish(1.5, "again", GOOD)
    for name in ("first", "second", "third"):
        made.arrive(2.0, applicant(name, tenant=name))
    started = []
    while turns := made.turns(2.0):
        started += turns
        for turn in turns:
            made.finish(2.0, turn.id, GOOD)
    assert {turn.id: (turn.suspect, turn.company is None) for turn in started} == {
        "first": (True, True), "second": (False, False), "third": (False, False),
    }  # fmt: skip


def test_nobody_shares_a_slot_with_a_tenant_whose_last_call_was_killed() -> None:
    """A company of poisons would hold its slot for a grant of each, and harm whoever is in it."""
    made = gate()
    for number in range(2):
        assert made.arrive(0.0, applicant(f"b{number}", "b")) is None
        assert made.arrive(0.0, applicant(f"a{number}")) is None
    made.finish(1.0, "first", Ending(0.001, 0, Verdict.BAD, 0.0))
    companies = []
    while turns := made.turns(1.0):
        companies.append(sorted(turn.id for turn in turns))
        for turn in turns:
            made.finish(1.0, turn.id, GOOD)
    assert sorted(companies) == [["a0"], ["a1"], ["b0", "b1"]]
