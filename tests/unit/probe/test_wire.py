"""The wire: what raw bytes become when they are sent, and what is noted of odd answers. A real socket on either side."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest
from tests.unit.probe.tiny import saying

from wickguard.probe.trace import RAW_HOST, Reading, Request, Step
from wickguard.probe.wire import Address, Answer, Connection
from wickguard.units import KIB


async def exchanged(answer: bytes, step: Step, key: str | None = None) -> tuple[Answer, bytes]:
    """What is noted of a server that says `answer` to whatever it reads, and what it read."""
    async with saying(answer) as (address, read):
        connection = Connection(address, key)
        found = await connection.exchange(step, 5.0)
        connection.close()
    return found, b"".join(read).replace(str(address.port).encode(), b"PORT")


@pytest.mark.parametrize("key", [None, "secret"])
def test_raw_request_goes_to_the_target_under_its_own_name_and_with_the_key(key: str | None) -> None:
    """A server that looks at the key before anything else would answer all of them alike, and another host is another site."""
    head = b"POST / HTTP/1.1\r\n" + RAW_HOST + b"Content-Length: +5\r\n\r\n"
    found, read = asyncio.run(
        exchanged(b"HTTP/1.1 400 \r\nContent-Length: 0\r\n\r\n", Step(Request(raw=head * 2)), key)
    )
    assert found.status == 400
    own = b"Host: 127.0.0.1:PORT\r\n" + (b"Authorization: Bearer secret\r\n" if key else b"")
    assert read == (b"POST / HTTP/1.1\r\n" + own + b"Content-Length: +5\r\n\r\n") * 2


def test_invitation_to_go_on_is_noted_beside_the_answer() -> None:
    """100 Continue is not the answer, and not nothing."""
    said = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 413 \r\nContent-Length: 0\r\n\r\n"
    found, _ = asyncio.run(exchanged(said, Step(Request())))
    assert (found.status, found.continued) == (413, True)
    assert not asyncio.run(exchanged(said.partition(b"\r\n\r\n")[2], Step(Request())))[0].continued


def test_answer_that_breaks_off_is_no_success() -> None:
    """A process that ends in the middle has said 200 before."""
    found, _ = asyncio.run(exchanged(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", Step(Request())))
    assert found.status == 200
    assert found.error
    assert not found.ok


def test_nothing_is_taken_when_nobody_reads() -> None:
    """What the system itself holds for a connection is all that a server gets rid of."""
    written: list[int] = []

    async def write(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.set_write_buffer_limits(high=0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(bytes(8 * KIB))
                await writer.drain()
                written.append(8 * KIB)

    async def held() -> tuple[int, Answer]:
        async with await asyncio.start_server(write, "127.0.0.1", 0) as server:
            connection = Connection(Address("127.0.0.1", server.sockets[0].getsockname()[1]), None)
            step = Step(Request(), reading=Reading.NOTHING, hold_s=0.5)
            async with asyncio.TaskGroup() as group:
                found = group.create_task(connection.exchange(step, 5.0))
                await asyncio.sleep(0.4)
                meanwhile = sum(written)
            return meanwhile, found.result()

    meanwhile, found = asyncio.run(held())
    assert 0 < meanwhile < 384 * KIB
    # Afterwards it is read, to see how it ends.
    assert sum(written) > 2 * meanwhile
    assert found.taken_bytes == 0
