"""Program: the command line of every server of the zoo, and the process around its event loop."""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import select
import signal
from collections.abc import Callable
from contextlib import suppress

from tests.zoo.wire import Server, Service, listening

# Whatever is planted, the machine of whoever runs it survives.
MOST_BYTES = 3 * 2**30
HEARTBEAT_S = 0.5
WATCHDOG_S = 4.0


def main(make: Callable[[bool], Service | Server], supervised: bool = False) -> None:
    """Serve `make(sound)` on --port until SIGTERM. A supervised server is started again when it dies or hangs."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--sound", action="store_true", help="the twin without the defect")
    wanted = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
    if supervised:
        _supervise(lambda pulse: _serve(make(wanted.sound), wanted.port, pulse))
    else:
        _serve(make(wanted.sound), wanted.port, None)


def _serve(what: Service | Server, port: int, pulse: int | None) -> None:
    asyncio.run(_until_ended(what if isinstance(what, Server) else Server(what), port, pulse))


async def _until_ended(server: Server, port: int, pulse: int | None) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    async with listening(server.connection, port):
        while not ended.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), HEARTBEAT_S if pulse is not None else None)
            if pulse is not None:
                os.write(pulse, b".")
        # Threads may still be at work that nobody wants; nobody waits for them.
        os._exit(0)


def _supervise(serve: Callable[[int], None]) -> None:
    child = 0

    def end(*_: object) -> None:
        if child:
            os.kill(child, signal.SIGKILL)
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    while True:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            serve(writing)
        os.close(writing)
        # No pulse within the time, or the end of the pipe: the child hangs, or is dead.
        while select.select([reading], [], [], WATCHDOG_S)[0] and os.read(reading, 64):
            pass
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reading)
