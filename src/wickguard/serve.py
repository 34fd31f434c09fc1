"""The composition root: all wiring, nothing else.

Builds the pool, the stages and the application from a policy, starts them in order, and stops them in the reverse: on
SIGTERM or Ctrl-C it refuses new calls, lets running ones finish until `drain_s`, then ends every process. It decides
nothing about a request. No other module may import it but the command line.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import resource
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from granian.constants import HTTPModes, Interfaces, SSLProtocols
from granian.http import HTTP1Settings
from granian.server.embed import Server as GranianServer

from wickguard import clock
from wickguard.assembly import MERGERS, Ground, build_admission, build_decoder, build_pricer, survey
from wickguard.calibrate import Tell, find_prices
from wickguard.cost.learning import Learning
from wickguard.dialect.oip import Oip
from wickguard.dialect.openai import OpenAI
from wickguard.dialect.task import Dialect
from wickguard.dialect.tei import Tei
from wickguard.errors import ConfigError, ModelError, WickguardError
from wickguard.guard.admit import Admission
from wickguard.guard.asgi import Application, Surface
from wickguard.guard.batch import Batches
from wickguard.guard.edge import InFlight
from wickguard.guard.heartbeat import beat
from wickguard.guard.identity import Identity
from wickguard.guard.lessons import Lessons
from wickguard.guard.outbox import Outbox
from wickguard.guard.pipeline import Pipeline, Stages
from wickguard.models import ModelSource
from wickguard.policy.schema import Policy
from wickguard.records import Lane
from wickguard.takeover import Takeover
from wickguard.telemetry.audit import AuditLog
from wickguard.telemetry.events import (
    AuditDropped,
    PriceDrifted,
    SupervisionLost,
    SwarmSeen,
    WorkerEnded,
    WorkerStarted,
)
from wickguard.telemetry.fanout import Fanout, Listener
from wickguard.telemetry.metrics import Metrics
from wickguard.workers import events as workers
from wickguard.workers.pool import Pool
from wickguard.workers.settings import ZygoteSpec
from wickguard.workers.tier import Tier

# Descriptors that the front needs beside its connections: workers' sockets and pidfds, logs, the loop.
_OTHER_FILES = 256


def zygote_of(source: ModelSource) -> ZygoteSpec:
    """How a model is loaded: by wickguard's own engine."""
    return ZygoteSpec(name=source.name, path=str(source.path))


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line chose. reread: the policy as its files say now, for SIGHUP; None when it has no file.

    cost_files: calibrations instead of those in the state directory. tell: hears how far a calibration has come. zygote: how
    models are loaded.
    """

    policy: Policy
    models: Sequence[ModelSource]
    host: str
    port: int
    reread: Callable[[], Policy] | None = None
    cost_files: Sequence[Path] = ()
    tell: Tell = lambda *_: None
    zygote: Callable[[ModelSource], ZygoteSpec] = zygote_of


@dataclass(slots=True)
class Running:
    """The state that the health routes ask for; also what a caller of `running_server` may look at."""

    pool: Pool
    admission: Admission
    loaded_at: dict[str, int]
    url: str
    notes: Sequence[str] = ()
    takeover: Takeover | None = None
    serving: asyncio.Task[None] | None = None

    def started(self) -> bool:
        """Whether every model has been loaded once."""
        return bool(self.loaded_at)

    def ready(self) -> bool:
        """Whether a call could be served now."""
        return not self.admission.draining and all(self.pool.ready(name) for name in self.loaded_at)

    def models(self) -> dict[str, int]:
        """When each model was loaded (seconds since the epoch)."""
        return self.loaded_at


@contextlib.asynccontextmanager
async def running_server(options: Options) -> AsyncIterator[Running]:
    """A listening server; leaving the block drains and stops it. Raises ConfigError, ModelError or WorkerError."""
    policy = options.policy
    _check_port(options.host, options.port)
    metrics = Metrics()
    with contextlib.ExitStack() as closing:
        emit = _listeners(policy, metrics, closing)
        specs = [options.zygote(model) for model in options.models]
        pool = Pool(specs, policy.workers, partial(_tell_of_workers, emit))
        await pool.start()
        try:
            prices = await find_prices(pool, options.models, policy, options.cost_files, options.tell)
            openai = OpenAI()
            dialects: dict[str, Dialect] = {"openai": openai, "tei": Tei()}
            ground = Ground(pool.models, prices.priced, prices.weights, dialects)
            stages = _stages(policy, pool, ground, emit)
            pipeline = Pipeline(stages, emit)
            scheme = "https" if policy.server.tls_cert else "http"
            now = int(clock.utc())
            running = Running(
                pool, stages.admission, dict.fromkeys(pool.models, now), f"{scheme}://{options.host}:{options.port}",
                prices.notes,
            )  # fmt: skip
            if options.reread is not None:
                running.takeover = Takeover(policy, options.reread, pipeline, ground, emit)
            _observe(metrics, running, stages)
            surface = Surface(pipeline, {**dialects, "oip": Oip()}, openai.render_models, metrics, running, emit)
            server = _http_server(Application(surface), options)
            serving = running.serving = asyncio.create_task(server.serve())
            heart = asyncio.create_task(beat(stages.admission.gate.parts.surge))
            try:
                await _listening(options, serving)
                yield running
            finally:
                heart.cancel()
                await _drain(stages.admission, pipeline, policy.server.drain_s)
                server.stop()  # type: ignore[no-untyped-call]
                await asyncio.gather(serving, return_exceptions=True)
        finally:
            await pool.close()


async def serve_until_signal(options: Options, announce: Sequence[Callable[[Running], None]] = ()) -> None:
    """Serve until SIGTERM or SIGINT. Everything in `announce` is told of the running server.

    SIGHUP takes the policy over as its file says now; without a file it ends the process, as it does by default.
    """
    stop, reload = asyncio.Event(), asyncio.Event()
    loop, task, starting = asyncio.get_running_loop(), asyncio.current_task(), True

    def end() -> None:
        stop.set()
        if starting and task is not None:
            # Nobody is served yet, and a calibration takes half a minute.
            task.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    if options.reread is not None:
        loop.add_signal_handler(signal.SIGHUP, reload.set)
    try:
        async with running_server(options) as running:
            starting = False
            _look_for_garbage_rarely()
            for tell in announce:
                tell(running)
            await _until_the_end(running, stop, reload)
    except asyncio.CancelledError:
        if task is None or not (starting and stop.is_set()):
            raise
        task.uncancel()


def _look_for_garbage_rarely() -> None:
    """What a request leaves behind is freed by counting references. The collector, which looks for cycles among everything that
    is young after every 700 objects, would be a twentieth of what a refusal costs.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


async def _until_the_end(running: Running, stop: asyncio.Event, reload: asyncio.Event) -> None:
    reloading = asyncio.create_task(running.takeover.run(reload)) if running.takeover is not None else None
    ends: set[asyncio.Task[Any]] = {asyncio.create_task(stop.wait())}
    if running.serving is not None:
        ends.add(running.serving)
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    if reloading is not None:
        reloading.cancel()
    if not stop.is_set():
        raise WickguardError("the HTTP server ended by itself")


def _listeners(policy: Policy, metrics: Metrics, closing: contextlib.ExitStack) -> Fanout:
    listeners: list[Listener] = [metrics]
    if policy.audit.path:
        audit = AuditLog(policy.audit, lambda count: metrics(AuditDropped(at=clock.utc(), count=count)))
        closing.callback(audit.close)
        listeners.append(audit)
    return Fanout(listeners)


def _tell_of_workers(emit: Fanout, event: workers.WorkerEvent) -> None:
    at = clock.utc()
    match event:
        case workers.WorkerBorn():
            emit(WorkerStarted(at=at, model=event.model, lane=event.lane, worker=event.worker))
        case workers.WorkerDied():
            emit(
                WorkerEnded(
                    at=at, model=event.model, lane=event.lane, worker=event.worker, how=event.death, cpu_s=event.cpu_s
                )
            )
        case workers.ZygoteLost():
            emit(SupervisionLost(at=at, what="zygote", model=event.model))
        case workers.ArbiterLost():
            emit(SupervisionLost(at=at, what="arbiter", model=None))
        case _:
            pass


def _stages(policy: Policy, pool: Pool, ground: Ground, emit: Fanout) -> Stages:
    pricer = build_pricer(policy, ground)
    site = survey(policy, pool.models, pricer)
    emit(site.event())
    admission = build_admission(policy, site, lambda: emit(SwarmSeen(at=clock.utc())))
    learning = Learning(policy.learning)
    lessons = Lessons(
        admission.surcharge,
        lambda model, feature_class: emit(PriceDrifted(at=clock.utc(), model=model, feature_class=feature_class)),
        on_miss=lambda *miss: learning.observe(clock.now(), *miss),
    )
    pricer.widening, pricer.learned = lessons.widening, learning.factor
    return Stages(
        identity=Identity(policy.identity),
        edge=policy.edge,
        flight=InFlight(policy.edge),
        outbox=Outbox(policy.edge),
        decoder=build_decoder(policy, ground),
        pricer=pricer,
        admission=admission,
        backend=Batches(pool, MERGERS),
        lessons=lessons,
    )


def _observe(metrics: Metrics, running: Running, stages: Stages) -> None:
    admission, flight = stages.admission, stages.flight
    metrics.watch(
        {
            ("wickguard_calls_running", "Calls that hold a grant."): lambda: admission.running,
            ("wickguard_calls_waiting", "Calls in the queue."): lambda: admission.waiting,
            ("wickguard_reserved_bytes", "Memory granted now."): lambda: admission.held_bytes,
            ("wickguard_body_bytes_in_flight", "Bytes of bodies held now."): lambda: flight.bytes_held,
            ("wickguard_answer_bytes_held", "Room held for large answers now."): lambda: stages.outbox.bytes_held,
            ("wickguard_requests_open", "Requests between head and answer."): lambda: flight.open_requests,
            ("wickguard_queued_short_seconds", "Predicted work waiting, short lane."): lambda: admission.queued_s(
                Lane.SHORT
            ),
            ("wickguard_queued_long_seconds", "Predicted work waiting, long lane."): lambda: admission.queued_s(
                Lane.LONG
            ),
        }
    )
    active = set(running.pool.tier.active())
    metrics.set_tier({name: name in active for name in Tier.__struct_fields__ if name != "missing"})


def _http_server(application: Application, options: Options) -> GranianServer:
    settings = options.policy.server
    return GranianServer(
        application,
        address=options.host,
        port=options.port,
        interface=Interfaces.ASGI,
        # HTTP/2 is left out: its floods (rapid reset, CONTINUATION) can't be bounded here as HTTP/1.1's can.
        http=HTTPModes.http1,
        websockets=False,
        backlog=settings.backlog,
        backpressure=_connections(settings.max_connections),
        http1_settings=HTTP1Settings(
            header_read_timeout=int(settings.header_timeout_s * 1000), max_buffer_size=64 * 1024
        ),
        log_enabled=False,
        ssl_cert=Path(settings.tls_cert) if settings.tls_cert else None,
        ssl_key=Path(settings.tls_key) if settings.tls_key else None,
        ssl_protocol_min=SSLProtocols.tls13,
    )


def _connections(most: int) -> int:
    """Connections to accept at once: `most`, or as many as the process may have open files. Raises ConfigError.

    A server that accepts until it has no descriptor left spends a whole core on failing to accept one more.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = most + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    room = most if soft == resource.RLIM_INFINITY else soft - _OTHER_FILES
    if room < 1:
        raise ConfigError(f"the limit on open files ({soft}) is too low; raise it with `ulimit -n {wanted}`")
    return min(most, room)


def _check_port(host: str, port: int) -> None:
    """Raise ConfigError when the address can't be listened on: before anything is loaded, and never by half.

    The HTTP server shares its port with whoever else listens with SO_REUSEPORT; this probe does not.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except OSError as error:
        raise ConfigError(f"can't listen on {host} port {port}: {error.strerror}; choose another --port") from error


async def _listening(options: Options, serving: asyncio.Task[None]) -> None:
    """Return when the port answers; raise what the HTTP server raised when it can't."""
    give_up = time.monotonic() + 30  # noqa: TID251 - start-up, not a decision about a request
    while time.monotonic() < give_up:  # noqa: TID251
        if serving.done():
            serving.result()
            raise ModelError("the HTTP server ended at once")
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection(options.host, options.port)
            writer.close()
            return
        await asyncio.sleep(0.02)


async def _drain(admission: Admission, pipeline: Pipeline, drain_s: float) -> None:
    admission.draining = True
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(pipeline.settled(), drain_s)
