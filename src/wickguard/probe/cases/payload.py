"""Payloads: the pieces that cases build their requests from, in any of the fixed dialects.

Decides where in a document the input stands: a case writes hostile JSON there and leaves everything else as the target
wants it. Promises bytes that depend on nothing but the arguments. It must not know what any case is after.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from wickguard.modality.text import synthesize
from wickguard.probe.case import Build, Expect, Spelling
from wickguard.probe.finding import Oracle, Taxonomy
from wickguard.probe.trace import RAW_HOST, Request, Step, Trace, single

_AT_ONCE = 4
# Stands where the hostile value goes, until the document is bytes.
_MARK = "wickguard-probe-puts-it-here"
_SHORT_FORMS = {
    "T29": "AML.T0029",
    "T34.0": "AML.T0034.000",
    "T34.1": "AML.T0034.001",
    "T43": "AML.T0043",
    "T46": "AML.T0046",
}

# Of an OpenAPI document, the routes that take a text (the plan leaves out the others).
TEXT = frozenset({"openai", "tei", "openapi"})
TENSOR = frozenset({"oip"})
OPENAI = frozenset({"openai"})

# What a sound server may say to a request that can never succeed, and to one that it may also serve.
REFUSED = (400, 401, 403, 404, 405, 411, 413, 414, 415, 417, 421, 422, 431, 501, 505)
SERVED_OR_REFUSED = (200, *REFUSED)
SPARE = Expect(statuses=SERVED_OR_REFUSED)
# What becomes of a request whose structure is wrong, and of one that has too much of something.
FATE = frozenset({Oracle.STATUS, Oracle.LIVENESS, Oracle.RETRY})
GROWTH = frozenset({Oracle.SLOPE, Oracle.STALL, Oracle.MEMORY, Oracle.RETRY})
# Python hashes an integer modulo this number: multiples of it all have the same hash.
COLLIDING = 2**61 - 1
NO_SUCH_ROUTE = "/wickguard-probe/no-such-route"


def taxonomy(forms: str) -> Taxonomy:
    """Ids from short forms: `L` OWASP LLM, `T29` ... MITRE ATLAS, numbers CWE. API4:2023 always."""
    words = forms.split()
    return Taxonomy(
        owasp_llm=("LLM10:2025",) if "L" in words else (),
        atlas=tuple(_SHORT_FORMS[word] for word in words if word in _SHORT_FORMS),
        cwe=tuple(int(word) for word in words if word.isdigit()),
    )


def prose(size_bytes: int) -> str:
    """Ordinary words of exactly `size_bytes` bytes."""
    return synthesize([size_bytes])[0]


def document(target: Spelling, inputs: Sequence[str] = ("quiet river",)) -> dict[str, Any]:
    """The target's ordinary request as a document that may be changed."""
    found: dict[str, Any] = json.loads(target.request(inputs).body)
    return found


def number(name: str) -> Build:
    """Builds the ordinary request with one more field, `name`, whose value is the size."""

    def build(target: Spelling, size: int, chance: random.Random) -> Trace:
        return single(beside(target, name, b"%d" % size))

    return build


def place(target: Spelling, value: bytes) -> Request:
    """The ordinary request with `value`, JSON as it is, where its input stands."""
    return target.json(_spliced(_with_input(document(target), target.input_at, _MARK), value))


def beside(target: Spelling, name: str, value: bytes) -> Request:
    """The ordinary request with one more field, `name`, whose value is `value`, JSON as it is."""
    return target.json(_spliced(document(target) | {name: _MARK}, value))


def texts(make: Callable[[int], Sequence[str]]) -> Build:
    """Builds one request for the texts that `make` gives for a size."""

    def build(target: Spelling, size: int, chance: random.Random) -> Trace:
        return single(target.request(make(size)))

    return build


def values(make: Callable[[int], bytes]) -> Build:
    """Builds one request whose input is the JSON that `make` gives for a size."""

    def build(target: Spelling, size: int, chance: random.Random) -> Trace:
        return single(place(target, make(size)))

    return build


def each(make: Callable[[Spelling], Sequence[tuple[str, Request]]], *, hold_s: float = 0.0) -> Build:
    """Builds one step for each labelled request, one after the other, each on a connection of its own.

    hold_s: of requests that promise more than they send, how long to wait for the answer.
    """

    def build(target: Spelling, size: int, chance: random.Random) -> Trace:
        found = make(target)
        complete = hold_s == 0
        return Trace(
            tuple(
                Step(request, at_s=index * 0.01, label=label, hold_s=hold_s, complete=complete)
                for index, (label, request) in enumerate(found)
            )
        )

    return build


def paced(labelled: Iterable[tuple[str, Request]], gap_s: float = 0.015, note: str = "") -> Trace:
    """One after the other on a few connections, sixty a second: no crowd, whatever each of them takes."""
    return Trace(
        tuple(
            Step(request, at_s=index * gap_s, connection=1 + index % _AT_ONCE, label=label)
            for index, (label, request) in enumerate(labelled)
        ),
        note=note,
    )


def as_many(attack: Build) -> Build:
    """Builds the twin: as many ordinary requests as the attack has steps, at the same pace."""

    def build(target: Spelling, size: int, chance: random.Random) -> Trace:
        count = len(attack(target, size, chance).steps)
        return paced([("an ordinary request", target.request(["quiet river"]))] * count)

    return build


def head(target: Spelling, fields: Sequence[str], *, method: str = "POST", path: str | None = None) -> bytes:
    """A request head as bytes, with `fields` as they are and no others but Host (and the key, when it is sent)."""
    rest = "".join(f"{line}\r\n" for line in (*fields, "")).encode("latin-1")
    return f"{method} {path or target.path} HTTP/1.1\r\n".encode("latin-1") + RAW_HOST + rest


def raw(target: Spelling, fields: Sequence[str], body: bytes = b"") -> Request:
    """A request whose bytes are exactly these: the head of the route with `fields`, then `body`."""
    return Request(path=target.path, raw=head(target, fields) + body)


def _with_input(found: dict[str, Any], at: Sequence[str | int], value: object) -> dict[str, Any]:
    inner: Any = found
    for key in at[:-1]:
        inner = inner[key]
    inner[at[-1]] = value
    return found


def _spliced(found: dict[str, Any], value: bytes) -> bytes:
    return json.dumps(found).encode().replace(b'"' + _MARK.encode() + b'"', value, 1)
