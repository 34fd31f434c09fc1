"""Large answers: room is held before they are computed and until they are read; a reader has to keep up."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest
from tests.fakes import settle_down

from wickguard.guard.answer import Answer, send_answer
from wickguard.guard.edge import EdgeSettings
from wickguard.guard.outbox import Outbox
from wickguard.rejection import Reason
from wickguard.units import KIB, MIB


def test_answer_is_refused_when_its_caller_or_all_have_as_many_unread() -> None:
    """By the limits of bodies; what is over is given back once."""
    outbox = Outbox(EdgeSettings(max_bytes_per_caller=2 * MIB, max_bytes_in_flight=3 * MIB))
    assert outbox.promise("1", "a", 2 * MIB) is None
    own = outbox.promise("2", "a", 1)
    assert own is not None and (own.reason, own.limit, own.seen) == (Reason.OVER_SHARE, 2 * MIB, 2 * MIB + 1)
    all_of_it = outbox.promise("3", "b", 2 * MIB)
    assert all_of_it is not None and all_of_it.reason is Reason.TOO_MANY_BYTES_IN_FLIGHT
    assert outbox.promise("4", "b", MIB) is None
    assert outbox.bytes_held == 3 * MIB
    for request in ("1", "1", "2", "nobody"):
        outbox.over(request)
    assert outbox.bytes_held == MIB
    assert outbox.promise("5", "a", 0) is None
    outbox.over("4")
    outbox.over("5")
    assert outbox.bytes_held == 0


def test_largest_answer_has_its_turn_when_nothing_else_is_held() -> None:
    """A refusal that says `later` must not mean `never`."""
    outbox = Outbox(EdgeSettings(max_bytes_per_caller=2 * MIB, max_bytes_in_flight=3 * MIB))
    assert outbox.promise("1", "a", 1) is None
    waits = outbox.promise("2", "a", 50 * MIB)
    assert waits is not None and waits.meaning.retryable
    outbox.over("1")
    assert outbox.promise("2", "a", 50 * MIB) is None
    outbox.adopt(EdgeSettings(max_bytes_per_caller=MIB, max_bytes_in_flight=MIB))
    outbox.over("2")
    assert outbox.bytes_held == 0


def test_answer_is_dropped_when_its_reader_takes_every_piece_just_in_time() -> None:
    """A piece has its time and the whole has its own: neither alone would end who reads 64 KiB each ten seconds."""

    async def scenario() -> int:
        taken = 0

        async def slow(message: MutableMapping[str, Any]) -> None:
            nonlocal taken
            await asyncio.sleep(0.04)
            taken += 1

        with pytest.raises(TimeoutError):
            await send_answer(Answer(200, bytes(100 * 64 * KIB)), "r", slow, 0.05, least_bytes_s=64 * MIB)
        await settle_down()
        return taken

    assert asyncio.run(scenario()) < 50
