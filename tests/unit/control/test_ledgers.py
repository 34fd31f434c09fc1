"""Memory reservation and slots: what they grant, and that nothing can be given back twice."""

from __future__ import annotations

import pytest

from wickguard.control.memory import MemoryReservation
from wickguard.control.slots import Slots
from wickguard.errors import ConfigError, WickguardError
from wickguard.records import Lane


def test_memory_is_held_until_released_when_it_fits() -> None:
    """The budget itself can be held, not a byte more."""
    memory = MemoryReservation(100)
    assert memory.hold("a", 60)
    assert not memory.hold("b", 41)
    assert memory.hold("b", 40)
    assert (memory.held_bytes, memory.fits(0), memory.fits(1)) == (100, True, False)
    assert memory.release("a") == 60
    assert memory.held_bytes == 40


def test_memory_refuses_when_a_hold_is_taken_or_released_twice() -> None:
    """Either would let the sum drift from the truth."""
    memory = MemoryReservation(100)
    memory.hold("a", 1)
    with pytest.raises(WickguardError):
        memory.hold("a", 1)
    memory.release("a")
    with pytest.raises(WickguardError):
        memory.release("a")
    assert not memory.hold("negative", -1)
    assert memory.held_bytes == 0


def test_memory_says_what_never_fits_when_asked() -> None:
    """The budget is the line."""
    memory = MemoryReservation(100)
    assert memory.ever_fits(100)
    assert not memory.ever_fits(101)
    with pytest.raises(ConfigError):
        MemoryReservation(0)


def test_memory_is_left_for_others_when_one_tenant_has_its_share() -> None:
    """Each has its own share; what is released can be held again."""
    memory = MemoryReservation(100, tenant_share=0.5)
    assert memory.share_bytes == 50
    assert (memory.ever_fits(50), memory.ever_fits(51)) == (True, False)
    assert memory.hold("a1", 50, "a")
    assert not memory.fits(1, "a")
    assert not memory.hold("a2", 1, "a")
    assert memory.hold("b1", 50, "b")
    memory.release("a1")
    assert memory.hold("a2", 20, "a")
    assert not memory.hold("a3", 31, "a")


def test_memory_is_released_when_a_tenant_holds_nothing_twice() -> None:
    """A hold of no bytes is a hold."""
    memory = MemoryReservation(100, tenant_share=0.5)
    assert memory.hold("a1", 0, "a")
    assert memory.hold("a2", 0, "a")
    assert (memory.release("a1"), memory.release("a2"), memory.held_bytes) == (0, 0, 0)


@pytest.mark.parametrize("share", [0.0, -0.1, 1.1])
def test_memory_refuses_when_the_share_makes_no_sense(share: float) -> None:
    """At load."""
    with pytest.raises(ConfigError):
        MemoryReservation(100, share)


def test_long_calls_leave_slots_when_they_have_taken_their_share() -> None:
    """Short ones may take everything, long ones only their part."""
    slots = Slots(3, 1)
    slots.take(Lane.LONG)
    assert not slots.free(Lane.LONG)
    slots.take(Lane.SHORT)
    slots.take(Lane.SHORT)
    assert not slots.free(Lane.SHORT)
    assert (slots.running(Lane.SHORT), slots.running(Lane.LONG)) == (2, 1)
    slots.give_back(Lane.LONG)
    assert slots.free(Lane.LONG)


@pytest.mark.parametrize("lane", list(Lane))
def test_slots_refuse_when_used_wrongly(lane: Lane) -> None:
    """Taking what is not free and giving back what is not taken are errors of ours."""
    slots = Slots(1, 1)
    with pytest.raises(WickguardError):
        slots.give_back(lane)
    slots.take(lane)
    with pytest.raises(WickguardError):
        slots.take(lane)


@pytest.mark.parametrize(("total", "long"), [(1, 0), (1, 2), (0, 0)])
def test_slots_refuse_when_the_shares_make_no_sense(total: int, long: int) -> None:
    """At load."""
    with pytest.raises(ConfigError):
        Slots(total, long)
