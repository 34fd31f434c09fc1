"""Staff: the front's picture of its workers, kept true by what the arbiter and the workers themselves say.

Hears of births, replies and deaths, and settles what each means for the worker and for the call it runs. It promises
that a worker counts as gone only when its stream has been read to the end and it has been reaped, that a worker which
breaks the protocol is killed, and that each call's ending is set exactly once. It must not know how calls are queued
or priced.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec

from wickguard import clock
from wickguard.backend import ModelSpec
from wickguard.errors import ModelError, ProtocolError
from wickguard.records import Lane
from wickguard.units import MIB
from wickguard.workers import kernel
from wickguard.workers.death import Death, KillReason
from wickguard.workers.events import (
    ArbiterLost,
    ModelFailed,
    WorkerBorn,
    WorkerDied,
    WorkerEvent,
    WorkerRecycled,
    ZygoteLost,
)
from wickguard.workers.link import Link
from wickguard.workers.protocol import (
    ArbiterUp,
    DeathNote,
    Disarm,
    Hello,
    Kill,
    LoadFailed,
    Message,
    ModelLoaded,
    Piece,
    Reply,
    Stop,
    ToFront,
    WorkerForked,
    WorkerFrame,
    ZygoteDied,
)
from wickguard.workers.roster import Roster, State, Worker
from wickguard.workers.settings import WorkerSettings, ZygoteSpec
from wickguard.workers.tier import Tier

FRAME_OVERHEAD = 16 * 1024
START_ATTEMPTS = 3
# Checkpoints are milliseconds apart, on a busy core a few times that. A new process costs more than this wait.
STOP_GRACE_S = 0.1
_END_WITHOUT_DEATH_S = 1.0
_NO_NOTE_S = 4.0
PEAK_GRACE_BYTES = 32 * MIB


@dataclass(slots=True)
class Counts:
    """What has happened since the start."""

    deaths: Counter[Death] = field(default_factory=Counter)
    recycled: Counter[str] = field(default_factory=Counter)
    zygotes_lost: int = 0
    arbiters_lost: int = 0


@dataclass(frozen=True, slots=True)
class Arbiter:
    """How to reach the arbiter: tell it something, or replace it because it does not answer."""

    tell: Callable[[Message], None]
    replace: Callable[[], None]


class Staff:
    """See the module. `arbiter` is how to reach the arbiter; `on_event` is the pool's listener."""

    def __init__(
        self,
        specs: Sequence[ZygoteSpec],
        settings: WorkerSettings,
        arbiter: Arbiter,
        on_event: Callable[[WorkerEvent], None],
    ) -> None:
        self._specs, self._settings, self.on_event = tuple(specs), settings, on_event
        self._tell, self._replace_arbiter = arbiter.tell, arbiter.replace
        self.roster = Roster()
        self.models: dict[str, ModelSpec] = {}
        self.counts = Counts()
        self.tier = Tier()
        self._arbiter = ArbiterUp(False, "unknown")
        self.started: asyncio.Future[None] | None = None
        self._next_worker = 1
        self._start_failures: Counter[str] = Counter()
        self._connecting: set[asyncio.Task[None]] = set()

    def message(self, message: ToFront, descriptors: list[int]) -> None:
        """The arbiter says something; the descriptors that come with it are ours to close."""
        match message:
            case ModelLoaded(spec):
                self.models[spec.name] = spec
            case WorkerForked():
                self._adopt(message, descriptors.pop())
            case DeathNote():
                worker = self.roster.workers.get(message.worker)
                if worker is not None:
                    worker.note = message
                    self._maybe_gone(worker)
            case ZygoteDied(model, signal, exit_code, retry_in_s):
                self.counts.zygotes_lost += 1
                self.on_event(ZygoteLost(model, signal, exit_code, retry_in_s))
                self._start_failures[model] += 1
                if self._start_failures[model] >= START_ATTEMPTS:
                    self._start_failed(f"{model}: died while loading (signal {signal}, exit code {exit_code})")
            case LoadFailed(model, text):
                self.on_event(ModelFailed(model, text))
                self.models.pop(model, None)
                self._start_failed(text)
            case ArbiterUp():
                self._arbiter = message
        for fd in descriptors:
            os.close(fd)

    def _adopt(self, news: WorkerForked, fd: int) -> None:
        worker: Worker = Worker(news.worker, news.model, news.lane, news.pid, clock.now())
        self._next_worker = max(self._next_worker, news.worker + 1)
        limit = self._settings.max_result_bytes + FRAME_OVERHEAD
        worker.link = Link(
            limit,
            on_frame=lambda frame: self._frame(worker, frame),
            on_end=lambda: self._ended(worker),
            on_breach=lambda error: self._breach(worker, error),
        )
        self.roster.add(worker)
        task = asyncio.get_running_loop().create_task(self._connect(worker.link, socket.socket(fileno=fd)))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _connect(self, link: Link, end: socket.socket) -> None:
        end.setblocking(False)
        await asyncio.get_running_loop().create_unix_connection(lambda: link, sock=end)

    def _frame(self, worker: Worker, frame: WorkerFrame) -> None:
        running = worker.call
        if isinstance(frame, Piece):
            self._piece(worker, frame)
            return
        before_s, worker.cpu_total_s = worker.cpu_total_s, cpu_total_s(worker.pid, frame)
        match frame:
            case Hello() if worker.state is State.BEING_BORN:
                self.tier = self._arbiter_adds(frame.tier)
                worker.birth_s = clock.now() - worker.seen_at
                self.on_event(WorkerBorn(worker.model, worker.lane, worker.number, worker.pid, worker.birth_s))
                self.roster.offer(worker)
                self._check_started()
            case Reply() if running is not None and running.ending is not None and frame.serial == running.serial:
                if not running.ending.done():
                    running.ending.set_result(
                        measured(frame, worker.cpu_total_s - before_s, running.job.limits.peak_bytes)
                    )
                self._after_reply(worker, frame)
            case _:
                self._breach(worker, ProtocolError("a frame that nobody asked for"))

    def _piece(self, worker: Worker, piece: Piece) -> None:
        running = worker.call
        if running is None or running.sink is None or piece.serial != running.serial:
            self._breach(worker, ProtocolError("a piece that nobody asked for"))
        elif not running.abandoned and not running.sink(piece.data):
            running.abandoned = True
            self.stop(worker)

    def _arbiter_adds(self, tier: Tier) -> Tier:
        """What a worker can't know about itself: its cgroup."""
        if self._arbiter.cgroup:
            return msgspec.structs.replace(tier, cgroup=True)
        return msgspec.structs.replace(tier, missing=(*tier.missing, ("cgroup", self._arbiter.why_not)))

    def _after_reply(self, worker: Worker, reply: Reply) -> None:
        if worker.call is not None and worker.call.armed:
            self._tell(Disarm(worker.number))
        worker.call = None
        if reply.retiring:
            worker.retiring = reply.retiring
            self.counts.recycled[reply.retiring] += 1
            self.on_event(WorkerRecycled(worker.model, worker.lane, worker.number, reply.retiring))
        if worker.state is not State.BUSY or reply.retiring or worker.note is not None:
            self.roster.leave(worker)
        else:
            self.roster.offer(worker)

    def _breach(self, worker: Worker, error: ProtocolError) -> None:
        self.kill(worker, KillReason.PROTOCOL)

    def kill(self, worker: Worker, reason: KillReason) -> None:
        """Have a worker killed; it is given no more calls."""
        self.roster.leave(worker)
        self._tell(Kill(worker.number, reason))

    def stop(self, worker: Worker) -> None:
        """Nobody wants what it computes: ask it to stop, and have it killed when it does not listen."""
        running = worker.call
        if running is None:
            return
        self._tell(Stop(worker.number, running.serial))
        asyncio.get_running_loop().call_later(STOP_GRACE_S, self._stop_unheard, worker, running.serial)

    def _stop_unheard(self, worker: Worker, serial: int) -> None:
        if worker.call is not None and worker.call.serial == serial and worker.number in self.roster.workers:
            self.kill(worker, KillReason.ABANDONED)

    def _ended(self, worker: Worker) -> None:
        """The socket has ended; normally the process has too. One that only closed its socket is killed."""
        worker.ended = True
        if worker.number not in self.roster.workers:
            return
        self.roster.leave(worker)
        self._maybe_gone(worker)
        if worker.note is None:
            loop = asyncio.get_running_loop()
            loop.call_later(_END_WITHOUT_DEATH_S, self._end_without_death, worker)

    def _end_without_death(self, worker: Worker) -> None:
        if worker.note is None and worker.number in self.roster.workers:
            self.kill(worker, KillReason.PROTOCOL)
            asyncio.get_running_loop().call_later(_NO_NOTE_S, self._no_note, worker)

    def _no_note(self, worker: Worker) -> None:
        """The arbiter was told to kill and has not answered: it or the zygote hangs, and calls would hang with it."""
        if worker.note is None and worker.number in self.roster.workers:
            self._replace_arbiter()

    def _maybe_gone(self, worker: Worker) -> None:
        """A worker is gone when its stream has been read to the end and it has been reaped."""
        note = worker.note
        if not worker.ended or note is None or worker.number not in self.roster.workers:
            if note is not None:
                self.roster.leave(worker)
            return
        self.roster.remove(worker)
        running = worker.call
        if not worker.retiring:
            self.counts.deaths[note.death] += 1
            cpu_s = cpu_of_last_call(worker, note, clock.now() - running.sent_at if running else 0.0)
            self.on_event(
                WorkerDied(
                    model=worker.model,
                    lane=worker.lane,
                    worker=worker.number,
                    death=note.death,
                    signal=note.signal,
                    exit_code=note.exit_code,
                    cpu_s=cpu_s,
                    peak_bytes=note.peak_bytes,
                    busy=running is not None,
                )
            )
        if running is not None and running.ending is not None and not running.ending.done():
            running.ending.set_result(note)

    def arbiter_lost(self, retry_in_s: float) -> int:
        """Every process below dies with the arbiter; each worker is gone when its socket ends. Returns the next free number."""
        self.counts.arbiters_lost += 1
        self.on_event(ArbiterLost(retry_in_s))
        for worker in list(self.roster.workers.values()):
            worker.note = worker.note or DeathNote(
                worker=worker.number,
                model=worker.model,
                death=Death.ARBITER_LOST,
                serial=0,
                signal=0,
                exit_code=0,
                cpu_total_s=None,
                peak_bytes=0,
                breach_bytes=0,
            )
            self._maybe_gone(worker)
        return self._next_worker

    def _check_started(self) -> None:
        if self.started is None or self.started.done():
            return
        for spec in self._specs:
            if any(self.roster.idle(spec.name, lane) < self._settings.workers(lane) for lane in Lane):
                return
        self._start_failures.clear()
        self.started.set_result(None)

    def _start_failed(self, text: str) -> None:
        if self.started is not None and not self.started.done():
            self.started.set_exception(ModelError(text))


def cpu_of_last_call(worker: Worker, note: DeathNote, wall_s: float) -> float:
    """CPU of the call that died. When nobody could wait for the process, what one thread can have used at most."""
    if note.cpu_total_s is None:
        limit = worker.call.job.limits.cpu_s if worker.call is not None else 0.0
        return min(wall_s, limit)
    return max(0.0, note.cpu_total_s - worker.cpu_total_s)


def cpu_total_s(pid: int, frame: Hello | Reply) -> float:
    """CPU of the worker's life: the kernel's account; what the worker claims only once the process is gone."""
    try:
        return kernel.process_cpu_s(pid)
    except OSError:
        return frame.cpu_total_s


def measured(reply: Reply, cpu_s: float, granted_bytes: int) -> Reply:
    """The reply with CPU as the kernel has it and a peak that is possible: both are charged for, neither is believed."""
    peak_bytes = min(max(0, reply.peak_bytes), granted_bytes + PEAK_GRACE_BYTES)
    return msgspec.structs.replace(reply, cpu_s=max(0.0, cpu_s), peak_bytes=peak_bytes)
