"""Law 1: every hold is released exactly once, on every path, cancellation included.

The real front over a backend that a hypothesis state machine steps: arrivals of any size, every outcome, exceptions,
disconnects, deadlines that pass, tasks cancelled at whatever await they are in, draining. MemoryReservation and Slots raise
when anything is given back twice; at the end everything that can be held must be at zero.
"""

from __future__ import annotations

import asyncio
import json

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.fakes import MINILM, Exchange, FakeClock, Rig, RigSettings, body, completed, ended, rig, scope, settle_down

from wickguard import clock
from wickguard.control.gate import AdmissionSettings
from wickguard.guard.edge import EdgeSettings
from wickguard.records import Lane, OutcomeKind
from wickguard.telemetry.events import CallAdmitted, CallSettled
from wickguard.units import MIB

SETTINGS = RigSettings(
    edge=EdgeSettings(
        max_body_bytes=8192, max_bytes_per_caller=16_384, max_bytes_in_flight=32_768, max_open_per_caller=5
    ),
    admission=AdmissionSettings(queue_s=3.0, tenant_queue_s=1.0),
    slots=(1, 1),
    memory_bytes=150 * MIB,
)
KINDS = list(OutcomeKind)


class TurnedLoop(asyncio.SelectorEventLoop):
    """A loop whose time stands still until a test turns the clock, so that every run of an example is the same."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self._turned = clock

    def time(self) -> float:
        """The test's time."""
        return self._turned()


class Front(RuleBasedStateMachine):
    """Random lives of requests."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.loop = TurnedLoop(self.clock)
        self.real_now, clock.now = clock.now, self.clock
        self.rig: Rig = self.loop.run_until_complete(self._rig())
        self.rig.backend.stops_when_abandoned = False
        self.tasks: list[asyncio.Task[None]] = []
        self.exchanges: list[Exchange] = []

    async def _rig(self) -> Rig:
        return rig(SETTINGS, lambda job: None, self.clock)

    def run(self, turns: int = 3) -> None:
        """Let the loop make some steps; few, so that requests are met at every await."""
        self.loop.run_until_complete(settle_down(turns))

    @rule(texts=st.integers(1, 9), words=st.sampled_from([1, 40, 150]))
    def crowd(self, texts: int, words: int) -> None:
        """Three tenants come at once; all but one will wait."""
        for tenant in (1, 2, 3):
            self.arrive(tenant, texts, words, None, True, 0)
        self.run(8)

    @rule(
        tenant=st.integers(1, 4),
        texts=st.integers(1, 9),
        words=st.sampled_from([1, 40, 150]),
        timeout_ms=st.sampled_from([None, 1, 50, 5000]),
        whole=st.booleans(),
        turns=st.integers(0, 6),
    )
    def arrive(self, tenant: int, texts: int, words: int, timeout_ms: int | None, whole: bool, turns: int) -> None:
        """A request comes; perhaps only half of its body."""
        data = json.dumps({"model": MINILM.name, "input": ["word " * words] * texts}).encode()
        exchange = Exchange(body(data if whole else data[:10], more=not whole))
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(data))]
        if timeout_ms is not None:
            headers.append((b"x-request-timeout-ms", b"%d" % timeout_ms))
        asked = scope(headers=headers, peer=f"127.0.0.{tenant}")
        self.exchanges.append(exchange)
        self.tasks.append(self.loop.create_task(self.rig.application(asked, exchange.receive, exchange.send)))
        self.run(turns)

    @precondition(lambda self: self.rig.backend.running)
    @rule(which=st.integers(0, 99), kind=st.sampled_from(KINDS), retryable=st.booleans(), turns=st.integers(0, 6))
    def end(self, which: int, kind: OutcomeKind, retryable: bool, turns: int) -> None:
        """A running call ends somehow."""
        running = self.rig.backend.running
        call_id = running[which % len(running)]
        job = self.rig.backend.jobs[call_id]
        well = kind is OutcomeKind.COMPLETED
        self.rig.backend.finish(call_id, completed(job, 0.2) if well else ended(kind, 0.2, retryable=retryable))
        self.run(turns)

    @precondition(lambda self: self.rig.backend.running)
    @rule(which=st.integers(0, 99))
    def explode(self, which: int) -> None:
        """The backend raises, which it has promised not to."""
        running = self.rig.backend.running
        self.rig.backend.fail(running[which % len(running)], RuntimeError("broken"))
        self.run()

    @precondition(lambda self: self.exchanges)
    @rule(which=st.integers(0, 99), turns=st.integers(0, 6))
    def disconnect(self, which: int, turns: int) -> None:
        """A client leaves."""
        self.exchanges[which % len(self.exchanges)].disconnect()
        self.run(turns)

    @precondition(lambda self: self.tasks)
    @rule(which=st.integers(0, 99), turns=st.integers(0, 6))
    def cancel(self, which: int, turns: int) -> None:
        """The HTTP server cancels a request's task."""
        self.tasks[which % len(self.tasks)].cancel()
        self.run(turns)

    @precondition(lambda self: self.rig.backend.running and self.rig.stages.admission.waiting)
    @rule(which=st.integers(0, 99), turns=st.integers(0, 9), cancelled=st.booleans())
    def hand_over(self, which: int, turns: int, cancelled: bool) -> None:
        """A slot passes to the next one, and in that very instant everybody stops waiting."""
        running = self.rig.backend.running
        self.rig.backend.finish(running[which % len(running)], ended(OutcomeKind.CRASHED, 0.2))
        self.run(turns)
        for task, exchange in zip(self.tasks, self.exchanges, strict=True):
            if cancelled:
                task.cancel()
            else:
                exchange.disconnect()
        self.run()

    @rule(seconds=st.sampled_from([0.01, 1.0, 10.0]))
    def wait(self, seconds: float) -> None:
        """Time passes: deadlines, body limits and waits end."""
        self.clock.advance(seconds)
        self.run()

    @invariant()
    def never_more_than_allowed(self) -> None:
        """Law 3 on the way: granted bytes, slots, bytes in flight."""
        admission, flight = self.rig.stages.admission, self.rig.stages.flight
        assert 0 <= admission.held_bytes <= SETTINGS.memory_bytes
        slots = admission.gate.parts.slots
        assert 0 <= slots.running(Lane.SHORT) + slots.running(Lane.LONG) <= SETTINGS.slots[0]
        assert 0 <= flight.bytes_held <= SETTINGS.edge.max_bytes_in_flight

    def teardown(self) -> None:
        """Everybody leaves, all work stops: nothing is held, and every execution was settled once."""
        try:
            self.check()
        finally:
            clock.now = self.real_now
            self.loop.close()

    def check(self) -> None:
        """What must hold when nobody is left."""
        for exchange in self.exchanges:
            exchange.disconnect()
        for _ in range(len(self.tasks) + 5):
            # A company whose member never comes starts without it, after a moment.
            self.clock.advance(0.01)
            self.run(20)
            for call_id in self.rig.backend.running:
                self.rig.backend.finish(call_id, ended(OutcomeKind.ABANDONED))
        self.run(20)
        assert all(task.done() for task in self.tasks)
        assert [task for task in self.tasks if not task.cancelled() and task.exception()] == []
        assert {name: value for name, value in self.rig.holds().items() if value} == {}
        settled = [event.request_id for event in self.rig.events if isinstance(event, CallSettled)]
        admitted = [event.request_id for event in self.rig.events if isinstance(event, CallAdmitted)]
        assert sorted(settled) == sorted(admitted)
        alone = {name for name in self.rig.backend.jobs if "+" not in name}
        assert alone <= set(admitted)


Front.TestCase.settings = settings(max_examples=50, stateful_step_count=30)


class TestConservation(Front.TestCase):  # type: ignore[name-defined,misc]
    """Every hold is released exactly once."""
