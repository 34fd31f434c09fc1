"""Law 10: both tables have a row for every member, and every reason is reached by a real path.

REACHED maps each reason to the way in which a caller meets it; each is walked here through the real application over a fake
backend. A reason that is added without a way to reach it makes the first test fail; a way that no longer leads there, the
second.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.fakes import MINILM, Exchange, Rig, RigSettings, body, completed, ended, rig, scope, settle_down

from wickguard.backend import Job
from wickguard.control.gate import AdmissionSettings
from wickguard.control.ladder import LadderSettings
from wickguard.cost.analytic import PriceSettings
from wickguard.guard.edge import EdgeSettings
from wickguard.guard.identity import IdentitySettings, add_key
from wickguard.guard.settle import SETTLEMENTS
from wickguard.records import Outcome, OutcomeKind
from wickguard.rejection import MEANINGS, Reason
from wickguard.telemetry import events
from wickguard.units import KIB, MIB

JSON = (b"content-type", b"application/json")
CHUNKED = (b"transfer-encoding", b"chunked")


@dataclass(frozen=True, slots=True)
class Way:
    """How a reason is met: a request, the server's settings and state, and how the backend ends the call.

    busy: requests of this many other tenants run or wait already. leaves: the client goes while its call runs. before: so
    many requests were served before, each another one if varied, by so many tenants with keys (0: by this caller).
    """

    data: bytes = json.dumps({"model": MINILM.name, "input": "hello"}).encode()
    path: str = "/v1/embeddings"
    method: str = "POST"
    headers: tuple[tuple[bytes, bytes], ...] | None = None
    settings: RigSettings = field(default_factory=RigSettings)
    peer: str = "127.0.0.2"
    script: Callable[[Job], Outcome | Exception | None] = completed
    busy: tuple[str, ...] = ()
    draining: bool = False
    leaves: bool = False
    broken: bool = False
    before: int = 0
    varied: bool = False
    tenants: int = 0


def asking(**fields: object) -> bytes:
    """A body with some fields changed."""
    return json.dumps({"model": MINILM.name, "input": "hello", **fields}).encode()


def ends(kind: OutcomeKind, *, retryable: bool = False) -> Callable[[Job], Outcome]:
    """A backend that ends every call like this."""
    return lambda job: ended(kind, retryable=retryable)


def limited(**limits: float) -> RigSettings:
    """Edge settings with some limits changed."""
    return RigSettings(edge=EdgeSettings(**limits))  # type: ignore[arg-type]


SMALL_BODIES = limited(max_body_bytes=KIB, max_bytes_per_caller=KIB, max_bytes_in_flight=KIB)
KEYED = RigSettings(identity=IdentitySettings(keys="KEYS"))
POOR = RigSettings(ladder=LadderSettings(capacity=0.01, dearest_s=0.02, median_s=0.02))
SHALLOW = RigSettings(ladder=LadderSettings(1.0, 1e-4, 1e-4, burst_s=1e-3), local=False)
CAPPED = RigSettings(ladder=LadderSettings(capacity=0.04, dearest_s=0.02, median_s=1.0), local=False)
TINY_QUEUE = RigSettings(admission=AdmissionSettings(queue_s=0.001, tenant_queue_s=0.001), slots=(1, 1))

REACHED: dict[Reason, Way] = {
    Reason.MALFORMED: Way(b"{"),
    Reason.UNKNOWN_FIELD: Way(asking(colour="red")),
    Reason.UNSUPPORTED_FIELD: Way(asking(dimensions=7)),
    Reason.UNAUTHENTICATED: Way(settings=KEYED),
    Reason.FORBIDDEN: Way(peer="192.0.2.1"),
    Reason.UNKNOWN_ROUTE: Way(path="/v2/embeddings"),
    Reason.UNKNOWN_MODEL: Way(asking(model="gpt-9")),
    Reason.METHOD_NOT_ALLOWED: Way(method="GET"),
    Reason.BODY_TIMEOUT: Way(b"", headers=(JSON, CHUNKED), settings=limited(body_timeout_s=0.01)),
    Reason.BODY_INCOMPLETE: Way(b"", headers=(JSON, CHUNKED), leaves=True),
    Reason.LENGTH_REQUIRED: Way(headers=(JSON,)),
    Reason.BODY_TOO_LARGE: Way(b" " * 1025, settings=SMALL_BODIES),
    Reason.BATCH_TOO_LARGE: Way(asking(input=["a"] * 65)),
    Reason.URI_TOO_LONG: Way(path="/" * 5000),
    Reason.UNSUPPORTED_ENCODING: Way(headers=(JSON, CHUNKED, (b"content-encoding", b"gzip"))),
    Reason.UNSUPPORTED_MEDIA_TYPE: Way(headers=(CHUNKED, (b"content-type", b"multipart/form-data"))),
    Reason.EXPECTATION_FAILED: Way(headers=(JSON, CHUNKED, (b"expect", b"a miracle"))),
    Reason.OUT_OF_ENVELOPE: Way(asking(input=[])),
    Reason.TOO_MANY_TOKENS: Way(asking(input=[1] * 511)),
    Reason.UNAFFORDABLE: Way(
        asking(input=["word " * 600] * 8), settings=RigSettings(price=PriceSettings(floor_cpu_s=0.01, max_cpu_s=0.01))
    ),
    Reason.DEADLINE_INFEASIBLE: Way(
        asking(input=["word " * 600] * 8), headers=(JSON, CHUNKED, (b"x-request-timeout-ms", b"40"))
    ),
    Reason.HEADERS_TOO_LARGE: Way(headers=tuple((b"a", b"b") for _ in range(65))),
    Reason.OVER_SHARE: Way(settings=limited(max_open_per_caller=1), busy=("127.0.0.2",), script=lambda job: None),
    Reason.OVER_QUOTA: Way(settings=POOR, before=12),
    Reason.BEYOND_QUOTA: Way(settings=SHALLOW),
    Reason.GROUP_EXHAUSTED: Way(settings=CAPPED, before=12),
    Reason.POISONED: Way(script=ends(OutcomeKind.CRASHED), before=2),
    Reason.OWN_CIRCUIT_OPEN: Way(script=ends(OutcomeKind.CRASHED), before=3, varied=True),
    Reason.CIRCUIT_OPEN: Way(settings=KEYED, script=ends(OutcomeKind.CRASHED), before=6, varied=True, tenants=3),
    Reason.OVERLOADED: Way(
        asking(input="x" * 900), settings=TINY_QUEUE, busy=("127.0.0.3", "127.0.0.4"), script=lambda job: None
    ),
    Reason.TOO_MANY_BYTES_IN_FLIGHT: Way(
        asking(input="x" * 900), settings=SMALL_BODIES, busy=("127.0.0.3",), script=lambda job: None
    ),
    Reason.DRAINING: Way(draining=True),
    Reason.NOT_READY: Way(script=ends(OutcomeKind.CRASHED, retryable=True)),
    Reason.DEADLINE_EXCEEDED: Way(script=ends(OutcomeKind.EXPIRED_WALL)),
    Reason.CPU_EXCEEDED: Way(script=ends(OutcomeKind.EXPIRED_CPU)),
    Reason.MEMORY_EXCEEDED: Way(script=ends(OutcomeKind.OUT_OF_MEMORY)),
    Reason.WORKER_CRASHED: Way(script=ends(OutcomeKind.CRASHED)),
    Reason.INTERNAL: Way(broken=True),
    Reason.CLIENT_GONE: Way(script=lambda job: None, leaves=True),
}


def test_every_reason_has_a_way_when_it_exists() -> None:
    """The registry is the set of reasons."""
    assert set(REACHED) == set(Reason)


def test_both_tables_are_total_when_members_are_counted() -> None:
    """A row each, and every reason of a settlement is a reason of the table."""
    assert set(MEANINGS) == set(Reason)
    assert set(SETTLEMENTS) == set(OutcomeKind)
    assert {row.reason for row in SETTLEMENTS.values() if row.reason} <= set(MEANINGS)


@pytest.mark.parametrize("reason", list(Reason))
def test_a_retry_is_promised_only_when_it_can_help(reason: Reason) -> None:
    """What the caller did wrong is never retryable, what the server lacks is 429 or 503."""
    meaning = MEANINGS[reason]
    assert meaning.retryable is (meaning.status in (429, 503))


@pytest.mark.parametrize("reason", list(Reason), ids=str)
def test_the_reason_is_given_when_its_way_is_walked(reason: Reason, tmp_path: Path) -> None:
    """Status, machine code and event; and afterwards nothing is held."""
    way = REACHED[reason]
    keys: list[str] = []
    if way.settings.identity.keys:
        keys = [add_key(tmp_path / "keys", f"tenant{number}") for number in range(way.tenants + 1)]
        identity = IdentitySettings(keys=str(tmp_path / "keys"))
        way = dataclasses.replace(way, settings=dataclasses.replace(way.settings, identity=identity))
    front, exchange = asyncio.run(walk(way, keys if way.tenants else []))
    told = [event for event in front.events if isinstance(event, events.RequestRejected | events.CallSettled)]
    assert told[-1].reason == reason
    assert told[-1].status == MEANINGS[reason].status
    if reason is Reason.CLIENT_GONE:
        assert exchange.sent == []
    else:
        assert exchange.status == MEANINGS[reason].status
        answer = json.loads(exchange.answer)
        code = answer["error"]["code"] if "error" in answer else answer["code"]
        assert code == ("context_length_exceeded" if reason is Reason.TOO_MANY_TOKENS else reason)
        assert (b"retry-after" in exchange.headers) is MEANINGS[reason].retryable
    assert not any(front.holds().values())


def bearer(keys: Sequence[str], number: int) -> list[tuple[bytes, bytes]]:
    """The header of one of the keys, if there are any."""
    return [(b"authorization", f"Bearer {keys[number % len(keys)]}".encode())] if keys else []


async def walk(way: Way, keys: Sequence[str] = ()) -> tuple[Rig, Exchange]:
    """Send the request of `way`, with the last key if there are any; let everything end."""
    front = rig(way.settings, way.script)
    for number in range(way.before):
        data = asking(input=f"hellO{number}") if way.varied else way.data
        earlier = Exchange(body(data))
        asked = scope(headers=[JSON, (b"content-length", b"%d" % len(data)), *bearer(keys[:-1], number)], peer=way.peer)
        await front.application(asked, earlier.receive, earlier.send)
    front.stages.admission.draining = way.draining
    others = [asyncio.create_task(front.post(asking(input="x" * 900), peer=peer)) for peer in way.busy]
    await settle_down()
    if way.broken:
        front.stages.decoder._endpoints = {}
    exchange = Exchange(*([body(way.data)] if way.data else []))
    headers = [JSON, (b"content-length", b"%d" % len(way.data))] if way.headers is None else list(way.headers)
    headers += bearer(keys[-1:], 0)
    serving = asyncio.create_task(
        front.application(scope(way.path, way.method, headers, peer=way.peer), exchange.receive, exchange.send)
    )
    await settle_down()
    if way.leaves:
        exchange.disconnect()
    await serving
    for _ in others:
        for call_id in front.backend.running:
            front.backend.finish(call_id)
        await settle_down()
    # The one that was watched is the last that is reported.
    mine = [event for event in front.events if isinstance(event, events.RequestRejected)]
    await asyncio.gather(*others)
    if way.busy:
        front.events[:] = mine
    return front, exchange


def test_half_a_budget_is_no_reason_when_memory_is_ample() -> None:
    """The ways above are refused for their own reason: the ordinary request is served."""
    front, exchange = asyncio.run(walk(Way(settings=RigSettings(memory_bytes=256 * MIB))))
    assert exchange.status == 200
    assert not any(front.holds().values())
