"""Zygote: holds one loaded model and forks workers from it.

An exec'd program with one thread, which it proves before each fork and otherwise refuses to go on. It loads the model
through its loader, never runs it, and reports each worker's birth (with its descriptors) and death (with the kernel's
account of its CPU). It promises that it outlives neither its arbiter nor its usefulness: end of control, end of
zygote and workers. It must not know requests.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import sys
from contextlib import ExitStack
from typing import NoReturn

import msgspec

from wickguard.backend import ModelSpec
from wickguard.workers import kernel
from wickguard.workers.channel import Channel, ChannelClosedError
from wickguard.workers.confine import ZYGOTE_OOM_SCORE, raise_oom_score
from wickguard.workers.death import EXIT_LOAD_FAILED, EXIT_PROTOCOL, EXIT_THREADS
from wickguard.workers.ledger import create_page
from wickguard.workers.loader import Loaded, resolve
from wickguard.workers.protocol import (
    Fork,
    ForkFailed,
    LoadFailed,
    ModelLoaded,
    Prepare,
    ToZygote,
    WorkerForked,
    WorkerReaped,
)
from wickguard.workers.spawn import CONTROL_FD
from wickguard.workers.worker import Cradle, Nest, live, make_nest

_MESSAGE_CHARS = 4000


class Zygote:
    """The loop of a loaded zygote."""

    def __init__(self, channel: Channel[ToZygote], model: str, nest: Nest) -> None:
        self._channel = channel
        self._model = model
        self._nest = nest
        self._children: dict[int, tuple[int, int]] = {}  # pidfd -> (pid, worker)
        self._poll = select.poll()
        self._poll.register(channel, select.POLLIN)

    def serve(self) -> NoReturn:
        """Fork on command, report deaths, until the arbiter has gone."""
        try:
            while True:
                for fd, _ in self._poll.poll():
                    if fd == self._channel.fileno():
                        self._command()
                    else:
                        self._reap(fd)
        finally:
            self._end_children()

    def _command(self) -> None:
        received = self._channel.receive()
        if received is not None and isinstance(received[0], Fork):
            self._fork(received[0])

    def _fork(self, order: Fork) -> None:
        try:
            threads = kernel.thread_count()
            if threads != 1:  # a fork now would copy locks that nobody will ever release
                self._channel.send(LoadFailed(self._model, f"zygote has {threads} threads; it must have one to fork"))
                sys.exit(EXIT_THREADS)
            with ExitStack() as opened:
                self._bear(order, opened)
        except OSError as error:  # no process or descriptor to be had now: the others live on
            self._channel.send(ForkFailed(order.worker, str(error)))

    def _bear(self, order: Fork, opened: ExitStack) -> None:
        """Fork one worker; what is opened here for others is closed with `opened`."""
        front_end, worker_end = (opened.enter_context(end) for end in socket.socketpair())
        page_fd = create_page()
        opened.callback(os.close, page_fd)
        parent_pid = os.getpid()
        pid = os.fork()
        if pid == 0:
            live(Cradle(order.worker, order.lane, parent_pid, worker_end, page_fd, self._nest))
        pidfd = os.pidfd_open(pid)
        self._children[pidfd] = (pid, order.worker)
        self._poll.register(pidfd, select.POLLIN)
        born = WorkerForked(order.worker, self._model, order.lane, pid)
        self._channel.send(born, (front_end.fileno(), page_fd, pidfd))

    def _reap(self, pidfd: int) -> None:
        pid, worker = self._children.pop(pidfd)
        self._poll.unregister(pidfd)
        os.close(pidfd)
        _, status, usage = os.wait4(pid, 0)
        self._channel.send(WorkerReaped(worker, status, usage.ru_utime + usage.ru_stime))

    def _end_children(self) -> None:
        for pidfd, (pid, _) in self._children.items():
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            os.waitpid(pid, 0)


def load(channel: Channel[ToZygote], prepare: Prepare) -> Loaded:
    """Load the model and tell the arbiter how that went. Exits with EXIT_LOAD_FAILED when it can't be loaded."""
    model = prepare.model
    try:
        loaded = resolve(model.loader)(model.path, model.memory_limit_bytes)
        spec = msgspec.convert({**loaded.spec, "name": model.name}, ModelSpec)
    except Exception as error:  # any reason will do: the operator reads it
        channel.send(LoadFailed(model.name, f"{model.path}: {type(error).__name__}: {error}"[:_MESSAGE_CHARS]))
        sys.exit(EXIT_LOAD_FAILED)
    channel.send(ModelLoaded(spec))
    return loaded


def main() -> None:
    """Entry of the exec'd program: argv[1] is the arbiter's pid, descriptor 3 the control channel."""
    kernel.die_with_parent(int(sys.argv[1]))
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    raise_oom_score(ZYGOTE_OOM_SCORE)
    os.set_inheritable(CONTROL_FD, False)
    channel = Channel(socket.socket(fileno=CONTROL_FD), msgspec.msgpack.Decoder(ToZygote))
    try:
        received = channel.receive()
        if received is None or not isinstance(received[0], Prepare):
            sys.exit(EXIT_PROTOCOL)
        prepare = received[0]
        loaded = load(channel, prepare)
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
        kernel.drop_capabilities()
        nest = make_nest(loaded, prepare.settings)
        gc.collect()
        gc.disable()
        gc.freeze()
        Zygote(channel, prepare.model.name, nest).serve()
    except ChannelClosedError:
        sys.exit(0)


if __name__ == "__main__":
    main()
