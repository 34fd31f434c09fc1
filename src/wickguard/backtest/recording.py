"""The recording: an audit log as the requests that were made, and what became of each.

Decides what of a log can be asked again: a call with a price, as it was recorded; a request that was refused on its head alone
for want of quota or room, as a typical one of the same caller, because nobody knows what it would have been; everything else
(malformed, too large, unknown, poison, or refused because the server was ending) stays what it was. Promises that a line that
is no event is an error with file and line, but for a last one that is still being written. It must not know policies.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from wickguard.errors import ConfigError
from wickguard.guard.routes import ROUTES, Service
from wickguard.records import Caller, Cost, Outcome, OutcomeKind, Pool, Quote
from wickguard.rejection import Reason
from wickguard.telemetry.events import (
    Asked,
    AuditDropped,
    CallSettled,
    PolicyInForce,
    PolicyReloaded,
    RequestRejected,
)

_Line = CallSettled | RequestRejected | PolicyInForce | PolicyReloaded | AuditDropped
_DECODER = msgspec.json.Decoder(_Line)

# Refused before anything was known but who called: by these reasons, for want of what a policy gives.
_WANTING = frozenset(
    {Reason.OVER_QUOTA, Reason.GROUP_EXHAUSTED, Reason.OVERLOADED, Reason.OVER_SHARE, Reason.TOO_MANY_BYTES_IN_FLIGHT}
)
# Whoever asks for a quote wants no call.
_ONLY_ASKING = frozenset(route.path for route in ROUTES.values() if route.service is Service.QUOTE)
# Not for the policy to decide, although the call had a price.
_FIXED = frozenset({Reason.DRAINING, Reason.NOT_READY, Reason.INTERNAL, Reason.POISONED})


@dataclass(frozen=True, slots=True)
class Happened:
    """What became of a request. reason: None when it got its grant. run: how its work ended, and under which limits; held_s:
    how long it held its slot. left_s: after so long its caller had left the queue.
    """

    reason: str | None
    queued_s: float = 0.0
    spent_s: float = 0.0
    run: Outcome | None = None
    limits: Cost | None = None
    held_s: float = 0.0
    left_s: float | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """One request. at: seconds since the epoch when it asked for admission. quote: None when it can't be asked again.

    guessed: its price is that of a typical request of its caller.
    """

    id: str
    at: float
    route: str
    caller: Caller
    model: str
    features: dict[str, int]
    body_bytes: int
    due_s: float
    quote: Quote | None
    happened: Happened
    batch: str = ""
    guessed: bool = False


@dataclass(frozen=True, slots=True)
class Recording:
    """The requests of a log, in order of time. policies: those that were in force, with what they meant.

    dropped: lines that are missing from the log; unpriced: settled calls of a version that did not record prices.
    """

    requests: tuple[Request, ...]
    policies: tuple[PolicyInForce, ...]
    dropped: int
    unpriced: int


def read(paths: Sequence[Path]) -> Recording:
    """The recording in these files, which may be the rotated parts of one log. Raises ConfigError with file and line."""
    requests: list[Request] = []
    policies: list[PolicyInForce] = []
    dropped = unpriced = 0
    for line in (line for path in paths for line in _lines(path)):
        match line:
            case CallSettled():
                if line.asked is None:
                    unpriced += 1
                else:
                    requests.append(_settled(line, line.asked))
            case RequestRejected():
                requests.append(_rejected(line))
            case PolicyInForce():
                policies.append(line)
            case AuditDropped():
                dropped += line.count
            case _:
                pass
    requests.sort(key=lambda request: request.at)
    if len({request.id for request in requests}) < len(requests):
        raise ConfigError("a request is in these logs twice; name every file once")
    return Recording(tuple(_guess(requests)), tuple(policies), dropped, unpriced)


def _lines(path: Path) -> Iterator[_Line]:
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    yield _DECODER.decode(line)
                except msgspec.DecodeError as error:
                    if not line.endswith(b"\n"):
                        return
                    raise ConfigError(f"{path}:{number}: not a line of an audit log: {error}") from error
    except OSError as error:
        raise ConfigError(f"the audit log {path} can't be read: {error.strerror}") from error


def _settled(event: CallSettled, asked: Asked) -> Request:
    usage = Cost(event.cpu_s, event.wall_s, event.peak_bytes)
    run = Outcome(
        OutcomeKind(event.outcome), usage, counted(event.tokens), retryable=event.retryable, respawn_s=event.respawn_s
    )
    limits = Cost(event.granted_cpu_s, event.granted_wall_s, event.granted_bytes)
    # The slot is held a little longer than the work takes; and not at all shorter, whatever the clocks say.
    held_s = max(event.wall_s, event.at - asked.at - event.queued_s)
    happened = Happened(None, event.queued_s, event.charged_s, run, limits, held_s)
    return Request(
        event.request_id, asked.at, event.route, _caller(event), event.model, event.features, event.body_bytes, asked.due_s,
        asked.quote, happened, asked.batch,
    )  # fmt: skip


def _rejected(event: RequestRejected) -> Request:
    asked = event.asked if event.reason not in _FIXED else None
    at = asked.at if asked is not None else event.at - event.elapsed_s
    left_s = event.at - at if event.reason == Reason.CLIENT_GONE else None
    happened = Happened(event.reason, left_s=left_s)
    return Request(
        event.request_id, at, event.route, _caller(event), event.model or "", event.features or {}, event.body_bytes,
        asked.due_s if asked is not None else 0.0, asked.quote if asked is not None else None, happened,
        asked.batch if asked is not None else "",
    )  # fmt: skip


def _caller(event: CallSettled | RequestRejected) -> Caller:
    pool = Pool(event.pool) if event.pool in list(Pool) else Pool.ANONYMOUS
    return Caller(event.tenant, pool, event.tenant.removeprefix("ip:"), event.key_id)


def counted(count: int) -> bytes:
    """As much of a result as settling looks at (guard/settle.py)."""
    return msgspec.msgpack.encode({"tokens": [count]})


def _guess(requests: Sequence[Request]) -> Iterator[Request]:
    """Give those that were refused on their heads the price of a typical request: of their tenant, else of anybody."""
    priced = [request for request in requests if request.quote is not None]
    typical = {tenant: _median(of) for tenant, of in _by_tenant(priced).items()}
    anybody = _median(priced) if priced else None
    for request in requests:
        like = typical.get(request.caller.tenant, anybody)
        wanting = request.happened.reason in _WANTING and request.route not in _ONLY_ASKING
        if request.quote is not None or not wanting or like is None:
            yield request
        else:
            yield dataclasses.replace(
                request, model=like.model, features=like.features, due_s=like.due_s, quote=like.quote, guessed=True
            )


def _by_tenant(requests: Iterable[Request]) -> dict[str, list[Request]]:
    found: dict[str, list[Request]] = {}
    for request in requests:
        found.setdefault(request.caller.tenant, []).append(request)
    return found


def _median(requests: Sequence[Request]) -> Request:
    middle = statistics.median_low([_price(request) for request in requests])
    return next(request for request in requests if _price(request) == middle)


def _price(request: Request) -> float:
    return request.quote.expected.cpu_s if request.quote is not None else 0.0
