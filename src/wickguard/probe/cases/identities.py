"""Cases of identity and of the guard itself: whether limits can be walked around, forgotten or turned against the server.

E ids of research/attacks.md section 9. Bounds: 500 requests a second for two seconds. These work on limiters that exist;
where there is none, they find nothing.
"""

from __future__ import annotations

import random

from wickguard.probe.case import ANY_DIALECT, Case, Expect, Profile, Risk, Spelling
from wickguard.probe.cases.payload import SERVED_OR_REFUSED, taxonomy
from wickguard.probe.finding import Oracle, Severity
from wickguard.probe.trace import Request, Step, Trace

# Of sprayed identities, and of a burst.
RATE_PER_S = 500.0
IDENTITIES_PER_REQUEST = 10


def _as_caller(request: Request, key: str) -> Request:
    return Request(request.method, request.path, (("Authorization", f"Bearer {key}"),), request.body)


def _burst(request: Request, start_s: float, size: int, labels: dict[int, str]) -> list[Step]:
    return [
        Step(
            request,
            at_s=start_s + index / RATE_PER_S,
            connection=1 + index % 8,
            measured=index in labels,
            group="a debt" if index in labels else "",
            label=labels.get(index, "burst"),
        )
        for index in range(size)
    ]


def _spray(target: Spelling, size: int, chance: random.Random) -> Trace:
    """A caller uses up its limit, waits, and is refused at half a burst; after a spray of others it must not get a whole one.

    The wait and the spray take equally long. What leaks away meanwhile is less than half a burst (or the first measured
    request is served, and nothing can be said), so a whole burst that is served afterwards was forgiven, not earned.
    """
    salt = f"wickguard-probe-{chance.getrandbits(48):x}"
    plain = target.request(["quiet river"])
    debtor = _as_caller(plain, f"{salt}-debtor")
    others = IDENTITIES_PER_REQUEST * size
    pause_s = others / RATE_PER_S
    steps = _burst(debtor, 0.0, 4 * size, {})
    again_s = 4 * size / RATE_PER_S + pause_s
    steps += _burst(debtor, again_s, size // 2, {size // 2 - 1: "before the spray"})
    spray_s = again_s + size / RATE_PER_S
    steps += [
        Step(
            _as_caller(plain, f"{salt}-{index}"),
            at_s=spray_s + index / RATE_PER_S,
            connection=10 + index % 16,
            measured=False,
            label="spray",
        )
        for index in range(others)
    ]
    steps += _burst(debtor, spray_s + pause_s, size, {size - 1: "after the spray"})
    return Trace(tuple(steps), note="a debtor before and after other identities were sprayed")


def _forwarded(target: Spelling, size: int, chance: random.Random) -> Trace:
    """A burst that meets the limit, and the same burst under as many forged addresses."""
    plain = target.request(["quiet river"])
    steps = _burst(plain, 0.0, size, {})
    steps.append(Step(plain, at_s=size / RATE_PER_S, group="an address", label="as itself"))
    forged = Request(
        plain.method, plain.path, (("X-Forwarded-For", f"198.51.100.{chance.randrange(1, 255)}"),), plain.body
    )
    steps.append(Step(forged, at_s=size / RATE_PER_S + 0.002, group="an address", label="as somebody else"))
    return Trace(tuple(steps), note="a forged X-Forwarded-For after the limit was met")


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
        sizes=(24, 48, 96),
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
)
