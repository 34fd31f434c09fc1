"""The attacks: what each adds to the workload while it lasts.

The catalogue of overload.md section 7 as far as it reaches the gate: floods, expensive, synchronised and in-quota noise, many
identities, prices that are wrong, memory that is held, kills and drops, breakers that shall open, identities that shall fill
the limiter. Slow bodies end at the edge and poisoned prices in the cost model: those are attacked in tests/attacks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from random import Random

from benches.simulator.workload import MEMORY_BYTES, Request, Tenant, arrivals, priced
from wickguard.records import Cost
from wickguard.units import MIB

PLAN = 0.4
LARGE_PLAN = 1.5
# What the dearest call reserves, by which every bucket's depth is set.
DEAREST_S = 5.0


@dataclass(frozen=True, slots=True)
class Span:
    """While an attack lasts, and its own randomness."""

    order: Random
    begin: float
    end: float


@dataclass(frozen=True, slots=True)
class Attack:
    """name, as in the tables; dearest_s: what the dearest call of this server reserves."""

    name: str
    requests: Callable[[Span], Iterator[Request]]
    dearest_s: float = DEAREST_S


def keyed(name: str, rate: float = PLAN) -> Tenant:
    """An attacker with a key."""
    return Tenant(name, rate, attacks=True)


def stranger(number: int) -> Tenant:
    """An attacker without one, in a network of its own."""
    address = f"{10 + (number >> 16)}.{number >> 8 & 255}.{number & 255}.7"
    return Tenant(f"ip:{address}", None, address, attacks=True)


def call(tenant: Tenant, number: int, at: float, expected_s: float, kind: str = "embed") -> Request:
    """An attacking call that costs what it says."""
    size = 32 * MIB
    patience = max(1.0, 10 * expected_s)
    return Request(
        f"{tenant.name}-{number}", at, tenant, kind, *priced(expected_s, size), 0.12,
        Cost(expected_s, expected_s, size), at + patience,
    )  # fmt: skip


def lying(request: Request, needs_s: float = 10.0) -> Request:
    """The same, but it costs something else."""
    return replace(request, needs=Cost(needs_s, needs_s, request.expected.peak_bytes))


def steady(span: Span, tenant: Tenant, rate: float, expected_s: float, kind: str = "embed") -> Iterator[Request]:
    """One attacker who never stops."""
    for number, at in enumerate(arrivals(span.order, rate, span.begin, span.end)):
        yield call(tenant, number, at, expected_s, kind)


def none(span: Span) -> Iterator[Request]:
    """Nobody."""
    return iter(())


def flood(span: Span) -> Iterator[Request]:
    """400 cheap calls a second of one tenant."""
    return steady(span, keyed("flood"), 400, 0.02)


def expensive(span: Span) -> Iterator[Request]:
    """2.4 calls of 10 s a second, honest about it."""
    return steady(span, keyed("dear"), 2.4, 10.0, "generation")


def burst(span: Span) -> Iterator[Request]:
    """40 calls of 2 s at one instant, every 10 s."""
    tenant, number = keyed("burst"), 0
    for step in range(int((span.end - span.begin) / 10)):
        for _ in range(40):
            yield call(tenant, number, span.begin + 10 * step, 2.0, "generation")
            number += 1


def noisy(span: Span) -> Iterator[Request]:
    """Two tenants who may use three of four cores do so, and ask for more, in calls of 1 s."""
    for number in range(2):
        yield from steady(span, keyed(f"noisy{number}", LARGE_PLAN), 2.0, 1.0, "generation")


def noisy_short(span: Span) -> Iterator[Request]:
    """The same in calls of 100 ms."""
    for number in range(2):
        yield from steady(span, keyed(f"noisy{number}", LARGE_PLAN), 20.0, 0.1, "image")


def distributed(span: Span) -> Iterator[Request]:
    """300 addresses, each within its own limit."""
    for number in range(300):
        yield from steady(span, stranger(number), 1.0, 0.06)


def mispriced(span: Span) -> Iterator[Request]:
    """One tenant whose calls look like 40 ms and run 10 s."""
    return (lying(one) for one in steady(span, keyed("liar"), 10.0, 0.04))


def mispriced_crowd(span: Span) -> Iterator[Request]:
    """The same from 200 addresses."""
    for number in range(200):
        yield from (lying(one) for one in steady(span, stranger(number), 0.5, 0.04))


def memory_hold(span: Span) -> Iterator[Request]:
    """Calls that compute 50 ms and hold an eighth of the memory for 8 s."""
    for one in steady(span, keyed("holder"), 5.0, 0.05, "series"):
        expected, reserve, ceiling = (
            replace(cost, wall_s=wall_s, peak_bytes=MEMORY_BYTES // 8)
            for cost, wall_s in ((one.expected, 8.0), (one.reserve, 9.0), (one.ceiling, 20.0))
        )
        yield replace(one, expected=expected, reserve=reserve, ceiling=ceiling, needs=expected, deadline_at=one.at + 80)


def kill_storm(span: Span) -> Iterator[Request]:
    """One tenant with a key and 50 addresses make the cage kill as often as it can, with calls that look like 150 ms."""
    yield from (lying(one) for one in steady(span, keyed("killer"), 20.0, 0.15, "image"))
    for number in range(50):
        yield from (lying(one) for one in steady(span, stranger(number), 1.0, 0.15, "image"))


def drops(span: Span) -> Iterator[Request]:
    """One tenant asks for 2 s, 20 times a second, and leaves after 0.1 s."""
    for one in steady(span, keyed("dropper"), 20.0, 2.0, "generation"):
        yield replace(one, leaves_at=one.at + 0.1)


def breakers(span: Span) -> Iterator[Request]:
    """Two tenants and 50 addresses, three witnesses in all, send what is killed, in the class of everybody's embeddings."""
    for number in range(2):
        yield from (lying(one) for one in steady(span, keyed(f"tripper{number}"), 5.0, 0.02))
    for number in range(50):
        yield from (lying(one) for one in steady(span, stranger(number), 0.5, 0.02))


def spray(span: Span) -> Iterator[Request]:
    """600 addresses a second that nobody has seen before, one cheap call each."""
    for number, at in enumerate(arrivals(span.order, 600.0, span.begin, span.end)):
        yield call(stranger(number), number, at, 0.005)


ATTACKS = (
    Attack("none", none),
    Attack("flood: 400 rps of 20 ms, one tenant", flood),
    Attack("expensive: 2.4 rps of 10 s, bucket too shallow", expensive),
    Attack("expensive, bucket deep enough", expensive, dearest_s=12.5),
    Attack("burst: 40 x 2 s at one instant, every 10 s", burst),
    Attack("noisy: two tenants inside large quotas", noisy),
    Attack("distributed: 300 identities under their limits", distributed),
    Attack("mispriced: predicted 40 ms, runs 10 s", mispriced),
    Attack("mispriced x 200 identities", mispriced_crowd),
    Attack("noisy, with calls of 100 ms", noisy_short),
    Attack("memory hold: 8 s, an eighth of memory each", memory_hold),
    Attack("kill storm: one tenant and 50 identities", kill_storm),
    Attack("connect and drop: 2 s calls left after 0.1 s", drops),
    Attack("breaker tripping: three witnesses", breakers),
    Attack("limiter spraying: 600 new identities a second", spray),
)
