"""The workload: tenants, classes of calls, and when they arrive.

Four classes on four cores, half of them busy: 60 % embeddings, 20 % series, 15 % images and 5 % generation by count, about
two thirds of the compute in the last. Lengths of generation follow the Azure 2023 conversation trace (overload.md section 2):
quantiles of its input and output tokens, uncorrelated. What a text will be answered with is not known before: generation is
expected at the median, reserved at the 90th percentile and granted its token limit; the others are known within 12 %.
Tenants are unequal, as in ServeGen: the first sends a quarter of everything. Each has a plan of 2.5 times what it needs.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from wickguard.records import Cost
from wickguard.units import GIB, MIB

CORES = 4
MEMORY_BYTES = 4 * GIB
LOAD = 0.5
SPREAD = 0.12
# Standard deviations of the 95th percentile, and of one call in a hundred thousand.
_Z95, _Z_GRANT = 1.645, 4.26
FLOOR_GRANT_S = 0.25
WALL_FACTOR = 8.0
TENANTS = 10
PLAN_OVER_DEMAND = 2.5
LEAST_PLAN = 0.5

# (probability, tokens) of the Azure 2023 conversation trace; the lower end is ours.
INPUT_TOKENS = ((0.0, 30), (0.5, 1020), (0.9, 2735), (0.99, 4142), (1.0, 14050))
OUTPUT_TOKENS = ((0.0, 10), (0.5, 129), (0.9, 424), (0.99, 601), (1.0, 1000))
PREFILL_S, TOKEN_S = 0.00005, 0.01


@dataclass(frozen=True, slots=True)
class Tenant:
    """Who asks. rate: its plan in compute-seconds per second, None for a stranger without a key, who is an address."""

    name: str
    rate: float | None
    address: str = "127.0.0.1"
    attacks: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """A call and the truth about it. needs: what it really takes. leaves_at: when its client loses patience."""

    id: str
    at: float
    tenant: Tenant
    kind: str
    expected: Cost
    reserve: Cost
    ceiling: Cost
    spread: float
    needs: Cost
    deadline_at: float
    leaves_at: float = math.inf

    @property
    def feature_class(self) -> str:
        """Calls of a kind and about the same size."""
        return f"{self.kind}:{math.frexp(self.expected.cpu_s)[1]}"


@dataclass(frozen=True, slots=True)
class Kind:
    """A class of calls: its share of all, the median and the spread of its cost, and the memory of one."""

    name: str
    share: float
    median_s: float
    sizes: float
    size_bytes: int

    @property
    def patience_s(self) -> float:
        """Seconds within which an answer is worth something."""
        return max(1.0, 10 * self.median_s)


EMBED = Kind("embed", 0.60, 0.020, 0.4, 32 * MIB)
SERIES = Kind("series", 0.20, 0.050, 0.4, 32 * MIB)
IMAGE = Kind("image", 0.15, 0.130, 0.3, 64 * MIB)
GENERATION = Kind("generation", 0.05, 1.29, 0.0, 256 * MIB)
KINDS = (EMBED, SERIES, IMAGE, GENERATION)


def quantile(points: tuple[tuple[float, int], ...], at: float) -> float:
    """The quantile between known ones, linear in the logarithm."""
    place = max(1, bisect.bisect_left([probability for probability, _ in points], at))
    (low, least), (high, most) = points[place - 1], points[place]
    return least * math.exp(math.log(most / least) * (at - low) / (high - low))


def priced(expected_s: float, size_bytes: int, spread: float = SPREAD) -> tuple[Cost, Cost, Cost]:
    """Expectation, reservation and grant of a call whose price is known within `spread`."""
    reserve_s = expected_s * math.exp(_Z95 * spread)
    ceiling_s = max(FLOOR_GRANT_S, expected_s * math.exp(_Z_GRANT * spread))
    return (
        Cost(expected_s, expected_s, size_bytes),
        Cost(reserve_s, reserve_s, size_bytes),
        Cost(ceiling_s, ceiling_s * WALL_FACTOR, size_bytes),
    )


def honest(order: Random, name: str, at: float, tenant: Tenant, kind: Kind) -> Request:
    """A call of a good tenant."""
    if kind is GENERATION:
        return _generation(order, name, at, tenant)
    expected_s = kind.median_s * math.exp(kind.sizes * order.gauss(0, 1))
    needs_s = expected_s * math.exp(SPREAD * order.gauss(0, 1))
    needs = Cost(needs_s, needs_s, kind.size_bytes)
    return Request(
        name, at, tenant, kind.name, *priced(expected_s, kind.size_bytes), SPREAD, needs, at + kind.patience_s
    )


def _generation(order: Random, name: str, at: float, tenant: Tenant) -> Request:
    prefill_s = PREFILL_S * quantile(INPUT_TOKENS, order.random())
    size = GENERATION.size_bytes
    points = {at: tokens * TOKEN_S + prefill_s for at, tokens in OUTPUT_TOKENS}
    expected, reserve, ceiling = (Cost(points[at], points[at], size) for at in (0.5, 0.9, 1.0))
    needs_s = prefill_s + TOKEN_S * quantile(OUTPUT_TOKENS, order.random())
    spread = math.log(reserve.cpu_s / expected.cpu_s) / 1.2816
    return Request(
        name, at, tenant, GENERATION.name, expected, reserve, Cost(ceiling.cpu_s, ceiling.cpu_s * WALL_FACTOR, size),
        spread, Cost(needs_s, needs_s, size), at + GENERATION.patience_s,
    )  # fmt: skip


def mean_s() -> float:
    """Compute-seconds of an average call."""
    points = [(number + 0.5) / 1000 for number in range(1000)]
    tokens = sum(quantile(OUTPUT_TOKENS, at) for at in points) / len(points)
    prompt = sum(quantile(INPUT_TOKENS, at) for at in points) / len(points)
    known = sum(kind.share * kind.median_s * math.exp((kind.sizes**2 + SPREAD**2) / 2) for kind in KINDS[:3])
    return known + GENERATION.share * (tokens * TOKEN_S + prompt * PREFILL_S)


def arrivals(order: Random, rate: float, begin: float, end: float, variation: float = 1.0) -> Iterator[float]:
    """Instants with Gamma-distributed gaps of this coefficient of variation (1: Poisson)."""
    shape = 1 / variation**2
    # A random start, or everybody would begin with a gap.
    now = begin + order.random() * order.gammavariate(shape, 1 / (rate * shape))
    while now < end:
        yield now
        now += order.gammavariate(shape, 1 / (rate * shape))


def good_tenants() -> list[tuple[Tenant, float]]:
    """The tenants whose calls are counted, and the calls per second of each."""
    total = LOAD * CORES / mean_s()
    weights = [1 / (number + 1) ** 0.7 for number in range(TENANTS)]
    found = []
    for number, weight in enumerate(weights):
        rate = total * weight / sum(weights)
        found.append((Tenant(f"good{number}", max(LEAST_PLAN, PLAN_OVER_DEMAND * rate * mean_s())), rate))
    return found


def good_requests(order: Random, end: float, variation: float = 1.0) -> list[Request]:
    """All calls of the good tenants until `end`."""
    found = []
    shares = [kind.share for kind in KINDS]
    for tenant, rate in good_tenants():
        for number, at in enumerate(arrivals(order, rate, 0.0, end, variation)):
            kind = order.choices(KINDS, shares)[0]
            found.append(honest(order, f"{tenant.name}-{number}", at, tenant, kind))
    return found
