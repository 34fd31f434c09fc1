"""Fakes: a backend that a test can step, a clock that a test can turn, and one ASGI exchange by script.

They keep the promises of what they stand for (backend.py: one Outcome, only when the work has stopped, never an exception
unless a test asks for one), so that a test of the guard proves something about the guard.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from wickguard.assembly import MERGERS
from wickguard.backend import EmbedPayload, EmbedResult, Job, ModelSpec, Sink, Task, WriterShape
from wickguard.control.gate import AdmissionSettings, Gate, Parts
from wickguard.control.ladder import Ladder, LadderSettings, Plan
from wickguard.control.memory import MemoryReservation
from wickguard.control.quota import Quota
from wickguard.control.slots import Slots
from wickguard.cost.analytic import PriceSettings
from wickguard.cost.quote import priced_analytically
from wickguard.deadline import Deadline
from wickguard.dialect.openai import OpenAI
from wickguard.dialect.task import Dialect
from wickguard.dialect.tei import Tei
from wickguard.guard.admit import Admission, Machine
from wickguard.guard.asgi import Application, Surface
from wickguard.guard.batch import Batches
from wickguard.guard.decode import Decoder
from wickguard.guard.edge import EdgeSettings, InFlight
from wickguard.guard.embedding import Embedding
from wickguard.guard.generation import Generation
from wickguard.guard.head import Head, Message, Scope
from wickguard.guard.identity import Identity, IdentitySettings
from wickguard.guard.lessons import Lessons
from wickguard.guard.outbox import Outbox
from wickguard.guard.pipeline import Pipeline, Stages
from wickguard.guard.price import Pricer
from wickguard.guard.routes import Service
from wickguard.guard.standing import Standings, Tenancy
from wickguard.modality.generation import GenerationSettings
from wickguard.modality.text import TextFeatures, TextSettings, TokenBound, measure
from wickguard.records import Call, Caller, Cost, Grant, Lane, Outcome, OutcomeKind, Pool, Quote
from wickguard.telemetry.events import Event
from wickguard.telemetry.metrics import Metrics
from wickguard.units import GIB, MIB

MINILM = ModelSpec(
    name="all-MiniLM-L6-v2", architecture="bert", layers=6, hidden=384, heads=12, intermediate=1536, vocab=30522,
    max_tokens=512, dimensions=384, parameters=22_713_216, weight_bytes=90_868_376, token_expansion=3.0, special_tokens=2,
)  # fmt: skip

WRITER = ModelSpec(
    name="writer", architecture="llama", layers=4, hidden=128, heads=4, intermediate=344, vocab=1024, max_tokens=1024,
    dimensions=0, parameters=1_000_000, weight_bytes=4_000_000, token_expansion=1.0, special_tokens=1, task=Task.GENERATE,
    writer=WriterShape(2, 32, 7, 5),
)  # fmt: skip

# Forty GFLOP/s on one core: an ordinary machine.
SPEED = {MINILM.name: 4e10}
PRICES = {spec.name: priced_analytically(spec, 4e10) for spec in (MINILM, WRITER)}
BOUND = TokenBound(MINILM.max_tokens, MINILM.special_tokens, MINILM.token_expansion, MINILM.vocab)
ALICE = Caller("key:alice", Pool.KEYED, "127.0.0.2", "k1")


class FakeClock:
    """Monotonic seconds that move only when a test says so."""

    def __init__(self, start: float = 1000.0) -> None:
        self.now = start

    def __call__(self) -> float:
        """The time now."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


def completed(job: Job, cpu_s: float = 0.01) -> Outcome:
    """The outcome of a call that went well: one short vector per input."""
    count = len(msgspec.msgpack.decode(job.payload, type=EmbedPayload).inputs)
    result = msgspec.msgpack.encode(EmbedResult([b"[0.5,0.5]"] * count, [3] * count))
    return Outcome(OutcomeKind.COMPLETED, Cost(cpu_s, cpu_s, MIB), result)


def ended(kind: OutcomeKind, cpu_s: float = 0.01, detail: str = "", *, retryable: bool = False) -> Outcome:
    """An outcome without a result."""
    return Outcome(kind, Cost(cpu_s, cpu_s, MIB), detail=detail, retryable=retryable)


class FakeBackend:
    """Runs nothing; each call ends when a test (or `script`) says how."""

    def __init__(self, script: Callable[[Job], Outcome | Exception | None] = lambda job: None) -> None:
        self._script = script
        self._running: dict[str, asyncio.Future[Outcome]] = {}
        self.jobs: dict[str, Job] = {}
        self.sinks: dict[str, Sink | None] = {}
        self.abandoned: list[str] = []
        self.stops_when_abandoned = True
        self.is_ready = True
        self.started = asyncio.Event()

    @property
    def models(self) -> dict[str, ModelSpec]:
        """One that embeds, one that writes."""
        return {MINILM.name: MINILM, WRITER.name: WRITER}

    @property
    def running(self) -> list[str]:
        """Ids of calls that run, oldest first."""
        return list(self._running)

    async def execute(self, job: Job, sink: Sink | None = None) -> Outcome:
        """See Backend: ends as the script says, or when `finish` is called."""
        if job.call_id in self.jobs:
            raise AssertionError(f"{job.call_id} was executed twice")
        self.jobs[job.call_id] = job
        self.sinks[job.call_id] = sink
        self.started.set()
        now = self._script(job)
        if isinstance(now, Exception):
            raise now
        if now is not None:
            return now
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._running[job.call_id] = future
        return await future

    def abandon(self, call_id: str) -> None:
        """See Backend."""
        self.abandoned.append(call_id)
        if self.stops_when_abandoned and call_id in self._running:
            # It can not have run for longer than it did: nothing is claimed.
            self.finish(call_id, ended(OutcomeKind.ABANDONED, 0.0))

    def finish(self, call_id: str, outcome: Outcome | None = None) -> None:
        """Let a running call end; well, if no outcome is given."""
        self._running.pop(call_id).set_result(outcome or completed(self.jobs[call_id]))

    def fail(self, call_id: str, error: Exception) -> None:
        """Break the promise of Backend: raise out of `execute`."""
        self._running.pop(call_id).set_exception(error)

    def ready(self, model: str) -> bool:
        """See Backend."""
        return self.is_ready and model in self.models


class Exchange:
    """One request by script: what `receive` gives, and everything that was sent."""

    def __init__(self, *messages: Message) -> None:
        self._inbox: asyncio.Queue[Message] = asyncio.Queue()
        for message in messages:
            self._inbox.put_nowait(message)
        self.sent: list[Message] = []
        self.received = 0

    async def receive(self) -> Message:
        """The next message; waits when the script is over, as a client that only listens does."""
        message = await self._inbox.get()
        self.received += 1
        return message

    async def send(self, message: Message) -> None:
        """Note what the application sends."""
        self.sent.append(message)

    def disconnect(self) -> None:
        """The client goes away."""
        self._inbox.put_nowait({"type": "http.disconnect"})

    def feed(self, data: bytes, *, more: bool) -> None:
        """Another piece of the body arrives."""
        self._inbox.put_nowait(body(data, more=more))

    @property
    def status(self) -> int:
        """Status of the answer."""
        found: int = self.sent[0]["status"]
        return found

    @property
    def headers(self) -> dict[bytes, bytes]:
        """Headers of the answer."""
        return dict(self.sent[0]["headers"])

    @property
    def answer(self) -> bytes:
        """Body of the answer."""
        return b"".join(message["body"] for message in self.sent[1:])


def body(data: bytes, *, more: bool = False) -> Message:
    """One piece of a request body."""
    return {"type": "http.request", "body": data, "more_body": more}


def scope(
    path: str = "/v1/embeddings", method: str = "POST", headers: list[tuple[bytes, bytes]] | None = None,
    *, size_bytes: int | None = None, peer: str = "127.0.0.2", query: bytes = b"",
) -> Scope:  # fmt: skip
    """An ASGI scope; without `headers` those of an ordinary JSON request of `size_bytes`."""
    if headers is None:
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % (size_bytes or 0))]
    return {
        "type": "http", "method": method, "path": path, "query_string": query, "headers": headers, "client": (peer, 5555)
    }  # fmt: skip


def head(
    *headers: tuple[bytes, bytes], path: str = "/v1/embeddings", method: str = "POST", peer: str = "127.0.0.2"
) -> Head:
    """The head of a request."""
    return Head.of(scope(path, method, list(headers), peer=peer))


def call_of(
    *texts: str, call_id: str = "c1", tenant: str = "key:alice", deadline_at: float = 1e9, payload: bytes = b""
) -> Call:
    """A decoded call with these texts."""
    return Call(
        call_id, "/v1/embeddings", Caller(tenant, Pool.KEYED, "127.0.0.2", "k1"), MINILM.name, payload,
        features_of(*texts), Deadline(deadline_at),
    )  # fmt: skip


def features_of(*texts: str) -> TextFeatures:
    """Features of these texts for MiniLM."""
    return measure(texts, BOUND)


def quote_of(cpu_s: float = 0.01, memory_bytes: int = MIB, lane: Lane = Lane.SHORT) -> Quote:
    """A quote whose ceiling is ten times its expectation."""
    expected = Cost(cpu_s, cpu_s, memory_bytes)
    return Quote(expected, expected, Cost(cpu_s * 10, cpu_s * 20, memory_bytes), lane, "size:1", 0.25)


def grant_of(call: Call | None = None, quote: Quote | None = None) -> Grant:
    """A grant as admission makes them."""
    call, quote = call or call_of("hello"), quote or quote_of()
    return Grant(call, quote, quote.ceiling, quote.lane, quote.ceiling.peak_bytes, 0.0, 0.0)


# Room for everything, unless a test says otherwise.
WIDE = LadderSettings(capacity=100.0, dearest_s=100.0, median_s=1.0)


def admission_of(
    clock: Callable[[], float], settings: AdmissionSettings | None = None, slots: tuple[int, int] = (2, 1),
    memory_bytes: int = GIB, ladder: LadderSettings = WIDE, *, local: bool = True,
) -> Admission:  # fmt: skip
    """The admission stage as assembly.py makes it, with quotas that nobody meets by accident."""
    settings = settings or AdmissionSettings()
    memory = MemoryReservation(memory_bytes, settings.tenant_memory_share)
    gate = Gate(Parts(Slots(*slots), memory, Quota(b"seed")), settings)
    fallback = Tenancy(Plan(ladder.capacity, share=1.0))
    standings = Standings(Ladder(ladder), lambda name: fallback, local=local)
    return Admission(gate, standings, Machine(float(slots[0]), memory_bytes), clock)


class FakeStatus:
    """What the health routes are told."""

    def __init__(self, backend: FakeBackend) -> None:
        self._backend = backend
        self.is_started = True

    def started(self) -> bool:
        """See Status."""
        return self.is_started

    def ready(self) -> bool:
        """See Status."""
        return self._backend.is_ready

    def models(self) -> dict[str, int]:
        """See Status."""
        return dict.fromkeys(self._backend.models, 7)


@dataclass(frozen=True, slots=True)
class Rig:
    """The whole front over a fake backend."""

    backend: FakeBackend
    status: FakeStatus
    stages: Stages
    pipeline: Pipeline
    application: Application
    metrics: Metrics
    events: list[Event]

    def holds(self) -> dict[str, float]:
        """Everything that can be held; all zero when nothing is."""
        admission, flight = self.stages.admission, self.stages.flight
        return {
            "running": admission.running, "waiting": admission.waiting, "bytes granted": admission.held_bytes,
            "short seconds queued": admission.queued_s(Lane.SHORT), "long seconds queued": admission.queued_s(Lane.LONG),
            "bytes in flight": flight.bytes_held, "open requests": flight.open_requests, "executing": len(self.backend.running),
            "answer bytes": self.stages.outbox.bytes_held,
        }  # fmt: skip

    async def post(self, data: bytes, path: str = "/v1/embeddings", **more: str) -> Exchange:
        """Send one request and wait for its answer."""
        exchange = Exchange(body(data))
        await self.application(scope(path, size_bytes=len(data), **more), exchange.receive, exchange.send)  # type: ignore[arg-type]
        return exchange


@dataclass(frozen=True, slots=True)
class RigSettings:
    """What a test may want to set of the front."""

    identity: IdentitySettings = field(default_factory=IdentitySettings)
    edge: EdgeSettings = field(default_factory=EdgeSettings)
    text: TextSettings = field(default_factory=TextSettings)
    price: PriceSettings = field(default_factory=PriceSettings)
    admission: AdmissionSettings = field(default_factory=AdmissionSettings)
    slots: tuple[int, int] = (2, 1)
    memory_bytes: int = GIB
    ladder: LadderSettings = WIDE
    local: bool = True


def rig(
    settings: RigSettings | None = None,
    script: Callable[[Job], Outcome | Exception | None] = completed,
    clock: Callable[[], float] | None = None,
) -> Rig:
    """The front as serve.py wires it, over a backend that does what `script` says. Needs a running loop."""
    settings = settings or RigSettings()
    backend = FakeBackend(script)
    dialects: dict[str, Dialect] = {"openai": OpenAI(), "tei": Tei()}
    admission = admission_of(
        clock or asyncio.get_running_loop().time, settings.admission, settings.slots, settings.memory_bytes,
        settings.ladder, local=settings.local,
    )  # fmt: skip
    stages = Stages(
        identity=Identity(settings.identity), edge=settings.edge, flight=InFlight(settings.edge), outbox=Outbox(settings.edge),
        decoder=Decoder(
            {
                Service.EMBED: Embedding(backend.models, dialects, settings.text),
                Service.GENERATE: Generation({WRITER.name: WRITER}, GenerationSettings()),
            }
        ),
        pricer=Pricer(PRICES, settings.price),
        admission=admission, backend=Batches(backend, MERGERS),
        lessons=Lessons(admission.surcharge, lambda model, feature_class: None),
    )  # fmt: skip
    metrics, heard = Metrics(), list[Event]()

    def emit(event: Event) -> None:
        heard.append(event)
        metrics(event)

    pipeline, status = Pipeline(stages, emit), FakeStatus(backend)
    surface = Surface(pipeline, dialects, OpenAI().render_models, metrics, status, emit)
    return Rig(backend, status, stages, pipeline, Application(surface), metrics, heard)


async def settle_down(turns: int = 20) -> None:
    """Let everything that is ready run."""
    for _ in range(turns):
        await asyncio.sleep(0)
