"""Answers: their headers, and how they leave."""

from __future__ import annotations

import asyncio
import random

import pytest
from tests.fakes import Exchange

from wickguard.guard.answer import PIECE_BYTES, Answer, refusal, send_answer
from wickguard.guard.head import Message
from wickguard.rejection import MEANINGS, Reason, Rejection


@pytest.mark.parametrize("reason", list(Reason))
def test_headers_follow_the_table_when_a_call_is_refused(reason: Reason) -> None:
    """Whether to retry, and whether the connection ends."""
    answer = refusal(Rejection(reason, "", accepted="POST"), b"application/json", b"{}")
    headers, meaning = dict(answer.headers), MEANINGS[reason]
    assert answer.status == meaning.status
    assert headers[b"x-should-retry"] == (b"true" if meaning.retryable else b"false")
    assert (headers.get(b"connection") == b"close") is meaning.close
    assert (b"www-authenticate" in headers) is (meaning.status == 401)
    assert headers.get(b"allow") == (b"POST" if meaning.status == 405 else None)
    assert b"retry-after" not in headers


def test_retry_after_is_spread_when_many_are_refused_together() -> None:
    """Never earlier than said, and not all at the same second."""
    random.seed(1)
    waits = {
        int(dict(refusal(Rejection(Reason.OVERLOADED, "", retry_after_s=20.0), b"", b"").headers)[b"retry-after"])
        for _ in range(200)
    }
    assert min(waits) >= 20
    assert max(waits) <= 24
    assert len(waits) > 2


@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES])
def test_body_leaves_whole_and_in_pieces_when_it_is_large(size: int) -> None:
    """The client's view is the same; we hold one piece at a time."""
    exchange, payload = Exchange(), bytes(range(256)) * (size // 256 + 1)
    asyncio.run(send_answer(Answer(200, payload[:size]), "req-1", exchange.send, 1.0))
    assert exchange.answer == payload[:size]
    assert exchange.headers[b"content-length"] == b"%d" % size
    assert exchange.headers[b"x-request-id"] == b"req-1"
    assert all(len(message["body"]) <= PIECE_BYTES for message in exchange.sent[1:])
    assert [message.get("more_body", False) for message in exchange.sent[1:]][-1] is False


@pytest.mark.parametrize("size", [PIECE_BYTES + 1, 3 * PIECE_BYTES])
def test_sending_ends_when_the_client_does_not_read(size: int) -> None:
    """It holds memory for a bounded time, whatever the size of its answer."""

    async def stuck(message: Message) -> None:
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        asyncio.run(send_answer(Answer(200, b"x" * size), "r", stuck, 0.01))
