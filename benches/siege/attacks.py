"""The attacks A1 to A12 of overload.md section 7, as bytes on the wire.

Each sends open loop, whatever was answered, from identities of its own: keys, or addresses. Requests are prepared before the
attack begins. Nothing is sent beyond `MOST_OPEN` requests without an answer: an attacker has descriptors too, and two cores
that it shares with its victim.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field

from benches.goodput import SENTENCES, WORD_CYCLE
from benches.siege.model import ABORT, SPIN
from benches.siege.population import BURSTY, Identity, embedding, instants, post
from benches.siege.wire import Wire, Wires, connect

MOST_OPEN = 800
PATIENCE_S = 10.0
DROP_AFTER_S = 0.1
_WORDS = (WORD_CYCLE * 40).split()


@dataclass(slots=True)
class Field:
    """Where an attack takes place: the port, who attacks, when (monotonic seconds), and what came of it, counted by status."""

    port: int
    identities: Sequence[Identity]
    begin: float
    end: float
    rng: random.Random
    answers: Counter[str] = field(default_factory=Counter)
    open: int = 0

    @property
    def one(self) -> Identity:
        """The only attacker of an attack of one."""
        return self.identities[0]


Plan = Callable[[Field], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Attack:
    """many: addresses that take part; 0 when tenants attack, `tenants` of them. target: least part of good to be kept.
    history_s: so long the good tenants have called before, so that their addresses have a record.
    """

    code: str
    name: str
    plan: Plan
    tenants: int = 1
    many: int = 0
    target: float = 0.97
    history_s: float = 0.0


def text_of(words: int, *extra: str) -> str:
    """A text of so many words, and some more."""
    return " ".join([*_WORDS[:words], *extra])


async def volley(field: Field, rate: float, requests: Iterable[tuple[Identity, bytes]], variation: float = 1.0) -> None:
    """Send `requests` in turn, `rate` a second, until they or the time are over."""
    wires: dict[str, Wires] = {}
    tasks: set[asyncio.Task[None]] = set()

    async def ask(identity: Identity, request: bytes) -> None:
        wire = wires.setdefault(identity.name, Wires(field.port, identity.source))
        try:
            field.answers[str(await wire.ask(request, PATIENCE_S))] += 1
        finally:
            field.open -= 1

    arrivals = instants(field.rng, rate, variation, (field.begin, field.end))
    for at, (identity, request) in zip(arrivals, requests, strict=False):
        await asyncio.sleep(max(0.0, at - time.monotonic()))
        if field.open >= MOST_OPEN:
            field.answers["not sent"] += 1
            continue
        field.open += 1
        task = asyncio.create_task(ask(identity, request))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await _give_up(tasks)
    for wire in wires.values():
        wire.close()


async def _give_up(tasks: set[asyncio.Task[None]]) -> None:
    """The attack is over: nobody waits for its answers."""
    for task in list(tasks):
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def again(identities: Sequence[Identity], texts: object) -> Iterable[tuple[Identity, bytes]]:
    """The same call for ever, by everybody in turn."""
    prepared = [(identity, post("/v1/embeddings", embedding(texts), identity)) for identity in identities]
    while True:
        yield from prepared


def fresh(identities: Sequence[Identity], texts: Callable[[int], object], count: int) -> list[tuple[Identity, bytes]]:
    """`count` different calls, by everybody in turn."""
    return [
        (identity, post("/v1/embeddings", embedding(texts(number)), identity))
        for number in range(count)
        for identity in [identities[number % len(identities)]]
    ]


async def flood(field: Field) -> None:
    """A1: 400 sentences a second, in bursts."""
    await volley(field, 400, again([field.one], SENTENCES[0]), BURSTY)


async def expensive(field: Field) -> None:
    """A2: the dearest call that fits, honest about it, two a second."""
    await volley(field, 2.0, again([field.one], [text_of(400)] * 64))


async def burst(field: Field) -> None:
    """A3: 40 calls of about two seconds at one instant, twice."""
    calls = again([field.one], [text_of(480)] * 12)
    for _ in range(2):
        # A rate at which all 40 are due at once.
        await volley(field, 1e6, [request for _, request in zip(range(40), calls, strict=False)])
        field.begin += (field.end - field.begin) / 2
        await asyncio.sleep(max(0.0, field.begin - time.monotonic()))


async def noise(field: Field) -> None:
    """A4: two tenants use up their quotas in ordinary calls, eight texts of 100 words each, and ask for more."""
    await volley(field, 10.0, again(field.identities, [text_of(100)] * 8))


async def identities(field: Field) -> None:
    """A5: 300 addresses, each in a network of its own, each one honest call a second."""
    await volley(field, 300.0, again(field.identities, SENTENCES))


async def mispriced(field: Field) -> None:
    """A6: one tenant's calls look like sentences and never end."""
    await volley(field, 10.0, fresh([field.one], lambda number: f"{SENTENCES[1]} {SPIN} {number}", 400))


async def mispriced_crowd(field: Field) -> None:
    """A7: the same from 200 addresses, each once in two seconds."""
    await volley(field, 100.0, fresh(field.identities, lambda number: f"{SENTENCES[1]} {SPIN} {number}", 2400))


async def memory_hold(field: Field) -> None:
    """A8: the largest batches, answered in numbers, by readers that take a kilobyte a second."""
    request = post("/v1/embeddings", embedding([text_of(60)] * 64, "float"), field.one)
    await asyncio.gather(
        *(_read_slowly(field, at, request) for at in instants(field.rng, 5.0, 1.0, (field.begin, field.end)))
    )


async def _read_slowly(field: Field, at: float, request: bytes) -> None:
    await asyncio.sleep(max(0.0, at - time.monotonic()))
    with contextlib.suppress(OSError):
        wire = await connect(field.port, field.one.source, receive_bytes=4096)
        wire.send(request)
        assert wire.transport is not None
        while time.monotonic() < field.end and wire.open:
            wire.transport.resume_reading()
            await asyncio.sleep(0.001)
            if wire.open:
                wire.transport.pause_reading()
            await asyncio.sleep(0.5)
        field.answers["read slowly"] += 1
        wire.close()


async def kill_storm(field: Field) -> None:
    """A9: ten calls of two seconds a second, left after 0.1 s, and five a second that are killed at their grant."""
    request = post("/v1/embeddings", embedding([text_of(480)] * 12), field.one)
    spinning = fresh([field.one], lambda number: f"{SENTENCES[2]} {SPIN} {number}", 200)
    arrivals = instants(field.rng, 10.0, 1.0, (field.begin, field.end))
    await asyncio.gather(volley(field, 5.0, spinning), *(_drop(field, at, request) for at in arrivals))


async def _drop(field: Field, at: float, request: bytes) -> None:
    await asyncio.sleep(max(0.0, at - time.monotonic()))
    with contextlib.suppress(OSError):
        wire = await connect(field.port, field.one.source)
        wire.send(request)
        await asyncio.sleep(DROP_AFTER_S)
        field.answers["dropped" if wire.open else "closed by the server"] += 1
        wire.close()


async def breaker(field: Field) -> None:
    """A10: one tenant's calls crash, in the class of everybody's sentences."""
    await volley(field, 10.0, fresh([field.one], lambda number: f"{SENTENCES[3]} {ABORT} {number}", 400))


async def spray(field: Field) -> None:
    """A11: 400 addresses a second that nobody has seen before, one sentence each, a connection each."""
    await asyncio.gather(*(_spray_one(field, at) for at in instants(field.rng, 400.0, 1.0, (field.begin, field.end))))


async def _spray_one(field: Field, at: float) -> None:
    await asyncio.sleep(max(0.0, at - time.monotonic()))
    source = f"127.{field.rng.randrange(16, 250)}.{field.rng.randrange(256)}.{field.rng.randrange(1, 255)}"
    stranger = Identity(source, None, source)
    wires = Wires(field.port, source)
    status = await wires.ask(post("/v1/embeddings", embedding(SENTENCES[4]), stranger), 2.0)
    wires.close()
    field.answers[str(status)] += 1


async def slow_bodies(field: Field) -> None:
    """A12: 250 uploads at once of 100 KB each, 100 bytes every half second, begun again when they are cut off."""
    await asyncio.gather(*(_trickle(field, field.identities[number % len(field.identities)]) for number in range(250)))


async def _trickle(field: Field, identity: Identity) -> None:
    await asyncio.sleep(max(0.0, field.begin + field.rng.random() - time.monotonic()))
    auth = f"Authorization: Bearer {identity.key}\r\n" if identity.key else ""
    lines = ["POST /v1/embeddings HTTP/1.1", "Host: siege", "Content-Type: application/json", "Content-Length: 100000"]
    head = "\r\n".join(lines) + f"\r\n{auth}\r\n"
    while time.monotonic() < field.end:
        wire: Wire | None = None
        with contextlib.suppress(OSError):
            wire = await connect(field.port, identity.source)
            wire.send(head.encode())
            while wire.open and time.monotonic() < field.end:
                wire.send(b" " * 100)
                await asyncio.sleep(0.5)
            field.answers["cut off" if not wire.open else "held to the end"] += 1
            wire.close()
        if wire is None:
            field.answers["refused to connect"] += 1
        await asyncio.sleep(0.5)


ATTACKS = (
    Attack("a1", "flood", flood),
    Attack("a2", "expensive", expensive),
    Attack("a3", "synchronised burst", burst),
    Attack("a4", "in-quota noise", noise, tenants=2, target=0.90),
    Attack("a5", "300 identities", identities, many=300, target=0.90),
    Attack("a5k", "300 identities, good ones known", identities, many=300, target=0.90, history_s=65.0),
    Attack("a6", "mispriced", mispriced),
    Attack("a7", "mispriced x 200", mispriced_crowd, many=200, target=0.90),
    Attack("a8", "memory hold", memory_hold),
    Attack("a9", "kill storm", kill_storm),
    Attack("a10", "breaker tripping", breaker),
    Attack("a11", "limiter spraying", spray, many=1, target=0.90),
    Attack("a12", "slow bodies", slow_bodies, tenants=4),
)
