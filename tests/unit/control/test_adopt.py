"""Other settings for algorithms that are at work: in force from the next decision on; what is held stays held."""

from __future__ import annotations

import pytest
from tests.applicants import Door, good, ticket

from wickguard.control.applicant import Barrier
from wickguard.control.bucket import Limit
from wickguard.control.fair_queue import FairQueue
from wickguard.control.gate import AdmissionSettings
from wickguard.control.ladder import Level, Scope
from wickguard.control.memory import MemoryReservation
from wickguard.control.quota import Quota, QuotaSettings
from wickguard.errors import ConfigError
from wickguard.records import Lane


def test_what_is_held_stays_held_when_the_share_of_a_tenant_shrinks() -> None:
    """More than the new share, until it is given back; then the new one holds."""
    memory = MemoryReservation(100, tenant_share=0.8)
    assert memory.hold("1", 60, "a")
    memory.adopt(0.5)
    assert (memory.held_bytes, memory.share_bytes, memory.ever_fits(51)) == (60, 50, False)
    assert not memory.fits(1, "a")
    assert memory.fits(40, "b")
    assert memory.release("1") == 60
    assert memory.fits(50, "a")
    with pytest.raises(ConfigError, match="tenant_share"):
        memory.adopt(0.0)


def test_long_calls_get_another_part_when_the_floor_changes() -> None:
    """Of the next forty compute-seconds."""

    def served(queue: FairQueue) -> int:
        for number in range(40):
            queue.push(ticket(f"s{number}", f"t{number}"))
            queue.push(ticket(f"l{number}", f"u{number}", lane=Lane.LONG))
        started = [queue.pop(lambda found: True) for _ in range(40)]
        return sum(found is not None and found.lane is Lane.LONG for found in started)

    low, high = FairQueue(long_floor=0.5), FairQueue(long_floor=0.1)
    low.adopt(0.1)
    high.adopt(0.5)
    assert served(low) == served(FairQueue(long_floor=0.1)) < served(high) == served(FairQueue(long_floor=0.5))


def test_a_refusal_costs_what_the_new_settings_say_when_they_change() -> None:
    """What was charged before stays."""
    quota = Quota(b"seed", QuotaSettings(refusal_s=0.25))
    level = Level(Scope.TENANT, "a", Limit(1.0, 10.0))
    quota.charge_refusal(0.0, [level])
    quota.adopt(QuotaSettings(refusal_s=2.0))
    quota.charge_refusal(0.0, [level])
    assert quota.available(0.0, level)[0] == pytest.approx(10.0 - 0.25 - 2.0)


def test_the_gate_decides_by_new_settings_and_keeps_what_waits_and_runs_when_they_change() -> None:
    """A queue that is longer than it may be now is worked off."""
    door = Door()
    for name in ("1", "2", "3"):
        assert door.gate.arrive(0.0, door.applicant(ticket(name))) is None
    assert door.started(0.0) == ["1"]
    door.gate.adopt(AdmissionSettings(queue_s=1.0, tenant_queue_s=1.0, tenant_memory_share=0.1))
    assert (door.gate.running, door.gate.waiting, door.parts.memory.share_bytes) == (1, 2, 10)
    denial = door.gate.arrive(0.0, door.applicant(ticket("4")))
    assert denial is not None
    assert denial.barrier is Barrier.OWN_QUEUE
    for name, following in (("1", ["2"]), ("2", ["3"]), ("3", [])):
        door.gate.finish(1.0, name, good(1.0))
        assert door.started(1.0) == following
    assert (door.gate.running, door.gate.waiting, len(door.parts.quota)) == (0, 0, 0)
