"""Cases of identity and of the guard itself: whether limits can be walked around, forgotten or turned against the server.

E ids of research/attacks.md section 9. Bounds: 500 requests a second for four seconds. These work on limiters that exist;
where there is none, they find nothing.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from wickguard.probe.case import ANY_DIALECT, Case, Expect, Profile, Risk, Spelling
from wickguard.probe.cases.payload import SERVED_OR_REFUSED, as_many, paced, taxonomy
from wickguard.probe.finding import Oracle, Severity
from wickguard.probe.trace import Request, Step, Trace
from wickguard.units import MIB

# Of sprayed identities, and of a burst.
RATE_PER_S = 500.0
IDENTITIES_PER_REQUEST = 10
CONNECTIONS = 16


def _as_caller(request: Request, key: str) -> Request:
    return Request(request.method, request.path, (("Authorization", f"Bearer {key}"),), request.body)


def _row(requests: Sequence[Request], start_s: float, label: str, measured: str = "") -> list[Step]:
    """One request after another at RATE_PER_S, on the same connections as every row, so that rows follow one another even
    where the target is slower than that. measured: how the last one is called; it is compared with those of other rows."""
    steps = [
        Step(request, start_s + index / RATE_PER_S, 1 + index % CONNECTIONS, label=label, measured=False)
        for index, request in enumerate(requests)
    ]
    if measured:
        steps[-1] = replace(steps[-1], label=measured, group="a debt", measured=True)
    return steps


def _spray(target: Spelling, size: int, chance: random.Random) -> Trace:
    """A caller uses up its limit; is refused at half a burst after a row of requests of one other caller; and must not get
    a whole burst after the same row under as many names.

    Both rows take equally long. What leaks away meanwhile is less than half a burst (or the first measured request is
    served, and nothing can be said), so a whole burst that is served afterwards was forgiven, not earned.
    """
    salt = f"wickguard-probe-{chance.getrandbits(48):x}"
    plain = target.request(["quiet river"])
    debtor, count = _as_caller(plain, f"{salt}-debtor"), IDENTITIES_PER_REQUEST * size
    rows = [
        ([debtor] * (4 * size), "using up", ""),
        ([_as_caller(plain, f"{salt}-other")] * count, "one other", ""),
        ([debtor] * (size // 2), "burst", "before the spray"),
        ([_as_caller(plain, f"{salt}-{index}") for index in range(count)], "spray", ""),
        ([debtor] * size, "burst", "after the spray"),
    ]
    steps: list[Step] = []
    for requests, label, measured in rows:
        steps += _row(requests, len(steps) / RATE_PER_S, label, measured)
    return Trace(tuple(steps), note="a debtor before and after other identities were sprayed")


def _forwarded(target: Spelling, size: int, chance: random.Random) -> Trace:
    """A burst that meets the limit, and the same burst under as many forged addresses."""
    plain = target.request(["quiet river"])
    steps = _row([plain] * size, 0.0, "burst")
    steps.append(Step(plain, at_s=size / RATE_PER_S, group="an address", label="as itself"))
    forged = Request(
        plain.method, plain.path, (("X-Forwarded-For", f"198.51.100.{chance.randrange(1, 255)}"),), plain.body
    )
    steps.append(Step(forged, at_s=size / RATE_PER_S + 0.002, group="an address", label="as somebody else"))
    return Trace(tuple(steps), note="a forged X-Forwarded-For after the limit was met")


# As client libraries and proxies spell it; nothing says what an inference API calls it.
_DEADLINES = ("X-Request-Timeout", "Request-Timeout", "Timeout", "X-Timeout-Ms", "grpc-timeout")
_ID_BYTES = 3000
_GAP_S = 0.008
_INSTANTS = ("0", "-1", "1e12", "NaN", "9" * 400, "1H")


def _deadlines(target: Spelling, size: int, chance: random.Random) -> Trace:
    plain = target.request(["quiet river"])
    return paced(
        (f"{name}: {value[:8]}", replace(plain, headers=((name, value),))) for name in _DEADLINES for value in _INSTANTS
    )


def _numbered(target: Spelling, size: int, chance: random.Random) -> Trace:
    """The same request under ids that nobody has used before."""
    plain, salt = target.request(["quiet river"]), chance.getrandbits(64)
    # Long enough for what is kept of them to show.
    named = [f"{salt:x}-{index}-{'i' * _ID_BYTES}" for index in range(size)]
    requests = [replace(plain, headers=(("Idempotency-Key", name), ("X-Request-ID", name))) for name in named]
    note = "a request id and an idempotency key of its own for each request"
    return paced((("", request) for request in requests), _GAP_S, note)


def _unnumbered(target: Spelling, size: int, chance: random.Random) -> Trace:
    return paced([("", target.request(["quiet river"]))] * size, _GAP_S)


CASES = (
    Case(
        id="E02",
        title="A forged address is another caller",
        risk=Risk.HEAVY,
        dialects=ANY_DIALECT,
        feature="requests in a burst",
        sizes=(100, 400),
        attack=_forwarded,
        twin=None,
        oracles=frozenset({Oracle.EQUIVALENCE}),
        taxonomy=taxonomy("799"),
        severity=Severity.ERROR,
        expect=Expect(statuses=(*SERVED_OR_REFUSED, 429, 503)),
        profile=Profile.STANDARD,
        remedy="believe X-Forwarded-For only when a trusted proxy sent it",
        pause_s=3.0,
    ),
    Case(
        id="E03",
        title="Spraying identities makes the limiter forget a debt",
        risk=Risk.HEAVY,
        dialects=ANY_DIALECT,
        feature="requests in a burst",
        sizes=(24, 40, 64),
        attack=_spray,
        twin=None,
        oracles=frozenset({Oracle.EQUIVALENCE, Oracle.MEMORY}),
        taxonomy=taxonomy("770 401 799"),
        severity=Severity.ERROR,
        expect=Expect(statuses=(*SERVED_OR_REFUSED, 401, 403, 429, 503)),
        profile=Profile.STANDARD,
        remedy="never evict a debt; let identities without room share one limit, and start unseen ones nearly empty",
        pause_s=1.0,
        fresh=True,
    ),
    Case(
        id="E14",
        title="A client's deadline is believed, or upsets the server",
        risk=Risk.PASSIVE,
        dialects=ANY_DIALECT,
        feature="",
        sizes=(1,),
        attack=_deadlines,
        twin=as_many(_deadlines),
        oracles=frozenset({Oracle.STATUS, Oracle.LIVENESS, Oracle.RETRY}),
        taxonomy=taxonomy("1284"),
        expect=Expect(statuses=(*SERVED_OR_REFUSED, 408, 504)),
        profile=Profile.STANDARD,
        remedy="take a client's deadline as a wish: within the server's own bounds, or refused",
    ),
    Case(
        id="E17",
        title="Every id that a client makes up is remembered",
        risk=Risk.LIGHT,
        dialects=ANY_DIALECT,
        feature="requests",
        sizes=(240,),
        attack=_numbered,
        twin=_unnumbered,
        oracles=frozenset({Oracle.MEMORY}),
        taxonomy=taxonomy("770 401"),
        severity=Severity.ERROR,
        expect=Expect(memory_floor_bytes=12 * MIB),
        profile=Profile.STANDARD,
        remedy="bound what is remembered of ids in bytes and in time",
        fresh=True,
    ),
)
