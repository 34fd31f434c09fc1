"""Admission: who starts, who waits, who is refused, and that nothing stays behind."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from tests.fakes import FakeClock, admission_of, call_of, quote_of, settle_down

from wickguard.control.applicant import Ending
from wickguard.control.breaker import Verdict
from wickguard.control.gate import AdmissionSettings
from wickguard.errors import ConfigError, WickguardError
from wickguard.records import Call, Grant, Lane, Quote
from wickguard.rejection import Reason, Rejection
from wickguard.units import MIB

Asked = asyncio.Task[Grant | Rejection]


class Gate:
    """An admission with a fake clock, and tasks that ask for grants."""

    def __init__(self, slots: tuple[int, int] = (1, 1), budget: int = 100 * MIB, **settings: float) -> None:
        self.clock = FakeClock()
        settings = {"tenant_memory_share": 1.0, "efficiency": 1.0, **settings}
        self.admission = admission_of(self.clock, AdmissionSettings(**settings), slots, budget)
        self.gone: dict[str, asyncio.Future[None]] = {}

    def ask(self, call: Call, quote: Quote | None = None) -> Asked:
        """Ask for a grant in a task of its own."""
        gone = self.gone[call.id] = asyncio.get_running_loop().create_future()
        return asyncio.create_task(self.admission.admit(call, quote or quote_of(), gone))

    def empty(self) -> bool:
        """Whether nothing is held and nobody waits."""
        gate = self.admission
        return (gate.running, gate.waiting, gate.held_bytes, gate.queued_s(Lane.SHORT)) == (0, 0, 0, 0)


def used(cpu_s: float) -> Ending:
    """How a call that went well ended."""
    return Ending(cpu_s, 0, Verdict.GOOD)


def in_loop(scenario: Callable[[], Awaitable[None]]) -> None:
    """Run a scenario in a loop of its own."""

    async def whole() -> None:
        await scenario()

    asyncio.run(whole())


async def granted(task: Asked) -> Grant:
    """The grant that `task` got."""
    found = await task
    assert isinstance(found, Grant), found
    return found


async def refused(task: Asked) -> Rejection:
    """The refusal that `task` got."""
    found = await task
    assert isinstance(found, Rejection), found
    return found


def test_a_call_starts_at_once_when_a_slot_is_free() -> None:
    """With the ceiling as its limits; all of it is given back, and what was used is charged."""

    async def scenario() -> None:
        gate = Gate()
        quote = quote_of(0.5, 10 * MIB)
        grant = await granted(gate.ask(call_of("a"), quote))
        assert (grant.limits, gate.admission.held_bytes) == (quote.ceiling, 10 * MIB)
        assert gate.admission.release(grant, used(0.5)).charged_s == pytest.approx(0.5, abs=1e-5)
        assert gate.empty()

    in_loop(scenario)


def test_a_grant_is_released_only_once_when_asked_twice() -> None:
    """The second time is an error of ours, loudly."""

    async def scenario() -> None:
        gate = Gate()
        grant = await granted(gate.ask(call_of("a")))
        gate.admission.release(grant, used(0.0))
        with pytest.raises(WickguardError):
            gate.admission.release(grant, used(0.0))
        assert gate.empty()

    in_loop(scenario)


def test_a_call_waits_when_no_slot_is_free() -> None:
    """And starts when one is; the time it waited is in its grant."""

    async def scenario() -> None:
        gate = Gate()
        first = await granted(gate.ask(call_of("a", call_id="1")))
        second = gate.ask(call_of("b", call_id="2", tenant="key:bob"))
        await settle_down()
        assert (gate.admission.running, gate.admission.waiting) == (1, 1)
        gate.clock.advance(2.0)
        gate.admission.release(first, used(0.1))
        grant = await granted(second)
        assert grant.queued_s == 2.0

    in_loop(scenario)


def test_a_call_waits_when_its_memory_does_not_fit() -> None:
    """All or nothing: it holds no slot meanwhile, and a smaller call of another tenant starts."""

    async def scenario() -> None:
        gate = Gate((3, 3), budget=100 * MIB)
        first = await granted(gate.ask(call_of("a", call_id="1"), quote_of(0.01, 80 * MIB)))
        large = gate.ask(call_of("b", call_id="2", tenant="key:bob"), quote_of(0.01, 50 * MIB))
        await settle_down()
        await granted(gate.ask(call_of("c", call_id="3", tenant="key:eve"), quote_of(0.01, 10 * MIB)))
        assert not large.done()
        assert gate.admission.held_bytes == 90 * MIB
        gate.admission.release(first, used(0.0))
        await granted(large)

    in_loop(scenario)


def test_a_call_is_refused_for_ever_when_it_needs_more_than_the_budget() -> None:
    """Not retryable: it could wait for ever."""

    async def scenario() -> None:
        found = await refused(Gate(budget=10 * MIB).ask(call_of("a"), quote_of(0.01, 11 * MIB)))
        assert (found.reason, found.meaning.retryable) == (Reason.UNAFFORDABLE, False)

    in_loop(scenario)


def test_a_call_is_refused_at_once_when_its_deadline_is_too_near() -> None:
    """At the 90th percentile of its predicted run, on an idle server."""

    async def scenario() -> None:
        gate = Gate()
        found = await refused(gate.ask(call_of("a", deadline_at=1001.0), quote_of(0.75)))
        assert (found.reason, found.limit, found.seen) == (Reason.DEADLINE_INFEASIBLE, 1.0, 1.033)
        await granted(gate.ask(call_of("a", deadline_at=1001.0), quote_of(0.70)))

    in_loop(scenario)


def test_a_tenant_is_refused_when_its_own_backlog_is_full() -> None:
    """429 with when to come back; another tenant may still wait."""

    async def scenario() -> None:
        gate = Gate(tenant_queue_s=1.0, queue_s=20.0)
        await granted(gate.ask(call_of("a", call_id="0")))
        gate.ask(call_of("a", call_id="1"), quote_of(0.9))
        await settle_down()
        found = await refused(gate.ask(call_of("a", call_id="2"), quote_of(0.2)))
        assert found.reason is Reason.OVER_SHARE
        assert found.retry_after_s is not None
        assert found.retry_after_s >= 1.0
        gate.ask(call_of("b", call_id="3", tenant="key:bob"), quote_of(0.9))
        await settle_down()
        assert gate.admission.waiting == 2

    in_loop(scenario)


def test_one_call_may_always_wait_when_its_tenant_has_none_waiting() -> None:
    """However long it is: else a long call could never run on a busy server."""

    async def scenario() -> None:
        gate = Gate(tenant_queue_s=1.0, queue_s=2.0)
        await granted(gate.ask(call_of("a", call_id="0")))
        gate.ask(call_of("a", call_id="1"), quote_of(30.0))
        await settle_down()
        assert gate.admission.waiting == 1

    in_loop(scenario)


def test_everybody_is_refused_when_the_queue_is_full() -> None:
    """503: the server's state, not the caller's fault."""

    async def scenario() -> None:
        gate = Gate(tenant_queue_s=1.0, queue_s=2.0)
        await granted(gate.ask(call_of("a", call_id="0")))
        for number in (1, 2):
            gate.ask(call_of("a", call_id=str(number), tenant=f"key:{number}"), quote_of(0.9))
        await settle_down()
        found = await refused(gate.ask(call_of("a", call_id="3", tenant="key:3"), quote_of(0.9)))
        assert (found.reason, found.meaning.retryable) == (Reason.OVERLOADED, True)

    in_loop(scenario)


def test_a_call_is_refused_now_when_it_would_wait_past_its_deadline() -> None:
    """What is left of what runs, and what goes first, are predicted before it queues."""

    async def scenario() -> None:
        gate = Gate()
        await granted(gate.ask(call_of("a", call_id="0"), quote_of(10.0)))
        found = await refused(gate.ask(call_of("b", call_id="1", tenant="key:b", deadline_at=1003.0), quote_of(0.1)))
        assert (found.reason, found.seen) == (Reason.OVERLOADED, 10.0)

    in_loop(scenario)


def test_a_call_is_not_started_when_its_time_ran_out_in_the_queue() -> None:
    """The deadline is checked again when its turn comes; the slot goes to the next one."""

    async def scenario() -> None:
        gate = Gate()
        first = await granted(gate.ask(call_of("a", call_id="0"), quote_of(1.0)))
        late = gate.ask(call_of("b", call_id="1", tenant="key:b", deadline_at=1005.0), quote_of(2.0))
        patient = gate.ask(call_of("c", call_id="2", tenant="key:c"), quote_of(2.0))
        await settle_down()
        gate.clock.advance(4.0)
        gate.admission.release(first, used(1.0))
        found = await refused(late)
        assert (found.reason, found.limit) == (Reason.DEADLINE_EXCEEDED, 1.0)
        gate.admission.release(await granted(patient), used(1.0))
        assert gate.empty()

    in_loop(scenario)


def test_a_waiting_call_ends_when_its_deadline_passes() -> None:
    """By the loop's timer, not by the next dispatch."""

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        gate = admission_of(loop.time, slots=(1, 1))
        gone: asyncio.Future[None] = loop.create_future()
        held = await gate.admit(call_of("a", call_id="0", deadline_at=loop.time() + 9), quote_of(0.001), gone)
        assert isinstance(held, Grant)
        found = await gate.admit(
            call_of("b", call_id="1", tenant="b", deadline_at=loop.time() + 0.05), quote_of(0.001), gone
        )
        assert isinstance(found, Rejection)
        assert found.reason is Reason.DEADLINE_EXCEEDED
        assert gate.waiting == 0

    in_loop(scenario)


def test_a_waiting_call_ends_when_its_client_leaves() -> None:
    """Its place in the queue is free at once."""

    async def scenario() -> None:
        gate = Gate()
        await granted(gate.ask(call_of("a", call_id="0")))
        waiting = gate.ask(call_of("b", call_id="1"))
        await settle_down()
        gate.gone["1"].set_result(None)
        assert (await refused(waiting)).reason is Reason.CLIENT_GONE
        assert gate.admission.waiting == 0

    in_loop(scenario)


@pytest.mark.parametrize("released_first", [True, False])
def test_nothing_is_held_when_a_waiting_call_is_cancelled(released_first: bool) -> None:
    """Also when it is granted in the very instant in which it is cancelled."""

    async def scenario() -> None:
        gate = Gate()
        first = await granted(gate.ask(call_of("a", call_id="0")))
        waiting = gate.ask(call_of("b", call_id="1"))
        await settle_down()
        if released_first:
            gate.admission.release(first, used(0.0))
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        if not released_first:
            gate.admission.release(first, used(0.0))
        assert gate.empty()

    in_loop(scenario)


def test_everybody_is_sent_away_when_the_server_drains() -> None:
    """Retryable: another server, or this one after its restart, can serve it."""

    async def scenario() -> None:
        gate = Gate()
        gate.admission.draining = True
        found = await refused(gate.ask(call_of("a")))
        assert (found.reason, found.meaning.retryable) == (Reason.DRAINING, True)

    in_loop(scenario)


def test_wall_limit_is_what_is_left_when_the_deadline_is_nearer_than_the_ceiling() -> None:
    """What can't be used any more is not granted."""

    async def scenario() -> None:
        grant = await granted(Gate().ask(call_of("a", deadline_at=1000.5), quote_of(0.1)))
        assert (grant.limits.wall_s, grant.limits.cpu_s) == (0.5, 1.0)

    in_loop(scenario)


def test_a_long_call_leaves_a_slot_when_short_ones_come() -> None:
    """However many long calls wait."""

    async def scenario() -> None:
        gate = Gate((2, 1))
        await granted(gate.ask(call_of("a", call_id="0"), quote_of(1.0, lane=Lane.LONG)))
        gate.ask(call_of("a", call_id="1"), quote_of(1.0, lane=Lane.LONG))
        await settle_down()
        await granted(gate.ask(call_of("a", call_id="2"), quote_of(0.01)))
        assert gate.admission.waiting == 1

    in_loop(scenario)


@pytest.mark.parametrize(
    "wrong",
    [{"queue_s": 1.0, "tenant_queue_s": 2.0}, {"tenant_queue_s": 0.0}, {"efficiency": 0.0}, {"long_floor": 1.0}],
)
def test_settings_are_refused_when_out_of_range(wrong: dict[str, float]) -> None:
    """At load."""
    with pytest.raises(ConfigError):
        AdmissionSettings(**wrong)
