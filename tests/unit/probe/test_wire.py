"""The wire: what raw bytes become when they are sent, and what is noted of odd answers. A real socket on either side."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.probe.tiny import saying

from wickguard.probe.trace import RAW_HOST, Request, Step
from wickguard.probe.wire import Answer, Connection


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
