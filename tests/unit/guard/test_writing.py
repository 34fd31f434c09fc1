"""Answers that wait and are alike become one job, over a fake backend: who comes along, and what each of them gets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

import msgspec
import pytest
from tests.fakes import WRITER, Exchange, Rig, RigSettings, body, ended, rig, scope, settle_down

from wickguard.backend import GenerateBatch, GenerateBatchResult, GeneratePayload, GenerateResult, Refusal
from wickguard.guard.generation import GenerationMerger
from wickguard.records import Cost, Outcome, OutcomeKind
from wickguard.units import MIB

CHAT = "/v1/chat/completions"


class Ask:
    """A chat request under way."""

    def __init__(self, front: Rig, content: str = "hi", **more: object) -> None:
        asked = {"model": WRITER.name, "messages": [{"role": "user", "content": content}], "max_tokens": 60, **more}
        data = json.dumps(asked).encode()
        self.exchange = Exchange(body(data))
        head = scope(CHAT, size_bytes=len(data))
        self.task = asyncio.create_task(front.application(head, self.exchange.receive, self.exchange.send))


def payload_of(front: Rig, call: str) -> GeneratePayload | GenerateBatch:
    """What the backend was asked."""
    return msgspec.msgpack.decode(front.backend.jobs[call].payload, type=GeneratePayload | GenerateBatch)


def wrote(*texts: str | Refusal, shares: tuple[float, ...] = ()) -> Outcome:
    """A batch that went well."""
    results = [GenerateResult(text, "stop", (9, 4)) if isinstance(text, str) else None for text in texts]
    refusals = [text if isinstance(text, Refusal) else None for text in texts]
    found = GenerateBatchResult(results, refusals, list(shares or (1.0,) * len(texts)))
    return Outcome(OutcomeKind.COMPLETED, Cost(0.01, 0.01, MIB), msgspec.msgpack.encode(found))


def in_loop(scenario: Callable[[Rig], Awaitable[None]], *, local: bool = True) -> None:
    """Run a scenario over a front with one slot, which is taken; nothing may be held afterwards."""

    async def whole() -> None:
        front = rig(RigSettings(slots=(1, 1), local=local), script=lambda job: None)
        first = Ask(front)
        await settle_down()
        await scenario(front)
        await first.task
        await settle_down()
        assert not any(front.holds().values()), front.holds()

    asyncio.run(whole())


async def free(front: Rig) -> list[str]:
    """The slot is free: who runs next."""
    (running,) = front.backend.running
    front.backend.finish(running, Outcome(OutcomeKind.COMPLETED, Cost(0.01, 0.01, MIB), alone()))
    await asyncio.sleep(0.02)
    return front.backend.running


def alone(text: str = "alone") -> bytes:
    """The result of a call that had its slot to itself."""
    return msgspec.msgpack.encode(GenerateResult(text, "stop", (9, 4)))


def text_of(ask: Ask) -> str:
    """What a whole answer says."""
    return str(json.loads(ask.exchange.answer)["choices"][0]["message"]["content"])


def test_answers_of_about_one_length_are_one_job_when_they_wait() -> None:
    """Each member has its own text; who is refused in the cage is refused alone, with its own status."""

    async def scenario(front: Rig) -> None:
        asks = [Ask(front, f"hi {number}", max_tokens=tokens) for number, tokens in enumerate((40, 50, 63, 33))]
        await settle_down()
        (job,) = await free(front)
        batch = payload_of(front, job)
        assert isinstance(batch, GenerateBatch)
        assert [one.messages[0][1] for one in batch.jobs] == [f"hi {number}" for number in range(4)]
        assert [one.max_tokens for one in batch.jobs] == [40, 50, 63, 33]
        front.backend.finish(job, wrote("a", "b", Refusal("too_many_tokens", "long", "messages", 10, 20), "d"))
        await asyncio.gather(*(ask.task for ask in asks))
        assert [asks[number].exchange.status for number in range(4)] == [200, 200, 422, 200]
        assert [text_of(asks[number]) for number in (0, 1, 3)] == ["a", "b", "d"]

    in_loop(scenario)


def test_answers_start_alone_when_they_are_of_different_lengths() -> None:
    """The short one would wait for the long one."""

    async def scenario(front: Rig) -> None:
        asks = [Ask(front, max_tokens=tokens) for tokens in (20, 60, 200)]
        await settle_down()
        seen = []
        for _ in asks:
            (job,) = await free(front)
            asked = payload_of(front, job)
            assert isinstance(asked, GeneratePayload)
            seen.append(asked.max_tokens)
        assert sorted(seen) == [20, 60, 200]
        assert await free(front) == []
        await asyncio.gather(*(ask.task for ask in asks))

    in_loop(scenario)


def test_answers_start_alone_when_their_callers_have_no_key() -> None:
    """Names that cost nothing could fill companies with poison."""

    async def scenario(front: Rig) -> None:
        asks = [Ask(front) for _ in range(2)]
        await settle_down()
        for _ in asks:
            (job,) = await free(front)
            assert isinstance(payload_of(front, job), GeneratePayload)
        assert await free(front) == []
        await asyncio.gather(*(ask.task for ask in asks))

    in_loop(scenario, local=False)


def test_who_streams_and_who_does_not_share_a_job() -> None:
    """Pieces reach the one that reads them; when the job dies it reads on, and the guilty one alone has an error."""

    async def scenario(front: Rig) -> None:
        reading, waiting, guilty = Ask(front, "a", stream=True), Ask(front, "b"), Ask(front, "c", stream=True)
        await settle_down()
        (job,) = await free(front)
        sink = front.backend.sinks[job]
        assert sink is not None and sink(b"\x00Once upon")
        await settle_down()
        front.backend.finish(job, ended(OutcomeKind.CRASHED))
        for number, ask in enumerate((reading, waiting, guilty)):
            await settle_down()
            (call,) = front.backend.running
            own = front.backend.sinks[call]
            assert (own is None) == (ask is waiting)
            if number == 2:
                front.backend.finish(call, ended(OutcomeKind.CRASHED))
                continue
            if own is not None:
                assert own(b"Once") and own(b" upon a time")
            front.backend.finish(call, Outcome(OutcomeKind.COMPLETED, Cost(0.01, 0.01, MIB), alone()))
        await asyncio.gather(reading.task, waiting.task, guilty.task)
        assert text_of(waiting) == "alone"
        events = [json.loads(block[6:]) for block in reading.exchange.answer.decode().split("\n\n")[:-2]]
        said = "".join(event["choices"][0]["delta"].get("content") or "" for event in events)
        assert said == "Once upon a time"
        assert guilty.exchange.status >= 500

    in_loop(scenario)


@pytest.mark.parametrize(
    "result",
    [
        b"",
        b"\x00",
        msgspec.msgpack.encode(GenerateBatchResult([None], [None], [1.0])),
        msgspec.msgpack.encode(GenerateBatchResult([], [None], [1.0])),
    ],
    ids=["nothing", "no map", "neither", "too few"],
)
def test_a_result_that_is_none_is_found_out_when_it_is_cut_up(result: bytes) -> None:
    """A worker is not believed: the members fail, nothing is made up."""
    with pytest.raises((msgspec.MsgspecError, ValueError)):
        GenerationMerger().split([b"x"], result)
