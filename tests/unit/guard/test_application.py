"""The whole front over a fake backend: routes, statuses, headers, and one event for every request."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest
from tests.fakes import MINILM, Exchange, Rig, RigSettings, body, completed, ended, rig, scope, settle_down

from wickguard.guard.edge import EdgeSettings
from wickguard.records import OutcomeKind
from wickguard.telemetry import events

BODY = json.dumps({"model": MINILM.name, "input": ["a", "b"]}).encode()


def in_loop(scenario: Callable[[], Awaitable[None]]) -> None:
    """Run a scenario in a loop of its own."""

    async def whole() -> None:
        await scenario()

    asyncio.run(whole())


def idle(front: Rig) -> bool:
    """Whether nothing is held anywhere."""
    return not any(front.holds().values())


def test_an_embedding_is_answered_when_everything_is_well() -> None:
    """Status, body, timing header, one admission and one settlement."""

    async def scenario() -> None:
        front = rig()
        exchange = await front.post(BODY)
        assert exchange.status == 200
        assert [row["embedding"] for row in json.loads(exchange.answer)["data"]] == [[0.5, 0.5]] * 2
        assert b"cpu;dur=10.00" in exchange.headers[b"server-timing"]
        assert [type(event) for event in front.events] == [events.CallAdmitted, events.CallSettled]
        assert idle(front)

    in_loop(scenario)


def test_tei_is_answered_in_its_own_words_when_its_route_is_used() -> None:
    """Results and errors."""

    async def scenario() -> None:
        front = rig()
        assert json.loads((await front.post(b'{"inputs":"a"}', "/embed")).answer) == [[0.5, 0.5]]
        wrong = await front.post(b'{"inputs":[]}', "/embed")
        assert (wrong.status, json.loads(wrong.answer)["error_type"]) == (422, "Empty")

    in_loop(scenario)


@pytest.mark.parametrize(
    ("path", "ready", "status"),
    [
        ("/health/live", False, 200),
        ("/health/startup", False, 503),
        ("/health/ready", False, 503),
        ("/health/startup", True, 200),
        ("/health/ready", True, 200),
        ("/v1/models", True, 200),
        ("/metrics", True, 200),
    ],
)
def test_the_server_tells_its_state_when_asked(path: str, ready: bool, status: int) -> None:
    """Live is not ready; whoever must come back is told when."""

    async def scenario() -> None:
        front = rig()
        front.backend.is_ready = front.status.is_started = ready
        exchange = Exchange()
        await front.application(scope(path, "GET", []), exchange.receive, exchange.send)
        assert exchange.status == status
        assert (b"retry-after" in exchange.headers) is (status == 503)

    in_loop(scenario)


@pytest.mark.parametrize(("path", "method", "status"), [("/nope", "GET", 404), ("/embed", "GET", 405)])
def test_a_refusal_is_one_event_when_no_route_fits(path: str, method: str, status: int) -> None:
    """Its label is closed: the path that the caller wrote is nowhere."""

    async def scenario() -> None:
        front = rig()
        exchange = Exchange()
        await front.application(scope(path, method, []), exchange.receive, exchange.send)
        assert exchange.status == status
        (event,) = front.events
        assert isinstance(event, events.RequestRejected)
        assert event.route == "unknown"
        assert exchange.received == 0

    in_loop(scenario)


def test_our_own_mistake_is_one_500_and_one_event_when_we_make_one() -> None:
    """Never a dead connection without a word; nothing of the exception reaches the caller."""

    async def scenario() -> None:
        front = rig()
        front.stages.decoder._endpoints = {}  # type: ignore[assignment]
        exchange = await front.post(BODY)
        assert exchange.status == 500
        assert json.loads(exchange.answer)["error"]["code"] == "internal"
        assert b"KeyError" not in exchange.answer
        (event,) = front.events
        assert isinstance(event, events.RequestRejected)
        assert event.reason == "internal"
        assert idle(front)

    in_loop(scenario)


def test_nothing_is_lost_when_the_backend_breaks_its_promise() -> None:
    """It raises: the call has failed, is not charged, and gives everything back."""

    async def scenario() -> None:
        front = rig(script=lambda job: RuntimeError("broken"))
        exchange = await front.post(BODY)
        assert exchange.status == 500
        settled = front.events[-1]
        assert isinstance(settled, events.CallSettled)
        assert (settled.outcome, settled.charged_s) == ("failed", 0.0)
        assert idle(front)

    in_loop(scenario)


@pytest.mark.parametrize("kind", [kind for kind in OutcomeKind if kind is not OutcomeKind.COMPLETED])
def test_status_is_the_tables_when_a_call_ends_badly(kind: OutcomeKind) -> None:
    """And nothing is held afterwards."""

    async def scenario() -> None:
        front = rig(script=lambda job: ended(kind))
        exchange = await front.post(BODY)
        settled = front.events[-1]
        assert isinstance(settled, events.CallSettled)
        if kind is OutcomeKind.ABANDONED:
            assert exchange.sent == []
        else:
            assert exchange.status == settled.status
        assert idle(front)

    in_loop(scenario)


def test_work_is_abandoned_when_the_client_leaves() -> None:
    """What it used is still charged, and the slot is free again only when the work has stopped."""

    async def scenario() -> None:
        front = rig(script=lambda job: None)
        front.backend.stops_when_abandoned = False
        exchange = Exchange(body(BODY))
        serving = asyncio.create_task(
            front.application(scope(size_bytes=len(BODY)), exchange.receive, exchange.send)  # type: ignore[arg-type]
        )
        await front.backend.started.wait()
        exchange.disconnect()
        await settle_down()
        (call_id,) = front.backend.abandoned
        assert front.stages.admission.running == 1
        front.backend.finish(call_id, ended(OutcomeKind.ABANDONED, 0.3))
        await serving
        settled = front.events[-1]
        assert isinstance(settled, events.CallSettled)
        assert (settled.outcome, settled.charged_s) == ("abandoned", pytest.approx(0.3, abs=1e-5))
        assert exchange.sent == []
        assert idle(front)

    in_loop(scenario)


def test_a_wrong_key_is_refused_unread_when_a_body_is_announced() -> None:
    """401 before a byte of the body."""

    async def scenario() -> None:
        front = rig()
        exchange = Exchange(body(BODY))
        await front.application(scope(size_bytes=len(BODY), peer="192.0.2.1"), exchange.receive, exchange.send)
        assert (exchange.status, exchange.received) == (403, 0)

    in_loop(scenario)


def test_one_caller_is_refused_and_another_served_when_the_first_has_too_many_open() -> None:
    """429 for the one, 200 for the other."""

    async def scenario() -> None:
        front = rig(RigSettings(edge=EdgeSettings(max_open_per_caller=1)), script=lambda job: None)
        first = asyncio.create_task(front.post(BODY))
        await front.backend.started.wait()
        assert (await front.post(BODY)).status == 429
        other = asyncio.create_task(front.post(BODY, peer="127.0.0.3"))
        await settle_down()
        for call_id in front.backend.running:
            front.backend.finish(call_id, completed(front.backend.jobs[call_id]))
        assert ((await first).status, (await other).status) == (200, 200)

    in_loop(scenario)


def test_lifespan_is_acknowledged_when_the_server_asks() -> None:
    """Start-up and shutdown."""

    async def scenario() -> None:
        exchange = Exchange({"type": "lifespan.startup"}, {"type": "lifespan.shutdown"})
        await rig().application({"type": "lifespan"}, exchange.receive, exchange.send)
        assert [message["type"] for message in exchange.sent] == [
            "lifespan.startup.complete", "lifespan.shutdown.complete",
        ]  # fmt: skip

    in_loop(scenario)
