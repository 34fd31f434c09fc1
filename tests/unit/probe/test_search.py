"""The search over structures, on costs that are functions of the text: what wins is what costs most, not what was read once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import pytest

from wickguard.probe.atoms import ATOMS
from wickguard.probe.genome import Gene, Genome, cross, genome, mutate, seeds
from wickguard.probe.search import READINGS, Search

BYTES = 1024
LINEAR_S = 1e-5


class Costs:
    """Costs of texts, and which texts were asked for, in order."""

    def __init__(self, cost: Callable[[str, int], float]) -> None:
        self.cost = cost
        self.asked: list[str] = []

    async def measure(self, text: str) -> float | None:
        """The cost of a text; `cost` is told how often it was asked for before."""
        self.asked.append(text)
        return self.cost(text, self.asked.count(text))


def search(costs: Costs, seed: int, may_go_on: Callable[[], bool] = lambda: True) -> tuple[Search, list[Genome]]:
    """All of a search, and the population that it ended with."""

    async def run() -> tuple[Search, list[Genome]]:
        made = Search(costs.measure, may_go_on, random.Random(seed), BYTES)
        found = await made.dictionary()
        return made, await made.evolve(found) if found else []

    return asyncio.run(run())


def pair(text: str, _: int) -> float:
    """Linear, but for a run of spaces that something follows: there it is quadratic."""
    run = len(text) - len(text.lstrip(" "))
    return LINEAR_S * len(text) + (1e-7 * run * run if run < len(text) else 0.0)


@pytest.mark.parametrize("seed", range(8))
def test_a_combination_is_found_when_no_structure_alone_is_dear(seed: int) -> None:
    """The dictionary holds no text that costs more than its bytes; the search makes one."""
    costs = Costs(pair)
    made, found = search(costs, seed)
    assert max(made.value(item) for item in seeds()) < 1.5
    assert made.value(found[0]) > 3
    assert found[0].genes[0].atom == "spaces"
    assert len(costs.asked) < 1000


@pytest.mark.parametrize("seed", range(8))
def test_first_reading_does_not_win_when_it_was_noise(seed: int) -> None:
    """Every tenth text is read as twenty times as dear, the first time only; whoever comes first was read often enough."""
    chance = random.Random(seed)
    spikes: dict[str, bool] = {}

    def noisy(text: str, count: int) -> float:
        spiked = spikes.setdefault(text, chance.random() < 0.1)
        return LINEAR_S * len(text.encode()) * (20 if spiked and count == 1 else 1)

    made, found = search(Costs(noisy), seed)
    assert len(made.readings[found[0]]) >= READINGS
    assert made.value(found[0]) < 2


def test_the_same_texts_are_tried_in_the_same_order_when_seed_and_costs_are_the_same() -> None:
    """And others under another seed."""
    runs = [Costs(pair), Costs(pair), Costs(pair)]
    for costs, seed in zip(runs, (3, 3, 4), strict=True):
        search(costs, seed)
    assert runs[0].asked == runs[1].asked
    assert runs[0].asked != runs[2].asked


def test_the_search_ends_when_it_may_not_go_on() -> None:
    """Between two texts, whatever stage it is in."""
    for most in (5, 60, 150):
        costs = Costs(pair)
        search(costs, 0, lambda most=most, costs=costs: len(costs.asked) < most)  # type: ignore[misc]
        assert len(costs.asked) <= most + 1


def test_nothing_is_found_when_every_text_is_refused() -> None:
    """Ordinary ones as well as the dictionary."""

    async def refuse(text: str) -> float | None:
        return None

    made = Search(refuse, lambda: True, random.Random(0), BYTES)
    assert asyncio.run(made.dictionary()) == []


def test_a_structure_has_one_genome_when_it_is_written_in_several_ways() -> None:
    """Neighbours of one atom are one gene; only the relation of weights counts."""
    one = genome([Gene("spaces", 2), Gene("spaces", 4), Gene("dots", 3)])
    assert one == Genome((Gene("spaces", 2), Gene("dots", 1)))
    assert one.text(300) == " " * 200 + "." * 100
    assert one.without(1) == Genome((Gene("spaces", 1),))
    assert one.without(0).without(0) is None  # type: ignore[union-attr]


def test_children_stay_small_and_in_bounds_when_they_are_bred_for_long() -> None:
    """Any number of generations: few genes, known atoms, and no text beyond its bytes."""
    chance = random.Random(1)
    population = seeds()
    for _ in range(2000):
        child = mutate(chance.choice(population), chance)
        child = cross(child, chance.choice(population), chance)
        population[chance.randrange(len(population))] = child
        assert 1 <= len(child.genes) <= 8
        assert all(gene.atom in ATOMS and 1 <= gene.weight <= 64 for gene in child.genes)
        assert len(child.text(512).encode()) <= 512
