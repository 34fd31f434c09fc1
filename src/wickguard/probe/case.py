"""Cases: one attack each, as data and a generator, with its benign twin and what a sound server does.

Decides the shape of the catalogue (the cases themselves are in cases.py and its siblings). Promises that a case builds the
same traces from the same spelling, size and seed, and that its sizes grow geometrically, so that it can stop at the first
failure. It must not know how traces are sent or judged.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from wickguard.probe.finding import Oracle, Severity, Taxonomy
from wickguard.probe.trace import Request, Trace


class Risk(StrEnum):
    """What a case can do to an unsound target.

    passive: small requests, a few at a time. light: seconds of one core, a few hundred megabytes. heavy: slows others down.
    crash: may end the process or fill its memory. Heavy ones run from profile `standard` on, crash only in `deep`.
    """

    PASSIVE = "passive"
    LIGHT = "light"
    HEAVY = "heavy"
    CRASH = "crash"


class Profile(StrEnum):
    """How much a run does: short within 3 minutes, standard within 15, deep as long as its limits allow."""

    SHORT = "short"
    STANDARD = "standard"
    DEEP = "deep"

    @property
    def rank(self) -> int:
        """0 for short: what `Case.profile` is compared with."""
        return list(Profile).index(self)


class Intake(StrEnum):
    """What a route is given. prompt: a text that is to be continued, which is more than a text."""

    TEXT = "text"
    PROMPT = "prompt"
    PICTURE = "picture"
    SERIES = "series"


class Spelling(Protocol):
    """How one target wants its requests: what generators build with."""

    @property
    def dialect(self) -> str:
        """openai, tei, oip or openapi."""
        ...

    @property
    def path(self) -> str:
        """The route under test, with a leading slash."""
        ...

    @property
    def aliases(self) -> tuple[str, ...]:
        """Other routes of the target that do the same work, in its own dialect or another; may be empty."""
        ...

    @property
    def model(self) -> str:
        """The model's name, "" when the dialect has none."""
        ...

    @property
    def limits(self) -> dict[str, int]:
        """What the target says of itself: max_inputs, max_bytes (of a body), max_tokens. Keys may be missing."""
        ...

    @property
    def takes(self) -> frozenset[Intake]:
        """What the route under test is given; empty for tensors, whose meaning is nobody's but the model's."""
        ...

    @property
    def input_at(self) -> tuple[str | int, ...]:
        """What leads from the body of an ordinary request to its input: keys, and places in lists."""
        ...

    def request(self, inputs: Sequence[str], **fields: object) -> Request:
        """A well-formed request for `inputs` on the route under test; `fields` are added to the body as they are."""
        ...

    def showing(self, *pictures: str) -> Request:
        """A request for pictures, each as the text that stands for it in JSON; only on routes that take pictures."""
        ...

    def as_text(self, picture: bytes) -> str:
        """What stands for a picture file in JSON: base64, or a data URL."""
        ...

    def on(self, path: str, inputs: Sequence[str]) -> Request:
        """The same on an alias, spelled in that route's own dialect."""
        ...

    def json(self, document: object, path: str | None = None) -> Request:
        """Any document as a JSON body, on the route under test or on `path`."""
        ...


Build = Callable[[Spelling, int, random.Random], Trace]


@dataclass(frozen=True, slots=True)
class Expect:
    """What a sound server does; the oracles of the case compare with these.

    statuses: the only acceptable answers to the attack's measured steps (empty: any but 5xx). exponent: of cost in size,
    at most. twin_ratio: cost of the attack over its twin's, at most. bytes_per_byte: growth of memory per byte sent, at
    most, beyond `memory_floor_bytes`. accepted_bytes: of a body that will be refused, at most (EARLY). close_s: until an
    idle or unread connection is closed (CONNECTION). response_ratio: response over request bytes, at most. may_wait: whether
    the rest of an unfinished request may be waited for, or invited with 100 Continue (STATUS).
    """

    statuses: tuple[int, ...] = ()
    exponent: float = 1.3
    twin_ratio: float = 4.0
    bytes_per_byte: float = 32.0
    memory_floor_bytes: int = 32 * 1024 * 1024
    accepted_bytes: int = 2 * 1024 * 1024
    close_s: float = 15.0
    response_ratio: float = 64.0
    may_wait: bool = True


@dataclass(frozen=True, slots=True)
class Case:
    """One row of the catalogue.

    id: as in research/attacks.md section 9. feature: what `size` counts ("inputs", "bytes of one word"). sizes: grown from
    the first, stopped at the first failure. attack, twin: size -> trace; the twin sends about the same bytes in harmless
    structure (None: the target's ordinary request is compared). profile: the least profile that runs it. pause_s: waited
    after each trace. fresh: each repeat is built from a seed of its own, for targets that remember what they have seen.
    takes: what a route must be given for the case to mean something (None: any). remedy: the check that is missing where it
    fails, in one sentence.
    """

    id: str
    title: str
    risk: Risk
    dialects: frozenset[str]
    feature: str
    sizes: tuple[int, ...]
    attack: Build
    twin: Build | None
    oracles: frozenset[Oracle]
    taxonomy: Taxonomy
    severity: Severity = Severity.WARNING
    expect: Expect = Expect()
    profile: Profile = Profile.SHORT
    remedy: str = ""
    pause_s: float = 0.0
    fresh: bool = False
    takes: Intake | None = None


def family(**shared: Any) -> Callable[..., Case]:
    """Makes cases that have these fields in common: from an id, a title, an attack, and whatever else is a case's own."""

    def make(case_id: str, title: str, attack: Build, **own: Any) -> Case:
        return Case(id=case_id, title=title, attack=attack, **(shared | own))

    return make


ANY_DIALECT = frozenset({"openai", "tei", "oip", "openapi"})


def geometric(first: int, last: int, steps: int) -> tuple[int, ...]:
    """`steps` sizes from `first` to `last`, each the same factor above the one before; rounded, ascending, no doubles."""
    if steps < 2 or first == last:
        return (last,)
    factor = (last / first) ** (1 / (steps - 1))
    return tuple(sorted({round(first * factor**index) for index in range(steps)}))
