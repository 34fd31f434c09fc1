"""Arbiter: keeps the right number of zygotes and workers alive, kills by pidfd, and reaps everything.

One program, one thread, one poll loop; it sees orders and numbers, never a byte of a request. It is the subreaper of
the tree, so that nothing below it can be orphaned, and it ends with the front: end of control, or the kernel's death
signal. It promises one death note per worker, after the process has been reaped. It must not know calls, tenants or
models beyond their names.
"""

from __future__ import annotations

import itertools
import os
import select
import signal
import socket
import sys
from collections.abc import Callable, Sequence

import msgspec

from wickguard import clock
from wickguard.records import Lane
from wickguard.workers import kernel
from wickguard.workers.cgroup import Group, NotDelegatedError, delegated
from wickguard.workers.channel import Channel, ChannelClosedError
from wickguard.workers.death import EXIT_PROTOCOL
from wickguard.workers.ledger import ask_to_stop
from wickguard.workers.nursery import Nursery, Stage, Ward, signal_pidfd
from wickguard.workers.protocol import (
    ArbiterUp,
    Arm,
    Configure,
    DeathNote,
    Disarm,
    ForkFailed,
    Hold,
    Kill,
    LoadFailed,
    Message,
    ModelLoaded,
    Stop,
    ToArbiter,
    WorkerForked,
    WorkerReaped,
)
from wickguard.workers.spawn import CONTROL_FD
from wickguard.workers.watch import POLL_S


class FrontGoneError(Exception):
    """There is nobody left to work for."""


class Arbiter:
    """The loop. `front` is non-blocking."""

    def __init__(self, front: Channel[ToArbiter], configure: Configure, wakeup_fd: int) -> None:
        self._front = front
        numbers = itertools.count(configure.first_worker)
        self._nurseries = {
            model.name: Nursery(model, configure.settings, lambda: next(numbers)) for model in configure.models
        }
        self._poll = select.poll()
        self._handlers: dict[int, Callable[[], None]] = {}
        self._wakeup_fd = wakeup_fd
        self._police_at = 0.0
        self._group, self._no_group = _group(configure)
        self._listen(front.fileno(), self._orders)
        self._listen(wakeup_fd, self._reap)

    def serve(self) -> None:
        """Until the front has gone. Raises FrontGoneError then."""
        self._say(ArbiterUp(self._group is not None, self._no_group))
        while True:
            self._maintain()
            for fd, _ in self._poll.poll(self._timeout_ms()):
                handler = self._handlers.get(fd)
                if handler is not None:
                    handler()
            self._police(clock.now())
            self._flush()

    def end(self) -> None:
        """Kill and reap everything below."""
        for nursery in self._nurseries.values():
            nursery.held = True
            for ward in nursery.wards.values():
                signal_pidfd(ward.pidfd)
            if nursery.zygote_pid:
                os.kill(nursery.zygote_pid, signal.SIGKILL)  # our unreaped child: the number can't be someone else's
        while True:
            try:
                os.waitpid(-1, 0)
            except ChildProcessError:
                break
        if self._group is not None:
            self._group.remove()

    def _maintain(self) -> None:
        now = clock.now()
        for nursery in self._nurseries.values():
            if nursery.due_at() > now:
                continue
            if nursery.stage is Stage.WAITING:
                channel = nursery.start_zygote()
                self._admit(nursery.zygote_pid)
                self._listen(channel.fileno(), lambda nursery=nursery: self._news(nursery))  # type: ignore[misc]
            else:
                self._guarded(nursery, nursery.order_births)

    def _admit(self, zygote_pid: int) -> None:
        """Put a zygote into the group, so that its workers are born there; a group that refuses is given up, and said so."""
        if self._group is None:
            return
        try:
            self._group.join(zygote_pid)
        except OSError as error:
            self._no_group = f"{self._group.path}: {error.strerror}"
            self._group.remove()
            self._group = None
            self._say(ArbiterUp(False, self._no_group))

    def _police(self, now: float) -> None:
        """Look at every running call, every POLL_S however many messages come."""
        if now < self._police_at:
            return
        self._police_at = now + POLL_S
        for nursery in self._nurseries.values():
            nursery.police(now)

    def _timeout_ms(self) -> float | None:
        now = clock.now()
        due = min(
            (min(nursery.due_at(), nursery.police_at(self._police_at)) for nursery in self._nurseries.values()),
            default=float("inf"),
        )
        return None if due == float("inf") else max(0.0, (due - now) * 1000 + 1)

    def _orders(self) -> None:
        try:
            self._front.flush()
            while (received := self._front.receive()) is not None:
                self._obey(received[0])
        except ChannelClosedError as error:
            raise FrontGoneError from error

    def _obey(self, order: ToArbiter) -> None:
        match order:
            case Arm():
                for nursery in self._nurseries.values():
                    nursery.arm(order)
            case Disarm(worker) | Kill(worker) | Stop(worker):
                for ward in self._wards(worker):
                    _see_to(ward, order)
            case Hold():
                for nursery in self._nurseries.values():
                    nursery.held = True
            case Configure():
                sys.exit(EXIT_PROTOCOL)

    def _wards(self, worker: int) -> list[Ward]:
        return [nursery.wards[worker] for nursery in self._nurseries.values() if worker in nursery.wards]

    def _news(self, nursery: Nursery) -> None:
        self._guarded(nursery, lambda: self._read_news(nursery))

    def _read_news(self, nursery: Nursery) -> None:
        channel = nursery.channel
        if channel is None:
            return
        channel.flush()
        while (received := channel.receive()) is not None:
            news, descriptors = received
            match news:
                case ModelLoaded():
                    nursery.loaded()
                    self._say(news)
                case LoadFailed():
                    nursery.failed()
                    self._say(news)
                case WorkerForked():
                    end, page_fd, pidfd = descriptors
                    nursery.forked(news, page_fd, pidfd)
                    self._say(news, (end,))
                    os.close(end)
                case ForkFailed(worker):
                    nursery.unborn(worker)
                case WorkerReaped(worker, status, cpu_total_s):
                    self._tell(nursery.bury(worker, status, cpu_total_s, zygote_lost=False))

    def _guarded(self, nursery: Nursery, action: Callable[[], None]) -> None:
        """A zygote that has gone is noticed by its reaping, not here; only stop listening to it."""
        try:
            action()
        except ChannelClosedError:
            if nursery.channel is not None and nursery.channel.fileno() in self._handlers:
                self._forget(nursery.channel.fileno())

    def _reap(self) -> None:
        """Some children have ended: zygotes first, so that their workers are known to be orphans."""
        os.read(self._wakeup_fd, 4096)
        ended: list[tuple[int, int, float]] = []
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            ended.append((pid, status, usage.ru_utime + usage.ru_stime))
        orphans = [(pid, status, cpu_s) for pid, status, cpu_s in ended if not self._zygote_ended(pid, status)]
        for pid, status, cpu_s in orphans:
            for nursery in self._nurseries.values():
                ward = nursery.ward_of(pid)
                if ward is not None:
                    self._tell(nursery.bury(ward.worker, status, cpu_s, zygote_lost=True))

    def _zygote_ended(self, pid: int, status: int) -> bool:
        for nursery in self._nurseries.values():
            if nursery.zygote_pid != pid:
                continue
            self._news(nursery)  # what it said before it died
            if nursery.channel is not None and nursery.channel.fileno() in self._handlers:
                self._forget(nursery.channel.fileno())
            news, lost = nursery.zygote_ended(status)
            for worker in lost:
                self._tell(nursery.bury(worker, None, None, zygote_lost=True))
            if news is not None:
                self._say(news)
            return True
        return False

    def _tell(self, note: DeathNote | None) -> None:
        if note is not None:
            self._say(note)

    def _say(self, message: Message, descriptors: Sequence[int] = ()) -> None:
        try:
            self._front.send(message, descriptors)
        except ChannelClosedError as error:
            raise FrontGoneError from error

    def _flush(self) -> None:
        """Ask for writability exactly where something is queued."""
        channels = [self._front, *(nursery.channel for nursery in self._nurseries.values())]
        for channel in channels:
            if channel is not None and channel.fileno() in self._handlers:
                self._poll.modify(channel.fileno(), select.POLLIN | (select.POLLOUT if channel.pending else 0))

    def _listen(self, fd: int, handler: Callable[[], None]) -> None:
        self._handlers[fd] = handler
        self._poll.register(fd, select.POLLIN)

    def _forget(self, fd: int) -> None:
        del self._handlers[fd]
        self._poll.unregister(fd)


def _see_to(ward: Ward, order: Disarm | Kill | Stop) -> None:
    match order:
        case Disarm():
            ward.watch = None
        case Kill():
            ward.kill(order.reason)
        case Stop():
            ask_to_stop(ward.page_fd, order.serial)


def _group(configure: Configure) -> tuple[Group | None, str]:
    """The cgroup for zygotes and workers, or why there is none. Room for all twice: the dead count until they are reaped."""
    each = 1 + sum(configure.settings.workers(lane) for lane in Lane)
    try:
        return delegated(f"wickguard-{os.getpid()}", 2 * each * len(configure.models)), ""
    except NotDelegatedError as error:
        return None, str(error)


def main() -> None:
    """Entry of the exec'd program: argv[1] is the front's pid, descriptor 3 the control channel."""
    kernel.die_with_parent(int(sys.argv[1]))
    kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    os.set_inheritable(CONTROL_FD, False)
    wakeup_read, wakeup_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wakeup_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    end = socket.socket(fileno=CONTROL_FD)
    front = Channel(end, msgspec.msgpack.Decoder(ToArbiter))
    arbiter: Arbiter | None = None
    try:
        received = front.receive()
        if received is None or not isinstance(received[0], Configure):
            sys.exit(EXIT_PROTOCOL)
        end.setblocking(False)
        arbiter = Arbiter(front, received[0], wakeup_read)
        arbiter.serve()
    except (ChannelClosedError, FrontGoneError):
        sys.exit(0)
    finally:
        if arbiter is not None:
            arbiter.end()


if __name__ == "__main__":
    main()
