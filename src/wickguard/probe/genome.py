"""Genomes: texts as a few structures in a row, which can be changed and combined.

Decides how a text is written down so that a search can move: an atom and its share of the bytes, so many times. Promises that
one text structure has one genome (neighbours of one atom are one gene, weights have no common factor), that the same seed
gives the same children, and texts of at most the bytes asked for. It must not know costs.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

from wickguard.probe.atoms import ATOMS

_MOST_GENES = 8
_MOST_WEIGHT = 64


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

    def without(self, index: int) -> Genome | None:
        """One gene less; None when it is the last."""
        return genome(self.genes[:index] + self.genes[index + 1 :]) if len(self.genes) > 1 else None

    def describe(self) -> str:
        """For people."""
        return " + ".join(f"{gene.weight} x {gene.atom}" if len(self.genes) > 1 else gene.atom for gene in self.genes)


def genome(genes: Iterable[Gene]) -> Genome:
    """The one way to write these genes down."""
    joined = [
        Gene(atom, min(_MOST_WEIGHT, sum(gene.weight for gene in run)))
        for atom, run in groupby(genes, key=lambda gene: gene.atom)
    ][:_MOST_GENES]
    factor = math.gcd(*(gene.weight for gene in joined))
    return Genome(tuple(Gene(gene.atom, gene.weight // factor) for gene in joined))


def seeds() -> list[Genome]:
    """The dictionary, one genome for each atom."""
    return [Genome((Gene(name, 1),)) for name in ATOMS]


def couples(partner: Genome) -> list[Genome]:
    """Each structure of the dictionary before `partner`, and behind it."""
    return [
        genome(genes) for atom in ATOMS for genes in ((Gene(atom, 1), *partner.genes), (*partner.genes, Gene(atom, 1)))
    ]


def mutate(parent: Genome, chance: random.Random) -> Genome:
    """Insert a gene, drop one, or change a weight."""
    genes = list(parent.genes)
    kind = chance.random()
    if kind < 0.4 or len(genes) == 1:
        genes.insert(chance.randint(0, len(genes)), Gene(chance.choice(sorted(ATOMS)), chance.randint(1, 4)))
    elif kind < 0.6:
        del genes[chance.randrange(len(genes))]
    else:
        at = chance.randrange(len(genes))
        weight = genes[at].weight * 2 if chance.random() < 0.5 else genes[at].weight // 2
        genes[at] = Gene(genes[at].atom, max(1, weight))
    return genome(genes)


def cross(first: Genome, second: Genome, chance: random.Random) -> Genome:
    """The head of one and the tail of the other."""
    head = first.genes[: chance.randint(1, len(first.genes))]
    return genome(head + second.genes[chance.randrange(len(second.genes)) :])
