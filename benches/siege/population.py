"""The good tenants: who they are, what they send and when; open loop, Poisson or bursty.

Three classes: short sentences, batches of sixteen, documents at half of the model's limit; of each, one tenant sends at Poisson
instants and one in bursts (gamma intervals with a coefficient of variation of 5; of sentences, two of each). Their load follows
from what the server itself says that such calls cost (`/v1/quote`), so that it is the same part of any machine.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass

from benches.goodput import SENTENCES, WORD_CYCLE
from benches.siege.wire import Wires

MODEL = "all-MiniLM-L6-v2"
BURSTY = 5.0
# Beyond this many requests a second the generator and the front, not the model, would be measured.
MOST_RATE = 12.0


@dataclass(frozen=True, slots=True)
class Kind:
    """A class of good requests: how long an answer is good for, and its part of the good load."""

    name: str
    deadline_s: float
    part: float
    tenants: int


KINDS = (Kind("sentence", 1.0, 0.3, 4), Kind("batch", 3.0, 0.35, 2), Kind("document", 10.0, 0.35, 2))


@dataclass(frozen=True, slots=True)
class Identity:
    """Who sends: a key, or (None) an address."""

    name: str
    key: str | None
    source: str


@dataclass(frozen=True, slots=True)
class Tenant:
    """A good tenant: requests a second, and the coefficient of variation of their intervals."""

    identity: Identity
    kind: Kind
    rate: float
    variation: float


@dataclass(frozen=True, slots=True)
class Sample:
    """One good request: seconds after the start at which it was due, its status (0: no answer) and time to the answer."""

    due_s: float
    tenant: str
    kind: str
    status: int
    latency_s: float


def post(path: str, document: object, identity: Identity, timeout_s: float | None = None) -> bytes:
    """A whole request."""
    body = json.dumps(document).encode()
    lines = [f"POST {path} HTTP/1.1", "Host: siege", "Content-Type: application/json", f"Content-Length: {len(body)}"]
    if identity.key is not None:
        lines.append(f"Authorization: Bearer {identity.key}")
    if timeout_s is not None:
        lines.append(f"X-Request-Timeout-Ms: {timeout_s * 1000:.0f}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def embedding(texts: object, encoding: str = "base64") -> dict[str, object]:
    """The body of a call."""
    return {"model": MODEL, "input": texts, "encoding_format": encoding}


def inputs_of(kind: str) -> list[object]:
    """What the tenants of a class send, in turn."""
    if kind == "sentence":
        return list(SENTENCES)
    if kind == "batch":
        return [[f"{text} {number}" for number in range(2) for text in SENTENCES]]
    words = (WORD_CYCLE * 20).split()
    return [" ".join(words[start : start + 250]) for start in range(4)]


def intervals(rng: random.Random, rate: float, variation: float) -> Iterator[float]:
    """Intervals between arrivals: exponential for a variation of 1, else gamma."""
    shape = 1.0 / variation**2
    while True:
        yield rng.expovariate(rate) if variation == 1.0 else rng.gammavariate(shape, 1.0 / (shape * rate))


def instants(rng: random.Random, rate: float, variation: float, span: tuple[float, float]) -> list[float]:
    """Arrivals in a span of seconds."""
    at, end = span
    found: list[float] = []
    for interval in intervals(rng, rate, variation):
        at += interval
        if at >= end:
            return found
        found.append(at)
    raise AssertionError("arrivals never end")


def settle_down(identities: list[Identity], load_s: float, costs: dict[str, float]) -> list[Tenant]:
    """The tenants that together ask for `load_s` compute-seconds a second, given what a call of each class costs."""
    found: list[Tenant] = []
    for kind in KINDS:
        rate = min(MOST_RATE, load_s * kind.part / kind.tenants / costs[kind.name])
        for number in range(kind.tenants):
            found.append(Tenant(identities[len(found)], kind, rate, BURSTY if number % 2 else 1.0))
    return found


async def live(port: int, tenants: list[Tenant], started: float, end_s: float, seed: int) -> list[Sample]:
    """Send everything due in [0, end_s) seconds after `started` (monotonic); the samples, when all are answered."""
    jobs = [
        _one_life(port, tenant, started, end_s, random.Random(f"{seed}{index}")) for index, tenant in enumerate(tenants)
    ]
    return [sample for samples in await asyncio.gather(*jobs) for sample in samples]


async def _one_life(port: int, tenant: Tenant, started: float, end_s: float, rng: random.Random) -> list[Sample]:
    kind, wires = tenant.kind, Wires(port, tenant.identity.source)
    requests = [
        post("/v1/embeddings", embedding(texts), tenant.identity, kind.deadline_s) for texts in inputs_of(kind.name)
    ]
    samples: list[Sample] = []
    tasks: list[asyncio.Task[None]] = []

    async def one(due_s: float, request: bytes) -> None:
        status = await wires.ask(request, kind.deadline_s + 2.0)
        samples.append(Sample(due_s, tenant.identity.name, kind.name, status, time.monotonic() - started - due_s))

    # One answer before the start, so that the calm is not charged for opening the first connection.
    await asyncio.sleep(max(0.0, started - 1.5 - time.monotonic()))
    await wires.ask(requests[0], 10.0)
    for number, due_s in enumerate(instants(rng, tenant.rate, tenant.variation, (0.0, end_s))):
        await asyncio.sleep(max(0.0, started + due_s - time.monotonic()))
        tasks.append(asyncio.create_task(one(due_s, requests[number % len(requests)])))
    await asyncio.gather(*tasks)
    wires.close()
    return samples
