"""The search: from a dictionary of structures to the dearest combination of them, by evolution.

Decides who survives: children of the dearest so far, by coupling with each structure, mutation and crossing. Promises that
the same seed and the same costs try the same texts in the same order; that the least of a genome's readings counts, since
noise only adds; and that whoever is handed out as best was read `READINGS` times at least (of many single readings the
luckiest wins otherwise). It must not know how a text is sent.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Awaitable, Callable, Sequence

from wickguard.modality.text import synthesize
from wickguard.probe.genome import Genome, couples, cross, mutate, seeds

# Seconds that a text costs; None when it is refused, which costs nobody much.
Measure = Callable[[str], Awaitable[float | None]]

READINGS = 3
_ELITES = 4
_CONTROL_EVERY = 5
_CONTROLS = 9
_POPULATION = 8
_CHILDREN = 12
_GENERATIONS = 25
_PATIENCE = 5
_BETTER = 1.05
_MUTATED = 0.7


class Search:
    """One per run. budget_bytes: of every text. may_go_on: asked before each text; when it says no, the search ends early."""

    def __init__(
        self, measure: Measure, may_go_on: Callable[[], bool], chance: random.Random, budget_bytes: int
    ) -> None:
        self._measure = measure
        self._may_go_on = may_go_on
        self._chance = chance
        self._budget_bytes = budget_bytes
        self._controls: list[float] = []
        self.readings: dict[Genome, list[float]] = {}

    async def dictionary(self) -> list[Genome]:
        """The dearest of the dictionary, dearest first; empty when all were refused."""
        order = seeds()
        self._chance.shuffle(order)
        await self._read(order)
        return await self._settled(list(self.readings))

    async def evolve(self, population: list[Genome]) -> list[Genome]:
        """The dearest of some generations that begin with `population`, dearest first."""
        best, stale = self.value(population[0]), 0
        for generation in range(_GENERATIONS):
            # Where two structures have to meet, chance would rarely bring them together: the first generation is everything
            # that the dearest can have before or behind it.
            bred = couples(population[0]) if generation == 0 else [self._child(population) for _ in range(_CHILDREN)]
            children = list(dict.fromkeys(bred))
            await self._read([child for child in children if child not in self.readings])
            ranked = self._ranked([*dict.fromkeys([*population, *children])])
            population = await self._settled(ranked[:_POPULATION])
            stale = 0 if self.value(population[0]) > best * _BETTER else stale + 1
            best = self.value(population[0])
            if stale >= _PATIENCE or not self._may_go_on():
                break
        return population

    def value(self, genome: Genome) -> float:
        """The least of its readings over the running median of ordinary words of the same bytes; 0 when it has none."""
        control = statistics.median(self._controls[-_CONTROLS:]) if self._controls else 0.0
        return min(self.readings[genome]) / control if control > 0 and self.readings.get(genome) else 0.0

    async def _settled(self, genomes: list[Genome]) -> list[Genome]:
        """The first of them read often enough, in their order then; the very first is one that stayed first."""
        ranked = self._ranked(genomes)
        # Each round reads one that lacks a reading, if it is answered at all.
        for _ in range(READINGS * len(genomes)):
            fresh = [genome for genome in ranked[:_ELITES] if len(self.readings[genome]) < READINGS]
            if not fresh or not self._may_go_on():
                break
            await self._read(fresh)
            ranked = self._ranked(genomes)
        # What was read once may only be lucky: it stays in the population, behind those that are known.
        return sorted(ranked, key=lambda genome: len(self.readings[genome]) < READINGS)

    def _ranked(self, genomes: list[Genome]) -> list[Genome]:
        known = [genome for genome in genomes if self.readings.get(genome)]
        return sorted(known, key=self.value, reverse=True)

    async def _read(self, genomes: Sequence[Genome]) -> None:
        for index, genome in enumerate(genomes):
            if not self._may_go_on():
                return
            if index % _CONTROL_EVERY == 0:
                await self._control()
            cost_s = await self._measure(genome.text(self._budget_bytes))
            if cost_s is not None:
                self.readings.setdefault(genome, []).append(cost_s)

    async def _control(self) -> None:
        cost_s = await self._measure(synthesize([self._budget_bytes])[0])
        if cost_s is not None:
            self._controls.append(cost_s)

    def _child(self, population: list[Genome]) -> Genome:
        if self._chance.random() < _MUTATED:
            return mutate(self._chance.choice(population), self._chance)
        return cross(self._chance.choice(population), self._chance.choice(population), self._chance)
