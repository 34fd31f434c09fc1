"""The cost model of one served model: what its features mean in work, and between which bounds any price must lie.

Decides the interface only: each modality has one class for it. What it promises to the curve: every number that `basis` and
`memory_basis` give can only grow when a feature grows, and `bounds` too; that is all that the laws of price need. It must not
know how long anything took.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from wickguard.cost.curve import Curve
from wickguard.records import Features


@dataclass(frozen=True, slots=True)
class Bounds:
    """Between what a price may lie, whatever was measured or learned: CPU-seconds from below and above, and the most bytes.

    most_s is what the most expensive call with these features takes at the measured speed; PriceSettings.slowdown comes on top.
    """

    least_s: float
    most_s: float
    most_bytes: int


class CostModel(Protocol):
    """See the module."""

    @property
    def terms(self) -> tuple[str, ...]:
        """Names of the numbers in `basis`; a coefficient is seconds per unit of it."""
        ...

    @property
    def memory_terms(self) -> tuple[str, ...]:
        """Names of the numbers in `memory_basis`; a coefficient is bytes per unit of it."""
        ...

    @property
    def kinds(self) -> tuple[str, ...]:
        """What `kind` can answer, from the most certain to the least."""
        ...

    def prices(self, features: Features) -> bool:
        """Whether these are features of this modality; the other methods are called only then."""
        ...

    def kind(self, features: Features) -> str:
        """What sort of call it is; calls of one kind err alike. Growth of a feature must not change it."""
        ...

    def basis(self, features: Features) -> tuple[float, ...]:
        """Work, in the units of `terms`: CPU and wall time are weighted sums of it."""
        ...

    def shared(self, features: Features) -> tuple[float, ...]:
        """Of `basis`, what calls that run together do once and not each, less what takes its place; () for nothing."""
        ...

    def memory_basis(self, features: Features) -> tuple[float, ...]:
        """Work, in the units of `memory_terms`."""
        ...

    def bounds(self, features: Features) -> Bounds:
        """See Bounds."""
        ...

    def assumed(self) -> Curve:
        """The curve of a model that has not been calibrated: a speed, and assumptions for everything else."""
        ...
