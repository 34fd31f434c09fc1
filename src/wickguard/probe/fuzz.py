"""The fuzzer: which structure of a text costs most for its bytes.

Decides by three stages: a dictionary of known structures, each beside ordinary words of the same length; a sweep of the
worst over sizes; and, in profile `deep` only, an evolutionary search that starts from the best of the dictionary. Promises
that the same seed tries the same texts in the same order (what wins depends on what was measured), that the best is always
measured again before it is believed (the luckiest reading wins otherwise), and that a finding's reproducer is the smallest
text that keeps 80 % of the effect. It must not know tokenizers.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import msgspec

from wickguard.clock import now
from wickguard.modality.text import synthesize
from wickguard.probe.atoms import ATOMS
from wickguard.probe.case import ANY_DIALECT, Case, Expect, Profile, Risk, Spelling, geometric
from wickguard.probe.events import Event, Found
from wickguard.probe.finding import Oracle, Reproducer, Severity, Taxonomy
from wickguard.probe.observe import Observer
from wickguard.probe.runner import Runner
from wickguard.probe.trace import Trace, single
from wickguard.units import KIB

BUDGET_BYTES = 4 * KIB
# A structure is worth a sweep when it costs this many times what words do; a finding needs the case's own bound.
_WORTH = 1.5
_ELITES = 4
_REPEATS = 3
_CONTROL_EVERY = 5
_POPULATION = 8
_CHILDREN = 12
_GENERATIONS = 25
_PATIENCE = 5
_KEEP = 0.8
_SHRINKS = 5
_SLOW_S = 0.3
_CASE_S = 10.0
_LARGEST = 256 * KIB


@dataclass(frozen=True, slots=True)
class Gene:
    """An atom and its share of the bytes, as a weight."""

    atom: str
    weight: int


@dataclass(frozen=True, slots=True)
class Genome:
    """A text as genes in a row."""

    genes: tuple[Gene, ...]

    def text(self, size_bytes: int) -> str:
        """A text of at most `size_bytes` bytes, and of fewer by less than one atom per gene."""
        whole = sum(gene.weight for gene in self.genes)
        parts = []
        for gene in self.genes:
            atom = ATOMS[gene.atom]
            parts.append(atom * (size_bytes * gene.weight // whole // len(atom.encode())))
        return "".join(parts) or "a"

    def describe(self) -> str:
        """For people."""
        return " + ".join(f"{gene.weight} x {gene.atom}" if len(self.genes) > 1 else gene.atom for gene in self.genes)


def seeds() -> list[Genome]:
    """The dictionary, one genome for each atom."""
    return [Genome((Gene(name, 1),)) for name in ATOMS]


def mutate(genome: Genome, chance: random.Random) -> Genome:
    """Insert a gene, drop one, or change a weight."""
    genes = list(genome.genes)
    kind = chance.random()
    if kind < 0.4 or len(genes) == 1:
        genes.insert(chance.randint(0, len(genes)), Gene(chance.choice(sorted(ATOMS)), chance.randint(1, 4)))
    elif kind < 0.6:
        del genes[chance.randrange(len(genes))]
    else:
        at = chance.randrange(len(genes))
        genes[at] = Gene(
            genes[at].atom, max(1, genes[at].weight * 2 if chance.random() < 0.5 else genes[at].weight // 2)
        )
    return Genome(tuple(genes[:8]))


def cross(first: Genome, second: Genome, chance: random.Random) -> Genome:
    """The head of one and the tail of the other."""
    head = first.genes[: chance.randint(1, len(first.genes))]
    tail = second.genes[chance.randrange(len(second.genes)) :]
    return Genome((head + tail)[:8])


class Fuzzer:
    """One per run."""

    def __init__(self, observer: Observer, seed: int, profile: Profile) -> None:
        self._observer = observer
        self._seed = seed
        self._profile = profile
        self._chance = random.Random(f"{seed}:fuzz")
        self._budget = BUDGET_BYTES
        self._controls: list[float] = []
        self._scores: dict[Genome, list[float]] = {}

    async def run(self) -> AsyncIterator[Event]:
        """All stages; the worst structure goes through the same measuring and confirming as any case."""
        if not self._observer.target.spelling.takes_text:
            return
        if not await self._fit_budget():
            return
        order = seeds()
        self._chance.shuffle(order)
        await self._score(order)
        elites = await self._elites()
        if self._profile is Profile.DEEP and elites:
            elites = await self._evolve(elites)
        best = elites[0] if elites else None
        if best is None or self._value(best) < _WORTH:
            return
        async for event in Runner(self._observer, self._seed, _CASE_S).run(_case(best)):
            yield await self._with_reproducer(event, best) if isinstance(event, Found) else event

    async def _fit_budget(self) -> bool:
        """Halve the bytes until ordinary words of that length are accepted."""
        while self._budget >= 64:
            seen = await self._observer.observe(self._trace(synthesize([self._budget])[0]), watch=False)
            if seen.accepted:
                return True
            self._budget //= 2
        return False

    async def _score(self, genomes: Sequence[Genome]) -> None:
        for index, genome in enumerate(genomes):
            if self._observer.allowance.exceeded(now()) is not None:
                return
            if index % _CONTROL_EVERY == 0:
                await self._control()
            cost = await self._cost(genome.text(self._budget))
            if cost is not None:
                self._scores.setdefault(genome, []).append(cost)

    async def _control(self) -> None:
        cost = await self._cost(synthesize([self._budget])[0])
        if cost is not None:
            self._controls.append(cost)

    async def _cost(self, text: str) -> float | None:
        """Seconds of one text, None when it is refused: what is refused costs nobody much (EARLY looks at the rest)."""
        seen = await self._observer.observe(self._trace(text), watch=False)
        if not seen.accepted:
            return None
        return seen.cpu_s if seen.exact and seen.cpu_s is not None else seen.latency_s

    async def _elites(self) -> list[Genome]:
        best = sorted(self._scores, key=self._value, reverse=True)[:_ELITES]
        for _ in range(_REPEATS - 1):
            await self._score(best)
        return sorted(best, key=self._value, reverse=True)

    def _value(self, genome: Genome) -> float:
        """The least of its readings over the running median of the controls."""
        control = statistics.median(self._controls[-9:]) if self._controls else 0.0
        return min(self._scores[genome]) / control if control > 0 and self._scores.get(genome) else 0.0

    async def _evolve(self, population: list[Genome]) -> list[Genome]:
        best, stale = self._value(population[0]), 0
        for _ in range(_GENERATIONS):
            children = [self._child(population) for _ in range(_CHILDREN)]
            await self._score([child for child in children if child not in self._scores])
            ranked = sorted((g for g in {*population, *children} if g in self._scores), key=self._value, reverse=True)
            population = ranked[:_POPULATION]
            # The elite is measured again in every generation, and keeps the least of its readings.
            await self._score(population[:2])
            population.sort(key=self._value, reverse=True)
            stale = 0 if self._value(population[0]) > best * 1.05 else stale + 1
            best = self._value(population[0])
            if stale >= _PATIENCE or self._observer.allowance.exceeded(now()) is not None:
                break
        return population

    def _child(self, population: list[Genome]) -> Genome:
        if self._chance.random() < 0.7:
            return mutate(self._chance.choice(population), self._chance)
        return cross(self._chance.choice(population), self._chance.choice(population), self._chance)

    async def _with_reproducer(self, event: Found, genome: Genome) -> Found:
        finding = event.finding
        if finding.reproducer is None:
            return event
        small, size, effect = await self._minimise(genome, finding.reproducer.size)
        text = small.text(size)
        request = self._observer.target.spelling.request([text])
        reproducer = Reproducer(
            recipe=f"{small.describe()}, {size} bytes, seed {self._seed}",
            path=request.path,
            size=size,
            request_bytes=request.size_bytes,
            digest=finding.reproducer.digest if size == finding.reproducer.size else "",
            excerpt="".join(letter if letter.isprintable() else "?" for letter in text[:80]),
            effect=round(effect, 2),
        )
        return Found(event.at_s, msgspec.structs.replace(finding, reproducer=reproducer))

    async def _minimise(self, genome: Genome, size: int) -> tuple[Genome, int, float]:
        """Fewer genes, then fewer bytes, as long as 80 % of the effect stays (delta debugging, greedily)."""
        effect = await self._effect(genome, size)
        for gene in genome.genes:
            rest = Genome(tuple(other for other in genome.genes if other is not gene))
            if rest.genes and await self._effect(rest, size) >= _KEEP * effect:
                genome = rest
        low, high = 1, size
        for _ in range(_SHRINKS):
            middle = (low + high) // 2
            if middle in (low, high):
                break
            low, high = (low, middle) if await self._effect(genome, middle) >= _KEEP * effect else (middle, high)
        return genome, high, effect

    async def _effect(self, genome: Genome, size: int) -> float:
        """Its cost over that of ordinary words of the same length, the least of three each; 0 when it is refused."""
        first = await self._cost(genome.text(size))
        # What is slow is measured well enough at once.
        more = 0 if first is None or first > _SLOW_S else _REPEATS - 1
        costs = [first, *[await self._cost(genome.text(size)) for _ in range(more)]]
        words = [await self._cost(synthesize([size])[0]) for _ in range(_REPEATS)]
        known, control = [cost for cost in costs if cost is not None], [cost for cost in words if cost is not None]
        return min(known) / max(min(control), 1e-4) if known and control else 0.0

    def _trace(self, text: str) -> Trace:
        return single(self._observer.target.spelling.request([text]))


def _case(genome: Genome) -> Case:
    def attack(target: Spelling, size: int, chance: random.Random) -> Trace:
        return single(target.request([genome.text(size)]))

    def words(target: Spelling, size: int, chance: random.Random) -> Trace:
        return single(target.request(synthesize([size])))

    return Case(
        id="fuzz",
        title=f"A text of {genome.describe()} costs more than its bytes",
        risk=Risk.LIGHT,
        dialects=ANY_DIALECT,
        feature="bytes of one text",
        sizes=geometric(256, _LARGEST, 11),
        attack=attack,
        twin=words,
        oracles=frozenset({Oracle.TWIN, Oracle.SLOPE, Oracle.STALL, Oracle.LIVENESS}),
        taxonomy=Taxonomy(atlas=("AML.T0043.001", "AML.T0034.001"), cwe=(405, 407)),
        severity=Severity.WARNING,
        expect=Expect(exponent=1.6),
        remedy="bound the work per byte: longest word, normalisation, and tokens before they are computed",
    )
