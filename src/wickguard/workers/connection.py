"""Connection: the front's hold on its arbiter process: start it, talk to it, notice its end, start it again.

It promises that messages are delivered in order on the event loop, that the process is reaped, and that a lost
arbiter is replaced after a jittered delay until `close`. It must not know workers or calls: both callbacks belong to
the pool.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Callable, Sequence

import msgspec

from wickguard import clock
from wickguard.errors import ProtocolError
from wickguard.workers.backoff import delay_s
from wickguard.workers.channel import Channel, ChannelClosedError, control_pair
from wickguard.workers.protocol import Configure, Message, ToFront
from wickguard.workers.settings import WorkerSettings, ZygoteSpec
from wickguard.workers.spawn import spawn

_STEADY_S = 5.0
_CLOSE_S = 10.0


class Connection:
    """One arbiter at a time. on_message gets each message with its descriptors (now the pool's); on_lost the restart delay."""

    def __init__(
        self,
        specs: Sequence[ZygoteSpec],
        settings: WorkerSettings,
        on_message: Callable[[ToFront, list[int]], None],
        on_lost: Callable[[float], int],
    ) -> None:
        self._specs, self._settings = tuple(specs), settings
        self._on_message, self._on_lost = on_message, on_lost
        self._channel: Channel[ToFront] | None = None
        self._reaped: asyncio.Future[None] | None = None
        self._pidfd = -1
        self._failures = 0
        self._started_at = 0.0
        self._closing = False
        self._restart: asyncio.TimerHandle | None = None
        self.pid = 0

    def start(self, first_worker: int = 1) -> None:
        """Start an arbiter, on the running loop. Raises OSError when no process can be started."""
        loop = asyncio.get_running_loop()
        ours, theirs = control_pair()
        ours.setblocking(False)
        channel = Channel(ours, msgspec.msgpack.Decoder(ToFront))
        try:
            channel.send(Configure(self._specs, self._settings, first_worker))
            self.pid = spawn("wickguard.workers.arbiter", theirs)
        except BaseException:
            channel.close()
            raise
        finally:
            theirs.close()
        self._pidfd = os.pidfd_open(self.pid)
        self._reaped = loop.create_future()
        self._channel = channel
        self._started_at = clock.now()
        loop.add_reader(channel.fileno(), self._read)
        loop.add_reader(self._pidfd, self._reap)

    def send(self, message: Message) -> None:
        """Send or queue; without an arbiter the message has no addressee and is dropped."""
        if self._channel is None:
            return
        try:
            self._channel.send(message)
        except ChannelClosedError:
            return  # the reader sees the same end and handles it once
        except ProtocolError:
            self.replace()  # it has stopped reading
            return
        if self._channel.pending:
            asyncio.get_running_loop().add_writer(self._channel.fileno(), self._write)

    def replace(self) -> None:
        """End an arbiter that no longer answers; the next one is started as after any loss."""
        if self._pidfd >= 0:
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    async def close(self) -> None:
        """End the arbiter, which ends everything below it; returns when it has been reaped. Idempotent."""
        self._closing = True
        if self._restart is not None:
            self._restart.cancel()
        self._hang_up()
        if self._reaped is not None:
            try:
                await asyncio.wait_for(asyncio.shield(self._reaped), _CLOSE_S)
            except TimeoutError:
                os.kill(self.pid, signal.SIGKILL)  # unreaped, so the number is still its own
                await self._reaped

    def _read(self) -> None:
        try:
            while self._channel is not None and (received := self._channel.receive()) is not None:
                self._on_message(*received)
        except ChannelClosedError:
            self._lost()
        except ProtocolError:
            self.replace()
            self._lost()

    def _write(self) -> None:
        if self._channel is None:
            return
        try:
            self._channel.flush()
        except ChannelClosedError:
            return
        if not self._channel.pending:
            asyncio.get_running_loop().remove_writer(self._channel.fileno())

    def _lost(self) -> None:
        self._hang_up()
        if self._closing:
            return
        steady = clock.now() - self._started_at > _STEADY_S
        self._failures = 1 if steady else self._failures + 1
        settings = self._settings
        wait_s = delay_s(self._failures, settings.backoff_base_s, settings.backoff_max_s, random.random())
        first_worker = self._on_lost(wait_s)
        self._restart = asyncio.get_running_loop().call_later(wait_s, self._start_again, first_worker)

    def _start_again(self, first_worker: int) -> None:
        if self._closing:
            return
        if self._reaped is not None and not self._reaped.done():
            self._restart = asyncio.get_running_loop().call_later(0.01, self._start_again, first_worker)
            return
        try:
            self.start(first_worker)
        except OSError:  # no process or descriptor to be had now
            self._failures += 1
            self._restart = asyncio.get_running_loop().call_later(
                self._settings.backoff_max_s, self._start_again, first_worker
            )

    def _hang_up(self) -> None:
        if self._channel is None:
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._channel.fileno())
        loop.remove_writer(self._channel.fileno())
        self._channel.close()
        self._channel = None

    def _reap(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._pidfd = -1
        os.waitpid(self.pid, 0)
        if self._reaped is not None and not self._reaped.done():
            self._reaped.set_result(None)
