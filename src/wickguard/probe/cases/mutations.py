"""Mutations: the ordinary request with parts of it exchanged for what does not belong there.

Decides by a walk over the document which parts there are, and by the seed which of them are changed together. Promises that
one change at a time is tried at every part before several are, as far as a trace has room, and that the same seed makes the
same documents. It must not know what a field means, but for the length of an answer (without it some servers write until their
context ends, and G01 asks for it): what a route can't use it should refuse as the client's mistake. Bounds: 40 documents and
4 MiB in a trace, each at most twice the ordinary one and 4 KiB.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

from wickguard.probe.case import ANY_DIALECT, Case, Expect, Risk, Spelling
from wickguard.probe.cases.payload import SERVED_OR_REFUSED, as_many, document, paced, taxonomy
from wickguard.probe.finding import Oracle
from wickguard.probe.trace import Request, Trace
from wickguard.units import MIB

MOST_DOCUMENTS = 40
MOST_BYTES = 4 * MIB
_LENGTHS = ("max_tokens", "max_completion_tokens")
Path = tuple[str | int, ...]
_DEEP: Any = {"a": {"a": {"a": {"a": {"a": [[[[[]]]]]}}}}}
# What stands for a part, and how it is called.
VALUES: dict[str, Any] = {
    "null": None,
    "true": True,
    "0": 0,
    "-1": -1,
    "1.5": 1.5,
    "2^63": 2**63,
    "1e308": 1e308,
    "an empty text": "",
    "a text of a number": "7",
    "a long text": "x" * 4096,
    "control characters": "\x00\x1b\u2028",
    "an empty list": [],
    "an empty object": {},
    "a list of lists": [[[]], [[]]],
    "a list of kinds": [1, "a", None, {}],
    "an object in objects": _DEEP,
}
_GONE = "left out"
_MORE = "said twice as much"


def parts(found: Any, at: Path = ()) -> Iterator[Path]:
    """Every part of a document, itself first; of a list the first element and the last."""
    yield at
    if isinstance(found, dict):
        for name, inner in found.items():
            yield from parts(inner, (*at, name))
    elif isinstance(found, list):
        for index in sorted({0, len(found) - 1}) if found else ():
            yield from parts(found[index], (*at, index))


def mutate(found: Any, at: Path, change: str) -> Any:
    """The document with one part exchanged, left out or said twice; as it was where there is no such part."""
    if not at:
        return VALUES.get(change, [found, found] if change == _MORE else None)
    changed = copy.deepcopy(found)
    inner: Any = changed
    try:
        for key in at[:-1]:
            inner = inner[key]
        here = inner[at[-1]]
        if change == _GONE:
            del inner[at[-1]]
        else:
            inner[at[-1]] = [here, here] if change == _MORE else VALUES[change]
    except (KeyError, IndexError, TypeError):
        # An earlier change took away what this one is about.
        return found
    return changed


def _documents(target: Spelling, size: int, chance: random.Random) -> Iterator[tuple[str, Request]]:
    ordinary = document(target)
    places = [at for at in parts(ordinary) if not at or at[-1] not in _LENGTHS]
    single = [(at, change) for at in places for change in (*VALUES, _GONE, _MORE)]
    chance.shuffle(single)
    room = max(1, MOST_BYTES // (2 * len(json.dumps(ordinary))))
    for index in range(min(MOST_DOCUMENTS, room, len(single) if size == 1 else MOST_DOCUMENTS)):
        chosen = [single[index]] if size == 1 else chance.sample(single, min(size, len(single)))
        changed = ordinary
        for at, change in chosen:
            changed = mutate(changed, at, change)
        label = ", ".join(f"{'/'.join(map(str, at)) or 'the document'}: {change}" for at, change in chosen)
        yield label, target.json(json.dumps(changed).encode())


def _mutated(target: Spelling, size: int, chance: random.Random) -> Trace:
    return paced(_documents(target, size, chance))


CASES = (
    Case(
        id="N03", title="A document with a part that does not belong there is answered as if the server were at fault",
        risk=Risk.LIGHT, dialects=ANY_DIALECT, feature="parts exchanged", sizes=(1, 3), attack=_mutated, twin=as_many(_mutated),
        oracles=frozenset({Oracle.STATUS, Oracle.LIVENESS, Oracle.RETRY}), taxonomy=taxonomy("20 755"),
        expect=Expect(statuses=SERVED_OR_REFUSED),
        remedy="check the type and range of every field before anything is computed, and answer 4xx",
    ),
)  # fmt: skip
