"""Nursery: one model's zygote and workers, as the arbiter sees them: who lives, how many should, when to try again.

Decides when a zygote is started, how many workers to ask it for, and how long to wait in a crash loop. It promises
that a model which can't be loaded is not tried again, that a worker which dies before hello slows the next birth
down, and that every worker it was told of ends in exactly one death note. It must not know the front.
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

import msgspec

from wickguard import clock
from wickguard.records import Lane
from wickguard.workers.backoff import delay_s
from wickguard.workers.channel import Channel, control_pair
from wickguard.workers.death import EXIT_THREADS, KillReason, classify
from wickguard.workers.ledger import read_page
from wickguard.workers.protocol import (
    Arm,
    DeathNote,
    Fork,
    FromZygote,
    LoadFailed,
    Prepare,
    WorkerForked,
    ZygoteDied,
)
from wickguard.workers.settings import WorkerSettings, ZygoteSpec
from wickguard.workers.spawn import spawn
from wickguard.workers.watch import Watch

_STEADY_S = 5.0  # a zygote that served this long has not failed in a row


class Stage(StrEnum):
    """Where a model's zygote is."""

    WAITING = "waiting"
    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"


@dataclass(slots=True)
class Ward:
    """A worker that lives, or is dead and not yet noted."""

    worker: int
    lane: Lane
    pid: int
    page_fd: int
    pidfd: int
    birth_deadline: float
    born: bool = False
    watch: Watch | None = None
    reason: KillReason | None = None

    def kill(self, reason: KillReason) -> None:
        """SIGKILL, once; the first reason is the one that counts."""
        if self.reason is None:
            self.reason = reason
            signal_pidfd(self.pidfd)


@dataclass(slots=True)
class Nursery:
    """See the module. `next_worker` hands out worker numbers; all times are monotonic seconds."""

    model: ZygoteSpec
    settings: WorkerSettings
    next_worker: Callable[[], int]
    stage: Stage = Stage.WAITING
    zygote_pid: int = 0
    channel: Channel[FromZygote] | None = None
    wards: dict[int, Ward] = field(default_factory=dict)
    held: bool = False
    _expected: dict[int, Lane] = field(default_factory=dict)
    _zygote_failures: int = 0
    _birth_failures: int = 0
    _retry_at: float = 0.0
    _ready_at: float = 0.0

    def start_zygote(self) -> Channel[FromZygote]:
        """Spawn the zygote and tell it what to load; returns the channel to poll."""
        ours, theirs = control_pair()
        try:
            self.zygote_pid = spawn("wickguard.workers.zygote", theirs, self.model.extra_env)
        finally:
            theirs.close()
        ours.setblocking(False)
        self.channel = Channel(ours, msgspec.msgpack.Decoder(FromZygote))
        self.channel.send(Prepare(self.model, self.settings))
        self.stage = Stage.LOADING
        return self.channel

    def loaded(self) -> None:
        """The zygote can fork now."""
        self.stage = Stage.READY
        self._ready_at = clock.now()

    def failed(self) -> None:
        """Nobody will try this model again."""
        self.stage = Stage.FAILED

    def due_at(self) -> float:
        """When `start_zygote` or `order_births` has something to do again; infinity: not by time."""
        if self.held or self.stage in (Stage.FAILED, Stage.LOADING):
            return float("inf")
        if self.stage is Stage.WAITING or self._shortfall():
            return self._retry_at
        return float("inf")

    def order_births(self) -> None:
        """Ask for the workers that are missing; one at a time in a crash loop."""
        if self.held or self.stage is not Stage.READY or self.channel is None or clock.now() < self._retry_at:
            return
        for lane in self._shortfall()[: 1 if self._birth_failures else None]:
            worker = self.next_worker()
            self._expected[worker] = lane
            self.channel.send(Fork(worker, lane))

    def forked(self, news: WorkerForked, page_fd: int, pidfd: int) -> None:
        """A worker exists."""
        self._expected.pop(news.worker, None)
        deadline = clock.now() + self.settings.birth_timeout_s
        self.wards[news.worker] = Ward(news.worker, news.lane, news.pid, page_fd, pidfd, deadline)

    def unborn(self, worker: int) -> None:
        """The zygote could not fork; try again later, as after any failed birth."""
        self._expected.pop(worker, None)
        self._birth_failures += 1
        self._retry_at = clock.now() + self._delay(self._birth_failures + 1)

    def arm(self, order: Arm) -> None:
        """Watch a call. A worker that is given a call was born, which ends any crash loop."""
        ward = self.wards.get(order.worker)
        if ward is None:
            return
        ward.born = True
        self._birth_failures = 0
        try:
            ward.watch = Watch(ward.pid, order)
        except OSError:
            ward.watch = None  # it is dead already; its death note is on the way

    def police(self, now: float) -> None:
        """Kill what has passed a limit, and births that take too long."""
        for ward in self.wards.values():
            if ward.watch is not None and ward.reason is None:
                try:
                    reason = ward.watch.verdict(now)
                except OSError:
                    continue
                if reason is not None:
                    ward.kill(reason)
            elif not ward.born and now > ward.birth_deadline:
                ward.born = read_page(ward.page_fd).born
                if not ward.born:
                    ward.kill(KillReason.BIRTH)

    def police_at(self, next_at: float) -> float:
        """When `police` should run next: `next_at` when a call runs; infinity when there is nothing to watch."""
        if any(ward.watch is not None for ward in self.wards.values()):
            return next_at
        return min((ward.birth_deadline for ward in self.wards.values() if not ward.born), default=float("inf"))

    def bury(
        self, worker: int, status: int | None, cpu_total_s: float | None, *, zygote_lost: bool
    ) -> DeathNote | None:
        """The death note of a reaped worker (None: it was noted before). Closes what it held."""
        ward = self.wards.pop(worker, None)
        if ward is None:
            return None
        page = read_page(ward.page_fd)
        os.close(ward.page_fd)
        os.close(ward.pidfd)
        if not (ward.born or page.born):
            self._birth_failures += 1
            self._retry_at = clock.now() + self._delay(self._birth_failures)
        death = classify(status, page.breach_bytes, ward.reason, zygote_lost=zygote_lost)
        signalled = status is not None and os.WIFSIGNALED(status)
        growth = ward.watch.growth_bytes if ward.watch is not None else 0
        # Without a watch the call was too short to be armed; the front cuts the claim to what it granted.
        claimed = ward.watch.possible(page.call_peak_bytes) if ward.watch is not None else page.call_peak_bytes
        return DeathNote(
            worker=worker,
            model=self.model.name,
            death=death,
            serial=ward.watch.serial if ward.watch is not None else 0,
            signal=os.WTERMSIG(status) if status is not None and signalled else 0,
            exit_code=os.WEXITSTATUS(status) if status is not None and not signalled else 0,
            cpu_total_s=cpu_total_s,
            peak_bytes=max(claimed, growth),
            breach_bytes=page.breach_bytes,
        )

    def zygote_ended(self, status: int) -> tuple[ZygoteDied | LoadFailed | None, list[int]]:
        """The zygote was reaped, its channel read to the end. Returns what to tell, and workers that it reaped untold.

        The other workers are dying with it (PDEATHSIG) and are reaped by the arbiter, their new parent.
        """
        if self.channel is not None:
            self.channel.close()
            self.channel = None
        self.zygote_pid = 0
        self._expected.clear()
        code, signalled = (0, os.WTERMSIG(status)) if os.WIFSIGNALED(status) else (os.WEXITSTATUS(status), 0)
        lost = [ward.worker for ward in self.wards.values() if _reaped_elsewhere(ward.pidfd)]
        for ward in self.wards.values():
            signal_pidfd(ward.pidfd)
        if self.stage is Stage.FAILED:
            return None, lost
        if code == EXIT_THREADS:
            self.failed()
            return LoadFailed(self.model.name, "the zygote started a thread"), lost
        steady = self.stage is Stage.READY and clock.now() - self._ready_at > _STEADY_S
        self._zygote_failures = 1 if steady else self._zygote_failures + 1
        wait_s = self._delay(self._zygote_failures)
        self.stage, self._retry_at = Stage.WAITING, clock.now() + wait_s
        return ZygoteDied(self.model.name, signalled, code, wait_s), lost

    def ward_of(self, pid: int) -> Ward | None:
        """The worker with this process id."""
        return next((ward for ward in self.wards.values() if ward.pid == pid), None)

    def _shortfall(self) -> list[Lane]:
        missing = []
        for lane in Lane:
            have = sum(1 for ward in self.wards.values() if ward.lane is lane and ward.reason is None)
            have += sum(1 for expected in self._expected.values() if expected is lane)
            missing += [lane] * max(0, self.settings.workers(lane) - have)
        return missing

    def _delay(self, failures: int) -> float:
        return delay_s(failures, self.settings.backoff_base_s, self.settings.backoff_max_s, random.random())


def signal_pidfd(pidfd: int) -> None:
    """SIGKILL by pidfd: never the wrong process, and no error when it is gone."""
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except ProcessLookupError:
        return


def _reaped_elsewhere(pidfd: int) -> bool:
    try:
        os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return True
    return False
