"""The ASGI application: HTTP in, pipeline, HTTP out.

Decides nothing about a request but which service its route names. A pure application, without middleware: a wrapper
between us and the server is how servers lose sight of `http.disconnect`. Promises that an exception in our own code becomes
one 500 in the route's dialect and one event, never a dead connection without a word. It must not know limits or processes.
"""

from __future__ import annotations

import logging
import random
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from wickguard import __version__, clock
from wickguard.dialect import oip, problem
from wickguard.dialect.openai_generation import failed
from wickguard.dialect.task import Spelling
from wickguard.guard import edge, quoting
from wickguard.guard.answer import Answer, allowance_headers, refusal, send_answer
from wickguard.guard.head import Head, Receive, Scope, Send
from wickguard.guard.pipeline import Emit, Pipeline, Served
from wickguard.guard.routes import Route, Service, model_in
from wickguard.guard.stream import EVENTS, Teller
from wickguard.records import Caller, Delivery
from wickguard.rejection import Reason, Rejection
from wickguard.telemetry.events import RequestRejected
from wickguard.telemetry.metrics import CONTENT_TYPE, Metrics

_LOG = logging.getLogger(__name__)
# Request ids have to be unique and to say nothing, not to be secret: no system call for each.
_IDS = random.Random(secrets.token_bytes(32))

# A client that takes longer than this for one piece of an answer is not reading.
WRITE_TIMEOUT_S = 10.0


class Status(Protocol):
    """What the health routes ask of the server."""

    def started(self) -> bool:
        """Whether every model has been loaded once."""
        ...

    def ready(self) -> bool:
        """Whether a call could be served now."""
        ...

    def models(self) -> dict[str, int]:
        """Names of the models and when they were loaded, in seconds since the epoch."""
        ...


@dataclass(frozen=True, slots=True)
class Surface:
    """What the application serves with, wired by serve.py."""

    pipeline: Pipeline
    dialects: Mapping[str, Spelling]
    render_models: Callable[[dict[str, int]], bytes]
    metrics: Metrics
    status: Status
    emit: Emit


class Application:
    """The ASGI callable."""

    def __init__(self, surface: Surface) -> None:
        self._surface = surface

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection scope."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        head = Head.of(scope)
        request_id = f"req-{_IDS.getrandbits(64):016x}"
        route = edge.find_route(head, self._surface.pipeline.stages.edge)
        stages = self._surface.pipeline.stages
        teller = Teller(
            send, request_id, WRITE_TIMEOUT_S, lambda call: stages.decoder.spelling(call, _known(route)),
            lambda call: allowance_headers(stages.admission.allowance(call.caller)),
        )  # fmt: skip
        try:
            await self._respond(request_id, route, head, receive, teller)
        finally:
            stages.outbox.over(request_id)

    async def _respond(
        self, request_id: str, route: Route | Rejection, head: Head, receive: Receive, teller: Teller
    ) -> None:
        try:
            answer = await self._answer(request_id, route, head, receive, teller)
        except Exception:
            _LOG.exception("request %s failed inside the server", request_id)
            answer = self._turn_away(Rejection(Reason.INTERNAL, "report this request id"), request_id, route)
        if answer is None or teller.broken:
            return
        if teller.begun:
            await teller.end(answer.body if answer.content_type == EVENTS else failed(answer.body))
        else:
            await send_answer(answer, request_id, teller.send, WRITE_TIMEOUT_S)

    async def _answer(
        self, request_id: str, route: Route | Rejection, head: Head, receive: Receive, teller: Teller
    ) -> Answer | None:
        if isinstance(route, Rejection):
            return self._turn_away(route, request_id, route)
        if not route.inference:
            return self._inform(request_id, route, head)
        served = await self._surface.pipeline.serve(request_id, route, head, receive, teller.tell)
        if served.rejection is not None:
            if served.rejection.reason is Reason.CLIENT_GONE:
                return None
            answer = self._refuse(served.rejection, request_id, route.dialect)
        elif served.quoted is not None and served.call is not None:
            answer = Answer(200, quoting.render(served.call, *served.quoted, served.allowance), headers=[])
        else:
            answer = self._result(served, route, begun=teller.begun)
        if served.allowance is not None:
            retry_after_s = served.rejection.retry_after_s if served.rejection is not None else None
            answer.headers.extend(allowance_headers(served.allowance, retry_after_s))
        return answer

    def _result(self, served: Served, route: Route, *, begun: bool) -> Answer:
        if served.call is None or served.result is None or served.outcome is None:
            raise AssertionError("a served call has a result")
        decoder = self._surface.pipeline.stages.decoder
        if served.call.delivery is not Delivery.WHOLE:
            first = b"" if begun else decoder.spelling(served.call, route).begin()
            return Answer(200, first + decoder.render_end(served.call, served.result, route), EVENTS)
        body = decoder.render(served.call, served.result, route)
        usage = served.outcome.usage
        timing = f"cpu;dur={usage.cpu_s * 1e3:.2f}, run;dur={usage.wall_s * 1e3:.2f}, mem;desc={usage.peak_bytes}"
        return Answer(200, body.data, body.content_type, [(b"server-timing", timing.encode()), *body.headers])

    def _describe(self, request_id: str, route: Route, head: Head) -> Answer:
        surface = self._surface
        if route.service is Service.SERVER:
            return Answer(200, oip.render_server(__version__))
        backend = surface.pipeline.stages.backend
        spec = backend.models.get(model_in(head.path))
        if spec is None:
            known = ", ".join(backend.models)
            return self._turn_away(Rejection(Reason.UNKNOWN_MODEL, "", "model", accepted=known), request_id, route)
        if route.service is Service.MODEL:
            return Answer(200, oip.render_model(spec))
        return _state("ready", surface.status.ready() and backend.ready(spec.name))

    def _metrics(self, caller: Caller | Rejection, request_id: str, route: Route) -> Answer:
        """The page. It takes longer to make than a refusal, so whoever can be charged pays for it as for one."""
        if isinstance(caller, Caller):
            admission = self._surface.pipeline.stages.admission
            refusal = admission.glance(caller)
            if refusal is not None:
                return self._turn_away(refusal, request_id, route)
            admission.pace(caller, 0, charged=False)
        return Answer(200, self._surface.metrics.render(), CONTENT_TYPE.encode())

    def _turn_away(self, rejection: Rejection, request_id: str, route: Route | Rejection) -> Answer:
        # A refusal that the pipeline has not seen and so has not reported.
        path, dialect = ("unknown", "") if isinstance(route, Rejection) else (route.path, route.dialect)
        self._surface.emit(
            RequestRejected(
                at=clock.utc(), request_id=request_id, route=path, tenant="unknown",
                pool="unknown", reason=rejection.reason, status=rejection.meaning.status,
                stage="serve" if rejection.reason is Reason.INTERNAL else "route", detail=rejection.detail, body_bytes=0,
                elapsed_s=0.0, limit=rejection.limit, seen=rejection.seen,
            )
        )  # fmt: skip
        return self._refuse(rejection, request_id, dialect)

    def _refuse(self, rejection: Rejection, request_id: str, dialect: str) -> Answer:
        if dialect:
            content_type, body = self._surface.dialects[dialect].render_rejection(rejection, request_id)
        else:
            content_type, body = problem.render_rejection(rejection, request_id)
        return refusal(rejection, content_type, body)

    def _inform(self, request_id: str, route: Route, head: Head) -> Answer:
        surface = self._surface
        match route.service:
            case Service.LIVE:
                return Answer(200, b'{"status":"live"}')
            case Service.STARTUP:
                return _state("started", surface.status.started())
            case Service.READY:
                return _state("ready", surface.status.ready())
        caller = surface.pipeline.stages.identity.identify(head)
        if isinstance(caller, Rejection) and not (route.service is Service.METRICS and head.peer.startswith("127.")):
            return self._turn_away(caller, request_id, route)
        if route.service is Service.METRICS:
            return self._metrics(caller, request_id, route)
        if route.service is not Service.MODELS:
            return self._describe(request_id, route, head)
        return Answer(200, surface.render_models(surface.status.models()))


def _known(route: Route | Rejection) -> Route:
    if isinstance(route, Rejection):
        raise AssertionError("only calls of a known route stream")
    return route


def _state(name: str, reached: bool) -> Answer:
    if reached:
        return Answer(200, b'{"status":"%s"}' % name.encode())
    return Answer(503, b'{"status":"not %s"}' % name.encode(), headers=[(b"retry-after", b"1")])


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return
