"""Answers: status, headers and body, and how they leave.

Decides the headers that go with every answer and how a large body is sent: in pieces, each under a write deadline, so that
a client that does not read holds one piece of memory for a bounded time and nothing else. It must not know stages.
"""

from __future__ import annotations

import asyncio
import math
import random

import msgspec

from wickguard.guard.admit import Allowance
from wickguard.guard.head import Headers, Send
from wickguard.rejection import Rejection
from wickguard.units import KIB

PIECE_BYTES = 64 * KIB
# What a reader must keep up over a whole answer, beside the time for a single piece.
LEAST_BYTES_S = 64 * KIB


class Answer(msgspec.Struct, frozen=True):
    """One response."""

    status: int
    body: bytes
    content_type: bytes = b"application/json"
    headers: Headers = msgspec.field(default_factory=list)


def refusal(rejection: Rejection, content_type: bytes, body: bytes) -> Answer:
    """The answer that carries a rejection: whether to retry and when, and whether the connection ends."""
    meaning = rejection.meaning
    headers: Headers = [(b"x-should-retry", b"true" if meaning.retryable else b"false")]
    if rejection.retry_after_s is not None:
        # Jitter keeps clients that were refused together from coming back together.
        wait = math.ceil(rejection.retry_after_s * random.uniform(1.0, 1.2))
        headers.append((b"retry-after", b"%d" % wait))
    if meaning.status == 401:
        headers.append((b"www-authenticate", b'Bearer realm="wickguard"'))
    if meaning.status == 405 and rejection.accepted:
        headers.append((b"allow", rejection.accepted.encode()))
    if meaning.close:
        headers.append((b"connection", b"close"))
    return Answer(meaning.status, body, content_type, headers)


def allowance_headers(allowance: Allowance, retry_after_s: float | None = None) -> Headers:
    """What the caller may still ask, as RateLimit fields (draft-ietf-httpapi-ratelimit-headers).

    Compute time has no registered unit: milliseconds, and a parameter of our own that says so. Only the caller's own bucket is
    told; what the others use would tell an attacker how well the attack goes. By the draft t and Retry-After mean the same
    instant: whoever is refused is told when its call would fit, everybody else when all of its quota is back.
    """
    most, left = int(allowance.depth_s * 1000), int(allowance.available_s * 1000)
    window = math.ceil(allowance.depth_s / allowance.rate) if allowance.rate > 0 else 0
    reset_s = allowance.full_in_s if retry_after_s is None else min(allowance.full_in_s, retry_after_s)
    return [
        (b"ratelimit-policy", b'"compute";q=%d;w=%d;wg-unit="compute-ms"' % (most, window)),
        (b"ratelimit", b'"compute";r=%d;t=%d' % (left, math.ceil(reset_s))),
    ]


async def send_answer(
    answer: Answer, request_id: str, send: Send, write_timeout_s: float, least_bytes_s: float = LEAST_BYTES_S
) -> None:
    """Send it. Raises TimeoutError when the client does not take a piece, or all of it, in time (the server then drops it).

    One piece alone is handed over whole: the HTTP server does not wait for its reader, so there is nothing to time.
    """
    head: Headers = [
        (b"content-type", answer.content_type),
        (b"content-length", b"%d" % len(answer.body)),
        (b"x-request-id", request_id.encode()),
        *answer.headers,
    ]
    await send({"type": "http.response.start", "status": answer.status, "headers": head})
    if len(answer.body) <= PIECE_BYTES:
        await send({"type": "http.response.body", "body": answer.body, "more_body": False})
        return
    view = memoryview(answer.body)
    async with asyncio.timeout(write_timeout_s + len(view) / least_bytes_s):
        for start in range(0, len(view), PIECE_BYTES):
            last = start + PIECE_BYTES >= len(view)
            piece = bytes(view[start : start + PIECE_BYTES])
            async with asyncio.timeout(write_timeout_s):
                await send({"type": "http.response.body", "body": piece, "more_body": not last})
