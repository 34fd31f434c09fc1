"""Traffic: random requests of some callers through the real pipeline in virtual time, and the audit log that comes of it."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
from tests.fakes import MINILM, PRICES, Exchange, FakeBackend, body, completed, ended, scope
from tests.virtual import run_virtually

from wickguard.assembly import Ground, build_admission, build_decoder, build_pricer, survey
from wickguard.backend import Job
from wickguard.dialect.openai import OpenAI
from wickguard.guard.edge import InFlight
from wickguard.guard.head import Head
from wickguard.guard.identity import Identity
from wickguard.guard.lessons import Lessons
from wickguard.guard.outbox import Outbox
from wickguard.guard.pipeline import Pipeline, Stages
from wickguard.guard.routes import ROUTES
from wickguard.policy.schema import Policy
from wickguard.records import Outcome, OutcomeKind
from wickguard.telemetry.audit import is_written
from wickguard.telemetry.events import Event

# How calls end when they run; most go well.
ENDINGS = (
    *[OutcomeKind.COMPLETED] * 12,
    OutcomeKind.EXPIRED_CPU,
    OutcomeKind.EXPIRED_WALL,
    OutcomeKind.EXPIRED_WALL,
    OutcomeKind.CRASHED,
    OutcomeKind.FAILED,
)


@dataclass(frozen=True, slots=True)
class Shot:
    """One request: when, who (a key, or an address), what, and how it ends: after so long, unless its caller leaves before."""

    at: float
    key: str
    peer: str
    texts: tuple[str, ...]
    ending: OutcomeKind
    wall_s: float
    patience_s: float | None = None
    timeout_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Mix:
    """What a volley is like. gap_s: between requests, on average. peers: addresses of those without a key. small: short calls
    that could share a slot, instead of some of every kind.
    """

    gap_s: float
    peers: int = 3
    small: bool = False


def volley(seed: int, keys: Sequence[str], count: int, mix: Mix) -> list[Shot]:
    """Random requests of one mix."""
    chosen = random.Random(seed)
    shots, at = [], 0.0
    for number in range(count):
        at += chosen.expovariate(1 / mix.gap_s)
        # Few sizes, so that classes of calls repeat, and now and then a request without any text.
        words = 3 if mix.small else chosen.choice([1, 20, 400])
        texts = (f"{number:09} " + "word " * words,) * (1 if mix.small else chosen.choice([0, 1, 1, 2, 8, 40]))
        shots.append(
            Shot(
                at,
                chosen.choice([*keys, ""]),
                f"192.0.2.{chosen.randrange(1, mix.peers + 1)}",
                texts,
                OutcomeKind.COMPLETED if mix.small else chosen.choice(ENDINGS),
                chosen.uniform(0.001, 0.3 if mix.small else 3.0),
                chosen.choice([None, None, None, chosen.uniform(0.01, 4.0)]),
                chosen.choice([None, None, chosen.randrange(10, 20_000)]),
            )
        )
    return shots


def record(policy: Policy, shots: Sequence[Shot], path: Path) -> list[Event]:
    """Send `shots` through the pipeline that `policy` makes; write the audit log to `path`. Returns the written events."""
    heard: list[Event] = []
    run_virtually(_drive(policy, shots, heard.append))
    written = [event for event in heard if is_written(event)]
    path.write_bytes(b"".join(msgspec.json.encode(event) + b"\n" for event in written))
    return written


async def _drive(policy: Policy, shots: Sequence[Shot], emit: object) -> None:
    assert callable(emit)
    loop = asyncio.get_running_loop()
    numbered = {f"req-{number}": shot for number, shot in enumerate(shots)}

    def script(job: Job) -> None:
        shot = numbered[job.call_id]
        loop.call_later(shot.wall_s, end, job.call_id)

    def end(call_id: str) -> None:
        if call_id in backend.running:
            backend.finish(call_id, _outcome(backend.jobs[call_id], numbered[call_id]))

    backend = FakeBackend(script)
    ground = Ground(backend.models, PRICES, {}, {"openai": OpenAI()})
    pricer = build_pricer(policy, ground)
    site = survey(policy, ground.models, pricer)
    emit(site.event())
    admission = build_admission(policy, site, lambda: None)
    lessons = Lessons(admission.surcharge, lambda model, feature_class: None)
    pricer.widening = lessons.widening
    stages = Stages(
        Identity(policy.identity), policy.edge, InFlight(policy.edge), Outbox(policy.edge), build_decoder(policy, ground),
        pricer, admission, backend, lessons,
    )  # fmt: skip
    pipeline = Pipeline(stages, emit)
    await asyncio.gather(*(_send(pipeline, call_id, shot) for call_id, shot in numbered.items()))
    await pipeline.settled()


async def _send(pipeline: Pipeline, call_id: str, shot: Shot) -> None:
    await asyncio.sleep(shot.at)
    data = json.dumps({"model": MINILM.name, "input": shot.texts}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(data))]
    headers += [(b"authorization", b"Bearer " + shot.key.encode())] if shot.key else []
    headers += [(b"x-request-timeout-ms", b"%d" % shot.timeout_ms)] if shot.timeout_ms else []
    exchange = Exchange(body(data))
    if shot.patience_s is not None:
        asyncio.get_running_loop().call_later(shot.patience_s, exchange.disconnect)
    await pipeline.serve(
        call_id, ROUTES["/v1/embeddings"], Head.of(scope(headers=headers, peer=shot.peer)), exchange.receive
    )


def _outcome(job: Job, shot: Shot) -> Outcome:
    if shot.ending is OutcomeKind.COMPLETED:
        return completed(job, shot.wall_s)
    return ended(shot.ending, shot.wall_s)
