"""Answers in pieces, over a fake backend: events, errors before and after the first, readers that leave or do not read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

import msgspec
import pytest
from tests.fakes import WRITER, Exchange, Rig, body, ended, rig, scope, settle_down

from wickguard.backend import GeneratePayload, GenerateResult, Refusal
from wickguard.guard import asgi
from wickguard.guard.stream import Stream
from wickguard.records import Cost, Outcome, OutcomeKind
from wickguard.telemetry import events
from wickguard.units import MIB

CHAT = "/v1/chat/completions"


def asked(**more: object) -> bytes:
    """A chat request."""
    return json.dumps({"model": WRITER.name, "messages": [{"role": "user", "content": "hi"}], **more}).encode()


def wrote(text: str = "", finish: str = "stop") -> Outcome:
    """A call that went well."""
    result = GenerateResult(text, finish, (9, 4))  # type: ignore[arg-type]
    return Outcome(OutcomeKind.COMPLETED, Cost(0.01, 0.01, MIB), msgspec.msgpack.encode(result))


class Stage:
    """A request that is being answered: the test plays the worker."""

    def __init__(self, front: Rig, data: bytes, path: str = CHAT) -> None:
        self.front = front
        self.exchange = Exchange(body(data))
        head = scope(path, size_bytes=len(data))
        self.task = asyncio.create_task(front.application(head, self.exchange.receive, self.exchange.send))

    async def running(self) -> str:
        """The id of the call, once it runs."""
        await self.front.backend.started.wait()
        await settle_down()
        return self.front.backend.running[0]

    async def piece(self, data: bytes) -> bool:
        """The worker hands a piece on."""
        sink = self.front.backend.sinks[await self.running()]
        assert sink is not None
        taken = sink(data)
        await settle_down()
        return taken

    def events(self) -> list[dict[str, object] | str]:
        """What was sent as server-sent events."""
        found: list[dict[str, object] | str] = []
        for block in self.exchange.answer.decode().split("\n\n")[:-1]:
            assert block.startswith("data: ")
            found.append("[DONE]" if block == "data: [DONE]" else json.loads(block[6:]))
        return found


def in_loop(scenario: Callable[[Rig], Awaitable[None]]) -> None:
    """Run a scenario over a front whose calls end when the test says so; nothing may be held afterwards."""

    async def whole() -> None:
        front = rig(script=lambda job: None)
        await scenario(front)
        await settle_down()
        assert not any(front.holds().values()), front.holds()

    asyncio.run(whole())


def test_answer_is_whole_when_no_stream_is_asked_for() -> None:
    """One document with usage; the worker is not asked for pieces."""

    async def scenario(front: Rig) -> None:
        stage = Stage(front, asked(max_tokens=20))
        call = await stage.running()
        payload = msgspec.msgpack.decode(front.backend.jobs[call].payload, type=GeneratePayload)
        assert (payload.max_tokens, payload.clip, payload.stream) == (20, False, False)
        assert payload.messages == [("user", "hi")]
        assert front.backend.sinks[call] is None
        front.backend.finish(call, wrote("hello", "length"))
        await stage.task
        answer = json.loads(stage.exchange.answer)
        assert answer["choices"][0]["message"]["content"] == "hello"
        assert answer["choices"][0]["finish_reason"] == "length"
        assert answer["usage"] == {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
        assert answer["object"] == "chat.completion"

    in_loop(scenario)


@pytest.mark.parametrize("usage", [False, True])
def test_pieces_are_events_as_they_come_when_a_stream_is_asked_for(usage: bool) -> None:
    """The head with the first piece, an event each, the finish reason, usage if wanted, [DONE]."""

    async def scenario(front: Rig) -> None:
        stage = Stage(front, asked(stream=True, stream_options={"include_usage": usage}))
        assert await stage.running()
        assert stage.exchange.sent == []
        assert await stage.piece(b"Hel")
        assert stage.exchange.headers[b"content-type"] == b"text/event-stream; charset=utf-8"
        assert stage.exchange.headers[b"ratelimit-policy"].startswith(b'"compute";q=')
        assert stage.exchange.headers[b"ratelimit"].startswith(b'"compute";r=')
        first = stage.exchange.answer
        assert await stage.piece("lo é".encode())
        assert len(stage.exchange.answer) > len(first)
        front.backend.finish(await stage.running(), wrote())
        await stage.task
        *chunks, done = stage.events()
        assert done == "[DONE]"
        deltas = [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]  # type: ignore[index]
        assert deltas == [{"role": "assistant", "content": ""}, {"content": "Hel"}, {"content": "lo é"}, {}]
        counts = [chunk["usage"] for chunk in chunks if chunk.get("usage")]  # type: ignore[union-attr]
        assert counts == ([{"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}] if usage else [])
        assert len({chunk["id"] for chunk in chunks}) == 1  # type: ignore[index]
        assert stage.exchange.sent[-1]["more_body"] is False
        assert [type(event) for event in front.events] == [events.CallAdmitted, events.CallSettled]

    in_loop(scenario)


def test_stream_is_well_formed_when_nothing_was_written() -> None:
    """An answer that ends at once has its events all the same."""

    async def scenario(front: Rig) -> None:
        stage = Stage(front, asked(stream=True))
        front.backend.finish(await stage.running(), wrote())
        await stage.task
        assert stage.exchange.headers[b"content-type"].startswith(b"text/event-stream")
        assert stage.events()[-1] == "[DONE]"

    in_loop(scenario)


def test_refusal_has_a_status_of_its_own_when_nothing_was_sent_yet() -> None:
    """The head of the response waits for the first piece."""

    async def scenario(front: Rig) -> None:
        stage = Stage(front, asked(stream=True))
        refusal = msgspec.json.encode(Refusal("too_many_tokens", "too long", "messages", 10, 20)).decode()
        front.backend.finish(await stage.running(), ended(OutcomeKind.REFUSED_BY_WORKER, detail=refusal))
        await stage.task
        assert stage.exchange.status == 422
        assert json.loads(stage.exchange.answer)["error"]["code"] == "context_length_exceeded"

    in_loop(scenario)


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (OutcomeKind.EXPIRED_CPU, "cpu_exceeded"),
        (OutcomeKind.CRASHED, "worker_crashed"),
        (OutcomeKind.OUT_OF_MEMORY, "memory_exceeded"),
    ],
)
def test_stream_ends_with_an_error_when_the_call_fails_after_its_first_piece(kind: OutcomeKind, code: str) -> None:
    """An event that clients know as an error, and no [DONE]."""

    async def scenario(front: Rig) -> None:
        stage = Stage(front, asked(stream=True))
        await stage.piece(b"Hel")
        front.backend.finish(await stage.running(), ended(kind))
        await stage.task
        assert stage.exchange.status == 200
        last = stage.events()[-1]
        assert isinstance(last, dict) and last["error"]["code"] == code  # type: ignore[index]
        assert stage.exchange.sent[-1]["more_body"] is False

    in_loop(scenario)


def test_call_is_abandoned_when_its_client_leaves_between_pieces() -> None:
    """What it used is settled; nothing more is sent."""

    async def scenario(front: Rig) -> None:
        stage = Stage(front, asked(stream=True))
        await stage.piece(b"Hel")
        call = await stage.running()
        stage.exchange.disconnect()
        await stage.task
        assert front.backend.abandoned == [call]

    in_loop(scenario)


def test_slot_is_free_when_the_call_has_ended_and_its_reader_still_reads() -> None:
    """A reader who takes his time holds what was written for him, and no slot, no memory of the grant."""

    async def scenario(front: Rig) -> None:
        exchange, gate = Exchange(body(asked(stream=True))), asyncio.Event()

        async def slow(message: dict[str, object]) -> None:
            await gate.wait()
            await exchange.send(message)

        task = asyncio.create_task(front.application(scope(CHAT, size_bytes=9), exchange.receive, slow))
        await front.backend.started.wait()
        call = front.backend.running[0]
        sink = front.backend.sinks[call]
        assert sink is not None
        for _ in range(10):
            assert sink(b"x" * 100)
            await settle_down()
        front.backend.finish(call, wrote())
        await settle_down()
        held = front.holds()
        assert (held["running"], held["bytes granted"], held["open requests"]) == (0, 0, 1)
        gate.set()
        await task
        assert exchange.answer.endswith(b"data: [DONE]\n\n")
        assert exchange.answer.count(b"x" * 100) > 0

    in_loop(scenario)


def test_call_is_abandoned_when_its_reader_does_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The write deadline passes: the work stops, and later pieces find nobody."""
    monkeypatch.setattr(asgi, "WRITE_TIMEOUT_S", 0.02)

    async def scenario(front: Rig) -> None:
        exchange = Exchange(body(asked(stream=True)))

        async def stuck(message: dict[str, object]) -> None:
            if message["type"] == "http.response.body":
                await asyncio.Event().wait()

        task = asyncio.create_task(front.application(scope(CHAT, size_bytes=9), exchange.receive, stuck))
        await front.backend.started.wait()
        call = front.backend.running[0]
        sink = front.backend.sinks[call]
        assert sink is not None and sink(b"piece")
        await asyncio.wait_for(task, 5)
        assert front.backend.abandoned == [call]
        assert not sink(b"more")

    in_loop(scenario)


def test_stream_refuses_what_it_has_no_room_for() -> None:
    """Bytes are counted; taking makes room; after the end nothing is taken in."""

    async def scenario() -> None:
        stream = Stream(room_bytes=10)
        assert stream.put(b"12345678") and not stream.put(b"123") and stream.put(b"12")
        assert await stream.take() == b"1234567812"
        assert stream.put(b"1234567890")
        stream.end()
        assert not stream.put(b"")
        assert await stream.take() == b"1234567890"
        assert await stream.take() == b""

    asyncio.run(scenario())
