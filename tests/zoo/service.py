"""Service: a sound embeddings server, one step per method; a defect of the zoo replaces one step.

Promises of the sound one: every refusal is 4xx and costs at most a constant times the bytes received; the work of a request
is linear in its bytes and at most `MAX_TOKENS` tokens (about 80 ms); it is done off the event loop, in a bounded queue with
a lane that long work can't fill; it stops when the client leaves. It speaks the OpenAI dialect, and TEI where `tei` is set.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
from tests.zoo.wire import Answer, Request
from tests.zoo.words import count_tokens
from tests.zoo.work import OVERHEAD_TOKENS, Stop, burn

MODEL = "zoo-embedder"
MAX_BODY_BYTES = 256 * 1024
MAX_TEXTS = 64
MAX_TEXT_BYTES = 16 * 1024
MAX_TOKENS = 16 * 1024
VOCABULARY = 32_000
DIMENSIONS = 8
MAX_DIMENSIONS = 256

Body = TypeVar("Body")
TokenId = Annotated[int, msgspec.Meta(ge=0, lt=VOCABULARY)]


class OpenAIBody(msgspec.Struct, forbid_unknown_fields=True):
    """POST /v1/embeddings."""

    input: str | list[str | TokenId | list[TokenId]]
    model: str = MODEL
    encoding_format: str = "float"
    dimensions: int | None = None
    user: str | None = None


class TeiBody(msgspec.Struct, forbid_unknown_fields=True):
    """POST /embed."""

    inputs: str | list[str]
    truncate: bool = False
    normalize: bool = True


@dataclass(slots=True)
class Job:
    """What is to be computed: texts, or lists of token ids, and the length of each vector."""

    inputs: Sequence[str | Sequence[int]]
    dimensions: int = DIMENSIONS
    dialect: str = "openai"


@dataclass(slots=True)
class Result:
    """Vectors, and the tokens that are reported as usage."""

    vectors: list[list[float]]
    tokens: int


class Refusal(Exception):  # noqa: N818 -- it becomes an answer
    """The request is refused."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Embeddings:
    """The sound server."""

    tei = False
    max_body_bytes = MAX_BODY_BYTES
    long_tokens = 1500
    queue = 16
    dimensions_by_default = DIMENSIONS

    def __init__(self) -> None:
        self.short = ThreadPoolExecutor(2, "short")
        self.long = ThreadPoolExecutor(1, "long")
        self.waiting = {self.short: 0, self.long: 0}
        self.started = time.time()

    def routes(self) -> dict[str, str]:
        """Path of each inference route, and its dialect."""
        return {"/v1/embeddings": "openai"} | ({"/embed": "tei"} if self.tei else {})

    def admit(self, head: Request) -> int | Answer:
        """What the head alone decides: the route, the method, and the coding and length of the body."""
        if head.path in self.routes():
            if head.method != "POST":
                return refused(405, "use POST")
            if head.headers.get("content-encoding", "identity") not in self.codings():
                return refused(415, "this content-encoding is not accepted")
            return self.max_body_bytes
        if head.path in ("/health", "/v1/models", "/info", "/metrics"):
            return 0 if head.method in ("GET", "HEAD") else refused(405, "use GET")
        return refused(404, "no such route")

    def codings(self) -> tuple[str, ...]:
        """Content encodings that are accepted."""
        return ("identity",)

    async def answer(self, request: Request) -> Answer:
        """The answer to a request whose head was admitted."""
        dialect = self.routes().get(request.path)
        if dialect is None:
            return self.plain(request)
        try:
            return await self.infer(request, dialect)
        except Refusal as refusal:
            return refused(refusal.status, refusal.message, dialect)

    async def infer(self, request: Request, dialect: str) -> Answer:
        """Decode, check, compute, encode: the order that matters."""
        job = self.decode(await self.body(request), dialect)
        self.check(job)
        return self.encode(job, await self.run(job))

    async def body(self, request: Request) -> bytes:
        """The body without its content-encoding."""
        return request.body

    def decode(self, body: bytes, dialect: str) -> Job:
        """Typed, unknown fields refused. Raises Refusal."""
        if dialect == "tei":
            wanted = parsed(body, TeiBody)
            return Job([wanted.inputs] if isinstance(wanted.inputs, str) else wanted.inputs, dialect=dialect)
        asked = parsed(body, OpenAIBody)
        if asked.model != MODEL:
            raise Refusal(404, "no such model")
        return Job(_inputs(asked.input), self.dimensions(asked.dimensions))

    def dimensions(self, asked: int | None) -> int:
        """How long the vectors are to be. Raises Refusal."""
        if asked is not None and not 1 <= asked <= MAX_DIMENSIONS:
            raise Refusal(422, f"dimensions must be 1 to {MAX_DIMENSIONS}")
        return asked or self.dimensions_by_default

    def check(self, job: Job) -> None:
        """Counts and sizes, before anything is computed. Raises Refusal."""
        if not job.inputs or any(len(item) == 0 for item in job.inputs):
            raise Refusal(422, "an input is empty")
        if len(job.inputs) > MAX_TEXTS:
            raise Refusal(413, f"at most {MAX_TEXTS} inputs")
        sizes = [len(item.encode()) if isinstance(item, str) else len(item) for item in job.inputs]
        if max(sizes) > MAX_TEXT_BYTES or sum(sizes) > 4 * MAX_TEXT_BYTES:
            raise Refusal(413, f"at most {MAX_TEXT_BYTES} bytes in an input, four times that in all")

    async def run(self, job: Job) -> Result:
        """The result, computed off the loop, in the lane of its size. Raises Refusal when the lane is full."""
        lane = self.long if self.expected(job) > self.long_tokens else self.short
        if self.waiting[lane] >= self.queue:
            raise Refusal(503, "busy, come back")
        stop, loop = Stop(), asyncio.get_running_loop()
        self.waiting[lane] += 1
        work = lane.submit(self.compute, job, stop)
        # A slot is free when the work has ended, not when the client has left.
        work.add_done_callback(lambda _: loop.call_soon_threadsafe(self._freed, lane))
        try:
            return await asyncio.wrap_future(work)
        except asyncio.CancelledError:
            stop.set()
            raise

    def _freed(self, lane: ThreadPoolExecutor) -> None:
        self.waiting[lane] -= 1

    def expected(self, job: Job) -> int:
        """Tokens, roughly, without tokenising."""
        return sum(len(item) // 4 if isinstance(item, str) else len(item) for item in job.inputs)

    def compute(self, job: Job, stop: Stop) -> Result:
        """Tokenise and run the model. In a thread. Raises Stopped, Refusal."""
        counts = [self.tokenise(item, stop) if isinstance(item, str) else len(item) for item in job.inputs]
        if sum(counts) > MAX_TOKENS:
            raise Refusal(413, f"at most {MAX_TOKENS} tokens")
        digest = burn(OVERHEAD_TOKENS + self.model_tokens(counts), stop)
        vector = [digest[i % len(digest)] / 255 for i in range(job.dimensions)]
        return Result([vector] * len(counts), sum(counts))

    def tokenise(self, text: str, stop: Stop) -> int:
        """Tokens of a text; linear."""
        stop.check()
        return count_tokens(text)

    def model_tokens(self, counts: Sequence[int]) -> int:
        """Token positions that the model computes for texts of these lengths: no padding."""
        return sum(counts)

    def encode(self, job: Job, result: Result) -> Answer:
        """The result in the dialect of its route."""
        if job.dialect == "tei":
            return Answer(200, json.dumps(result.vectors).encode())
        data = [{"object": "embedding", "index": i, "embedding": v} for i, v in enumerate(result.vectors)]
        usage = {"prompt_tokens": result.tokens, "total_tokens": result.tokens}
        return Answer(200, json.dumps({"object": "list", "data": data, "model": MODEL, "usage": usage}).encode())

    def plain(self, request: Request) -> Answer:
        """Routes without inference."""
        if request.path == "/health":
            return Answer(200, b'{"status":"ok"}')
        if request.path == "/v1/models":
            return Answer(200, json.dumps({"object": "list", "data": [{"id": MODEL, "object": "model"}]}).encode())
        if request.path == "/info" and self.tei:
            about = {"model_id": MODEL, "model_type": {"embedding": {"pooling": "mean"}}, "version": "zoo"}
            return Answer(200, json.dumps(about | {"max_client_batch_size": MAX_TEXTS}).encode())
        if request.path == "/metrics":
            return Answer(200, metrics(self.started).encode(), {"content-type": "text/plain; version=0.0.4"})
        return refused(404, "no such route")


def parsed(body: bytes, kind: type[Body]) -> Body:
    """The body as what a route takes. Raises Refusal."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as fault:
        raise Refusal(422, str(fault)) from None
    except (msgspec.DecodeError, RecursionError):
        raise Refusal(400, "the body is not JSON") from None


def _inputs(asked: str | list[str | int | list[int]]) -> Sequence[str | Sequence[int]]:
    if isinstance(asked, str):
        return [asked]
    ids = [item for item in asked if isinstance(item, int)]
    if ids and len(ids) == len(asked):
        return [ids]
    if ids or len({type(item) for item in asked}) > 1:
        raise Refusal(422, "the inputs are of different kinds")
    return [item for item in asked if not isinstance(item, int)]


def refused(status: int, message: str, dialect: str = "openai") -> Answer:
    """An error in a dialect; 429 and 503 say when to come back."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    body: object = {"error": {"message": message, "type": kind, "param": None, "code": None}}
    if dialect == "tei":
        body = {"error": message, "error_type": "Validation" if status < 500 else "Overloaded"}
    elif dialect == "oip":
        body = {"error": message}
    return Answer(status, json.dumps(body).encode(), {"retry-after": "1"} if status in (429, 503) else {})


def metrics(started: float) -> str:
    """The process metrics that every Prometheus client publishes by default."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return (
        f"process_cpu_seconds_total {time.process_time():.6f}\n"
        f"process_resident_memory_bytes {pages * 4096}\n"
        f"process_start_time_seconds {started:.3f}\n"
    )
