"""THE ORDER. Every inference request passes these stages, in this order, and no other way exists.

    1 identify   who is calling                 head only, microseconds
    2 screen     is the head acceptable          head only
    3 glance     has the caller any quota left   head only
    4 open       may this caller open one more   head only
    5 read       the body, under its limits      counted while it streams
    6 decode     body -> Call                    typed, measured, inside the envelope
    7 price      Call -> Quote                   what it will cost, what it can cost at most
    8 admit      Quote -> Grant                  quota, slot, memory and share, or when to come back
    9 execute    Grant -> Outcome                in a worker that the kernel stops
   10 settle     Outcome -> Receipt              every hold released exactly once

A request for a quote goes the same way up to the price and is told what admission would say.

A stage returns the next record or a Rejection; the first Rejection ends the request. From the grant on, the work runs in a
task of its own: whatever happens to the connection, it is executed to its end and settled. This file decides the order and
emits the events; it must not know what any stage decides or how answers are spelled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec

from wickguard import clock
from wickguard.backend import Backend
from wickguard.guard.admit import Admission, Allowance, Prospect
from wickguard.guard.decode import Decoder
from wickguard.guard.edge import JSON_LENGTH_HEADER, BodyReader, EdgeSettings, InFlight, find_deadline, screen
from wickguard.guard.execute import execute
from wickguard.guard.head import Head, Receive
from wickguard.guard.identity import Identity
from wickguard.guard.lessons import Lessons
from wickguard.guard.outbox import Outbox
from wickguard.guard.price import Pricer
from wickguard.guard.quoting import unwrap
from wickguard.guard.routes import Route, Service
from wickguard.guard.settle import settle
from wickguard.guard.stream import Stream
from wickguard.records import Call, Caller, Delivery, Grant, Outcome, Quote, RawRequest, Receipt
from wickguard.rejection import Rejection
from wickguard.telemetry import events
from wickguard.telemetry.events import Event

Emit = Callable[[Event], None]
# Sends the pieces of a call's answer until the stream ends; False when its reader does not take them.
Tell = Callable[[Call, Stream], Awaitable[bool]]

# What ends in one of these stages costs its caller a little quota; the others charge for themselves, but for the body.
_UNPAID = ("edge", "decode", "price")


@dataclass(frozen=True, slots=True)
class Stages:
    """The stages, wired by serve.py."""

    identity: Identity
    edge: EdgeSettings
    flight: InFlight
    outbox: Outbox
    decoder: Decoder
    pricer: Pricer
    admission: Admission
    backend: Backend
    lessons: Lessons


class Served(msgspec.Struct, frozen=True):
    """What the caller gets: the worker's encoded result for `call`, a quote with its prospect, or a rejection.

    allowance: what the caller may still ask, when it is known who calls.
    """

    result: bytes | None
    call: Call | None = None
    rejection: Rejection | None = None
    outcome: Outcome | None = None
    quoted: tuple[Quote, Prospect] | None = None
    allowance: Allowance | None = None


@dataclass(slots=True)
class _Journey:
    """How far a request has come, for the event that reports its refusal."""

    id: str
    route: Route
    started: float
    stage: str = "identify"
    caller: Caller | None = None
    call: Call | None = None
    body_bytes: int = 0
    asked: events.Asked | None = None
    tell: Tell | None = None


class Pipeline:
    """Runs requests through the stages."""

    def __init__(self, stages: Stages, emit: Emit) -> None:
        self._stages = stages
        self._emit = emit
        self._work: set[asyncio.Task[Served]] = set()

    @property
    def stages(self) -> Stages:
        """The stages that the next request meets."""
        return self._stages

    def adopt(self, stages: Stages) -> None:
        """Other stages from the next request on; calls that wait or run end as they were admitted."""
        self._stages = stages

    async def serve(
        self, request_id: str, route: Route, head: Head, receive: Receive, tell: Tell | None = None
    ) -> Served:
        """Answer one inference request. Never raises for anything that a caller did.

        tell: sends the pieces of an answer that is wanted so; the end of it is still the caller's to send.
        """
        journey = _Journey(request_id, route, clock.now(), tell=tell)
        found = await self._up_to_grant(journey, head, receive)
        if isinstance(found, Rejection):
            self._report(journey, found)
            found = Served(None, journey.call, found)
        caller, admission = journey.caller, self._stages.admission
        if caller is None:
            return found
        # Also a quote that was given: nothing runs for it, and it costs the front as much as a refusal.
        admission.pace(caller, journey.body_bytes, charged=journey.stage not in _UNPAID)
        return msgspec.structs.replace(found, allowance=admission.allowance(caller))

    async def settled(self) -> None:
        """Wait until no admitted work is left."""
        while self._work:
            await asyncio.wait(set(self._work))

    async def _up_to_grant(self, journey: _Journey, head: Head, receive: Receive) -> Served | Rejection:
        stages = self._stages
        caller = stages.identity.identify(head)
        if isinstance(caller, Rejection):
            return caller
        journey.caller, journey.stage = caller, "edge"
        refusal = screen(head, journey.route, stages.edge)
        if refusal is not None:
            return refusal
        due = find_deadline(head, stages.edge, journey.started)
        if isinstance(due, Rejection):
            return due
        journey.stage = "glance"
        refusal = stages.admission.glance(caller)
        if refusal is not None:
            return refusal
        journey.stage = "edge"
        refusal = stages.flight.open(caller.tenant)
        if refusal is not None:
            return refusal
        media = head.media
        reader = BodyReader(stages.edge, stages.flight, caller.tenant, clock.now, stages.edge.most_bytes(media))
        try:
            body = await reader.read(receive, due)
            journey.body_bytes = reader.held
            if isinstance(body, Rejection):
                return body
            path, kind = journey.route.path, media.decode("latin-1")
            json_bytes = head.one(JSON_LENGTH_HEADER) or b""
            raw = RawRequest(
                journey.id, path, caller, body, due, journey.started, kind, head.query, head.path, json_bytes
            )
            return await self._from_body(journey, raw, receive)
        finally:
            reader.close()
            stages.flight.close(caller.tenant)

    async def _from_body(self, journey: _Journey, raw: RawRequest, receive: Receive) -> Served | Rejection:
        stages = self._stages
        journey.stage = "decode"
        route = journey.route
        if route.service is Service.QUOTE:
            inner = unwrap(raw)
            if isinstance(inner, Rejection):
                return inner
            raw, route = inner
        call = stages.decoder.decode(raw, route)
        if isinstance(call, Rejection):
            return call
        journey.call, journey.stage = call, "price"
        quote = stages.pricer.price(call)
        if isinstance(quote, Rejection):
            return quote
        if journey.route.service is Service.QUOTE:
            return Served(None, call, quoted=(quote, stages.admission.prospect(call, quote)))
        refusal = stages.outbox.promise(journey.id, call.caller.tenant, call.answer_bytes)
        return refusal if refusal is not None else await self._from_quote(journey, call, quote, receive)

    async def _from_quote(self, journey: _Journey, call: Call, quote: Quote, receive: Receive) -> Served | Rejection:
        stages = self._stages
        journey.stage = "admit"
        journey.asked = events.Asked(clock.utc(), call.deadline.remaining_s(clock.now()), quote, call.batch)
        gone = asyncio.get_running_loop().create_future()
        watcher = asyncio.create_task(_watch(receive, gone))
        try:
            grant = await stages.admission.admit(call, quote, gone)
            if isinstance(grant, Rejection):
                return grant
            stream = Stream() if call.delivery is not Delivery.WHOLE and journey.tell is not None else None
            work = asyncio.create_task(self._work_off(journey, grant, gone, stream))
            self._work.add(work)
            work.add_done_callback(self._work.discard)
            if stream is not None and journey.tell is not None:
                await _hand_on(journey.tell, call, stream, gone)
            return await asyncio.shield(work)
        finally:
            if not gone.done():
                # The caller is answered, or this task was cancelled: either way nobody waits for the work any more.
                gone.set_result(None)
            watcher.cancel()

    async def _work_off(
        self, journey: _Journey, grant: Grant, gone: asyncio.Future[None], stream: Stream | None
    ) -> Served:
        call = grant.call
        self._emit(
            events.CallAdmitted(
                at=clock.utc(), request_id=call.id, tenant=call.caller.tenant, model=call.model, lane=grant.lane,
                queued_s=grant.queued_s,
            )
        )  # fmt: skip
        try:
            outcome = await execute(self._stages.backend, grant, gone, stream.put if stream is not None else None)
        finally:
            if stream is not None:
                stream.end()
        receipt, rejection = settle(self._stages.admission, grant, outcome)
        self._stages.lessons.learn(grant, outcome)
        self._emit(_settled(journey, grant, outcome, receipt, rejection))
        return Served(outcome.result, call, rejection, outcome)

    def _report(self, journey: _Journey, rejection: Rejection) -> None:
        caller, call = journey.caller, journey.call
        self._emit(
            events.RequestRejected(
                at=clock.utc(), request_id=journey.id, route=journey.route.path,
                tenant=caller.tenant if caller else "unknown", pool=caller.pool if caller else "unknown",
                reason=rejection.reason, status=rejection.meaning.status, stage=journey.stage, detail=rejection.detail,
                body_bytes=journey.body_bytes, elapsed_s=clock.now() - journey.started,
                model=call.model if call else None, features=call.features.as_dict() if call else None,
                limit=rejection.limit, seen=rejection.seen, key_id=caller.key_id if caller else None, asked=journey.asked,
            )
        )  # fmt: skip


async def _hand_on(tell: Tell, call: Call, stream: Stream, gone: asyncio.Future[None]) -> None:
    # A reader who does not read is treated as one who has left.
    if not await tell(call, stream):
        stream.end()
        if not gone.done():
            gone.set_result(None)


async def _watch(receive: Receive, gone: asyncio.Future[None]) -> None:
    # The body is read; the only message that can still come is that the client has left.
    while (await receive())["type"] != "http.disconnect":
        pass
    if not gone.done():
        gone.set_result(None)


def _settled(
    journey: _Journey, grant: Grant, outcome: Outcome, receipt: Receipt, rejection: Rejection | None
) -> events.CallSettled:
    call, quote, limits, usage = grant.call, grant.quote, grant.limits, outcome.usage
    return events.CallSettled(
        at=clock.utc(), request_id=call.id, route=call.route, tenant=call.caller.tenant, pool=call.caller.pool,
        key_id=call.caller.key_id, model=call.model, lane=grant.lane, features=call.features.as_dict(),
        quoted_cpu_s=quote.expected.cpu_s, quoted_bytes=quote.expected.peak_bytes, granted_cpu_s=limits.cpu_s,
        granted_wall_s=limits.wall_s, granted_bytes=limits.peak_bytes, queued_s=grant.queued_s, cpu_s=usage.cpu_s,
        wall_s=usage.wall_s, peak_bytes=usage.peak_bytes, outcome=outcome.kind, charged_s=receipt.charged_s,
        worker=outcome.worker, status=rejection.meaning.status if rejection else 200,
        reason=str(rejection.reason) if rejection else None, elapsed_s=clock.now() - journey.started,
        body_bytes=journey.body_bytes, tokens=receipt.tokens, retryable=outcome.retryable, respawn_s=outcome.respawn_s,
        asked=journey.asked,
    )  # fmt: skip
