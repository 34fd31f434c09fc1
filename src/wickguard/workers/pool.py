"""Pool: the Backend made of killable processes.

Takes a free worker for each job, sends it, arms the arbiter, and turns a reply or a death into exactly one Outcome.
It promises that an outcome is returned only when the worker is idle again or reaped, whatever died meanwhile (worker,
zygote, arbiter, or the caller's task), and that CPU, wall time and peak bytes are measured also for killed calls. It
must not know what a payload means.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence

from wickguard import clock
from wickguard.backend import Job, ModelSpec, Sink
from wickguard.errors import ConfigError, ModelError, WorkerError
from wickguard.records import Cost, Lane, Outcome, OutcomeKind
from wickguard.units import GIB
from wickguard.workers.connection import Connection
from wickguard.workers.death import OUTCOMES, KillReason
from wickguard.workers.events import PoolState, WorkerEvent
from wickguard.workers.protocol import Arm, DeathNote, Hold, JobFrame, Message, Reply
from wickguard.workers.roster import Running, State, Worker, give_up
from wickguard.workers.settings import WorkerSettings, ZygoteSpec
from wickguard.workers.staff import FRAME_OVERHEAD, PEAK_GRACE_BYTES, Arbiter, Staff, cpu_of_last_call
from wickguard.workers.tier import Tier

# The arbiter, who only stands behind the kernel's timers, is told of calls that last longer than this: most calls are over
# by then, and waking a third process twice for each of them cost a caller 0.3 ms of 2 cores.
ARM_AFTER_S = 0.02
# What the kernel needs to take back what a process has dirtied: 150 ms for a GB (research, and benches/kill.py).
TEARDOWN_S_PER_BYTE = 0.15 / GIB
LET_FINISH_S = 0.1  # an abandoned call with less granted time than this is not worth a kill


class Pool:
    """See the module. Use from one event loop: `await start()`, `execute`, `drain`, `close`."""

    def __init__(
        self,
        specs: Sequence[ZygoteSpec],
        settings: WorkerSettings | None = None,
        on_event: Callable[[WorkerEvent], None] = lambda event: None,
    ) -> None:
        if len({spec.name for spec in specs}) != len(specs) or not specs:
            raise ConfigError("a pool needs at least one model, each with a name of its own")
        self.settings = settings or WorkerSettings()
        self._staff = Staff(specs, self.settings, Arbiter(self._tell, self._replace_arbiter), on_event)
        self._connection = Connection(specs, self.settings, self._staff.message, self._staff.arbiter_lost)
        self._calls: dict[str, Running] = {}
        self._tasks: set[asyncio.Task[Outcome]] = set()
        self._serials = itertools.count(1)
        self._draining = False

    @property
    def tier(self) -> Tier:
        """The confinement that the newest worker reported."""
        return self._staff.tier

    @property
    def models(self) -> dict[str, ModelSpec]:
        """The models that are loaded, by name."""
        return dict(self._staff.models)

    @property
    def arbiter_pid(self) -> int:
        """The arbiter's process id, for people and tests."""
        return self._connection.pid

    async def start(self) -> None:
        """Load every model and wait for its workers, spares included.

        Raises ModelError with the loader's message, or when nothing is ready after settings.start_timeout_s; all processes are
        ended before it is raised.
        """
        self._staff.started = asyncio.get_running_loop().create_future()
        try:
            self._connection.start()
            async with asyncio.timeout(self.settings.start_timeout_s):
                await self._staff.started
        except TimeoutError as error:
            await self.close()
            raise ModelError(f"models not ready after {self.settings.start_timeout_s:.0f} s") from error
        except BaseException:
            await self.close()
            raise

    async def execute(self, job: Job, sink: Sink | None = None) -> Outcome:
        """Run `job`; return how it ended, after it has stopped. Raises WorkerError for a call id that is already running.

        Cancelling the caller abandons the call; its slot is free again only when the work has stopped.
        """
        if job.call_id in self._calls:
            raise WorkerError(f"call {job.call_id} is already running")
        running = Running(job, next(self._serials), clock.now(), sink=sink)
        self._calls[job.call_id] = running
        task = asyncio.get_running_loop().create_task(self._run(running))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            self.abandon(job.call_id)
            raise

    def abandon(self, call_id: str) -> None:
        """Nobody waits for this call any more: stop it, unless it is about to be stopped anyway. Idempotent."""
        running = self._calls.get(call_id)
        if running is None or running.abandoned:
            return
        running.abandoned = True
        if running.wait is not None:
            give_up(running.wait)
        if running.worker is not None and running.wall_at - clock.now() >= LET_FINISH_S:
            self._staff.stop(running.worker)

    def ready(self, model: str) -> bool:
        """Whether a worker of `model` could start a call now."""
        return not self._draining and any(self._staff.roster.idle(model, lane) for lane in Lane)

    def snapshot(self) -> PoolState:
        """Counts for metrics."""
        counts = self._staff.counts
        return PoolState(
            workers=self._staff.roster.counts(),
            deaths=dict(counts.deaths),
            recycled=dict(counts.recycled),
            zygotes_lost=counts.zygotes_lost,
            arbiters_lost=counts.arbiters_lost,
            waiting=sum(1 for _ in self._staff.roster.waiting()),
            running=sum(1 for worker in self._staff.roster.workers.values() if worker.state is State.BUSY),
        )

    async def drain(self, timeout_s: float) -> None:
        """Take no more calls, let the running ones finish for `timeout_s`, then kill the rest. Returns when none is left."""
        self._draining = True
        self._connection.send(Hold())
        tasks = {task for task in self._tasks if task is not asyncio.current_task()}
        if tasks and timeout_s > 0:
            await asyncio.wait(tasks, timeout=timeout_s)
        for wait in list(self._staff.roster.waiting()):
            give_up(wait)
        for worker in self._staff.roster.workers.values():
            if worker.state is State.BUSY:
                self._staff.kill(worker, KillReason.DRAIN)
        remaining = [task for task in tasks if not task.done()]
        if remaining:
            await asyncio.wait(remaining)

    async def close(self) -> None:
        """End every process of the tree; in-flight calls end as drained. Idempotent."""
        await self.drain(0)
        await self._connection.close()
        for worker in list(self._staff.roster.workers.values()):
            if worker.link is not None:
                worker.link.close()
        self._staff.roster.workers.clear()

    # ---- a call

    async def _run(self, running: Running) -> Outcome:
        job = running.job
        try:
            problem = self._unfit(job)
            if problem:
                return Outcome(OutcomeKind.FAILED, Cost(0.0, 0.0, 0), detail=problem)
            worker = await self._free_worker(running)
            if worker is None:
                return self._never_ran(running)
            ending = await self._send(running, worker)
            if isinstance(ending, Reply):
                return self._replied(running, worker, ending)
            return self._died(running, worker, ending)
        finally:
            del self._calls[job.call_id]

    def _unfit(self, job: Job) -> str:
        if job.model not in self._staff.models:
            return f"no model named {job.model!r}"
        if len(job.payload) > self.settings.max_job_bytes:
            return f"job of {len(job.payload)} bytes is over {self.settings.max_job_bytes}"
        return ""

    async def _free_worker(self, running: Running) -> Worker | None:
        """An idle worker, waited for within the granted wall time; None: given up."""
        job = running.job
        roster = self._staff.roster
        while not self._given_up(running):
            worker = roster.take(job.model, job.lane)
            if worker is None:
                running.wait = roster.wait(job.model, job.lane)
                timer = asyncio.get_running_loop().call_later(running.wall_at - clock.now(), give_up, running.wait)
                worker = await running.wait
                timer.cancel()
            if worker is None or worker.state is not State.TAKEN:
                continue  # nobody came in time, or it died on the way
            if not self._given_up(running):
                return worker
            roster.offer(worker)
        return None

    def _given_up(self, running: Running) -> bool:
        return self._draining or running.abandoned or clock.now() >= running.wall_at

    def _never_ran(self, running: Running) -> Outcome:
        usage = Cost(0.0, 0.0, 0)
        if running.abandoned:
            return Outcome(OutcomeKind.ABANDONED, usage, detail="abandoned before a worker was free")
        if self._draining:
            return Outcome(OutcomeKind.CRASHED, usage, detail="the server is shutting down", retryable=True)
        detail = f"no worker was free within {running.job.limits.wall_s:.3f} s"
        return Outcome(OutcomeKind.EXPIRED_WALL, usage, detail=detail, retryable=True)

    async def _send(self, running: Running, worker: Worker) -> Reply | DeathNote:
        limits, now = running.job.limits, clock.now()
        running.worker, running.sent_at = worker, now
        running.ending = asyncio.get_running_loop().create_future()
        worker.call, worker.state = running, State.BUSY
        memory_bytes = min(limits.peak_bytes, self.settings.max_grant_bytes)
        arm = Arm(worker.number, running.serial, limits.cpu_s, running.wall_at, memory_bytes)
        arming = asyncio.get_running_loop().call_later(ARM_AFTER_S, self._arm, running, arm)
        job, left_s = running.job, max(0.0, running.wall_at - now)
        frame = JobFrame(running.serial, limits.cpu_s, left_s, memory_bytes, job.payload, job.trial)
        if worker.link is not None:
            worker.link.send(frame, self.settings.max_job_bytes + FRAME_OVERHEAD)
        try:
            return await running.ending
        finally:
            arming.cancel()

    def _arm(self, running: Running, arm: Arm) -> None:
        if running.ending is None or running.ending.done():
            # The answer came in this very turn of the loop: to arm now would leave limits that nobody takes back, and the
            # arbiter would kill the worker for them in the middle of somebody else's call.
            return
        running.armed = True
        self._connection.send(arm)

    def _replied(self, running: Running, worker: Worker, reply: Reply) -> Outcome:
        usage = Cost(reply.cpu_s, clock.now() - running.sent_at, reply.peak_bytes)
        kind = OutcomeKind.ABANDONED if running.abandoned else reply.kind
        result = reply.result if kind is OutcomeKind.COMPLETED else None
        return Outcome(kind, usage, result, reply.detail, worker.number)

    def _died(self, running: Running, worker: Worker, note: DeathNote) -> Outcome:
        verdict = OUTCOMES[note.death]
        stale = note.serial not in (0, running.serial)  # killed for the call before: this one is innocent
        wall_s = clock.now() - running.sent_at
        peak_bytes = min(note.peak_bytes, running.job.limits.peak_bytes + PEAK_GRACE_BYTES)
        usage = Cost(cpu_of_last_call(worker, note, wall_s), wall_s, peak_bytes)
        kind = OutcomeKind.ABANDONED if running.abandoned else OutcomeKind.CRASHED if stale else verdict.kind
        detail = f"worker {worker.number}: {note.death.value}" + (f", signal {note.signal}" if note.signal else "")
        if note.exit_code:
            detail += f", exit code {note.exit_code}"
        if note.breach_bytes:
            detail += f", an allocation of {note.breach_bytes} bytes was over the grant"
        respawn_s = worker.birth_s + TEARDOWN_S_PER_BYTE * peak_bytes
        return Outcome(kind, usage, None, detail, worker.number, verdict.retryable or stale, respawn_s)

    def _tell(self, message: Message) -> None:
        self._connection.send(message)

    def _replace_arbiter(self) -> None:
        self._connection.replace()
