"""Manifest: what is planted in one server of the zoo, and how a probe should name it.

Decides nothing; it is the ground truth that tests and benches compare with. The defect and its twin are the same program,
told apart by one flag, so that whatever is found in one and not in the other is the defect.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Manifest:
    """One defect. `name` is the module: `python -m tests.zoo.NAME --port P [--sound]`.

    cases: ids of the catalogue (or of sweeps, "sweep:FEATURE") of which at least one must fail by one of `oracles`: then the
    defect is named. exponent: of cost over the swept size, where the defect has one. pattern: F1 to F9, the failure patterns
    seen in public. path: the route to probe. may_crash: the defect kills the process (a supervisor starts it again).
    """

    name: str
    defect: str
    twin: str
    cases: tuple[str, ...]
    oracles: tuple[str, ...]
    cwe: tuple[int, ...]
    pattern: str
    exponent: float | None = None
    dialect: str = "openai"
    path: str = "/v1/embeddings"
    may_crash: bool = False
