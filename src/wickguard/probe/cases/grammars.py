"""Cases of grammars: schemas, grammars, expressions and templates of the caller that are compiled before a token is written.

G06, G08 and G10 of research/attacks.md section 9. Decides shapes whose bytes grow by a constant, or not at all, while what a
compiler makes of them doubles. Promises that a twin, where there is one, has the same bytes and compiles to as little as it
seems. It must not know any compiler. Bounds: 2^18 nodes or states for one request; what may fill a memory (22 levels of
references are 2 GiB in the zoo) is of the risk class crash.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from wickguard.probe.case import Build, Case, Expect, Intake, Profile, Risk, Spelling, geometric
from wickguard.probe.cases.payload import GROWTH, OPENAI, SERVED_OR_REFUSED, SPARE, prose, taxonomy
from wickguard.probe.finding import Oracle, Severity
from wickguard.probe.trace import Trace, single

_ITERATIONS = 1000


def _formatted(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "wickguard_probe", "schema": schema}}


def _referring(second: Callable[[int], dict[str, str]]) -> Build:
    """Definitions each of which has the one before it as one property; `second` makes the other one."""

    def build(target: Spelling, size: int, chance: random.Random) -> Trace:
        found: dict[str, Any] = {"d0": {"type": "string"}}
        for level in range(1, size + 1):
            properties = {"a": {"$ref": f"#/$defs/d{level - 1}"}, "b": second(level - 1)}
            found[f"d{level}"] = {"type": "object", "properties": properties}
        schema = {"$defs": found, "type": "object", "properties": {"a": {"$ref": f"#/$defs/d{size}"}}}
        return single(target.request(["quiet river"], response_format=_formatted(schema)))

    return build


_doubling = _referring(lambda level: {"$ref": f"#/$defs/d{level}"})
_chained = _referring(lambda level: {"type": "string"})


def _enumerated(target: Spelling, size: int, chance: random.Random) -> Trace:
    schema = {"type": "object", "properties": {"a": {"enum": [f"choice {index}" for index in range(size)]}}}
    return single(target.request(["quiet river"], response_format=_formatted(schema)))


def _described(target: Spelling, size: int, chance: random.Random) -> Trace:
    schema = {"type": "object", "properties": {"a": {"type": "string", "description": prose(15 * size)}}}
    return single(target.request(["quiet river"], response_format=_formatted(schema)))


def _guided(target: Spelling, kind: str, short: str, text: str) -> Trace:
    """One grammar under the names that servers give it; a server that knows none of them refuses, or writes as ever."""
    fields: dict[str, object] = {f"guided_{kind}": text, "structured_outputs": {kind: text}, short: text, kind: text}
    return single(target.request(["quiet river"], **fields))


def _nested(target: Spelling, size: int, chance: random.Random) -> Trace:
    return _guided(target, "grammar", "ebnf", "root ::= " + "(" * size + '"a"' + ")" * size)


def _automaton(before: str) -> Build:
    def build(target: Spelling, size: int, chance: random.Random) -> Trace:
        return _guided(target, "regex", "regex", f"(a|b)*{before}(a|b){{{size}}}")

    return build


def _looping(target: Spelling, size: int, chance: random.Random) -> Trace:
    # Sandboxes bound the range of one loop. The loops write nothing: what they cost is time alone.
    loop = f"{{% for i in range({size}) %}}{{% for j in range({_ITERATIONS}) %}}{{% endfor %}}{{% endfor %}}"
    return single(target.request(["quiet river"], chat_template=f"{loop}quiet river"))


# EARLY: what is refused once it has been compiled costs as much as what is served.
_COMPILED = frozenset({Oracle.SLOPE, Oracle.TWIN, Oracle.STALL, Oracle.EARLY, Oracle.LIVENESS})
_COUNT_NODES = "count the nodes of a schema while its references are followed, and refuse it beyond a few thousand"

_CASES = (
    Case(
        id="G06", title="References in a schema double it at each level", risk=Risk.LIGHT, dialects=OPENAI,
        feature="levels of references", sizes=(4, 6, 8, 10, 12, 14, 16, 18), attack=_doubling, twin=_chained,
        oracles=_COMPILED, taxonomy=taxonomy("674 407 834"), severity=Severity.ERROR, expect=SPARE, remedy=_COUNT_NODES,
    ),
    Case(
        id="G06.deep", title="References in a schema fill the memory", risk=Risk.CRASH, dialects=OPENAI,
        feature="levels of references", sizes=(18, 20, 22, 24, 26), attack=_doubling, twin=_chained,
        oracles=_COMPILED | {Oracle.MEMORY}, taxonomy=taxonomy("674 407 834"), severity=Severity.ERROR, expect=SPARE,
        profile=Profile.DEEP, remedy=_COUNT_NODES,
    ),
    Case(
        id="G06.enum", title="Any number of alternatives is compiled", risk=Risk.LIGHT, dialects=OPENAI,
        feature="alternatives", sizes=geometric(100, 12_000, 5), attack=_enumerated, twin=_described, oracles=GROWTH,
        taxonomy=taxonomy("407 834"), expect=SPARE, profile=Profile.STANDARD,
        remedy="bound the alternatives of a schema, and their bytes",
    ),
    Case(
        id="G08", title="A nested grammar is compiled without a limit", risk=Risk.LIGHT, dialects=OPENAI,
        feature="parentheses", sizes=geometric(64, 4096, 4), attack=_nested, twin=None,
        oracles=(_COMPILED - {Oracle.TWIN}) | {Oracle.STATUS, Oracle.RETRY},
        taxonomy=taxonomy("674 835"), severity=Severity.ERROR, expect=SPARE, profile=Profile.STANDARD,
        remedy="bound the depth and the bytes of a grammar, and compile it under a deadline in a process that may end",
    ),
    Case(
        id="G08.deep", title="A deeply nested grammar ends the process", risk=Risk.CRASH, dialects=OPENAI,
        feature="parentheses", sizes=(10_000, 30_000), attack=_nested, twin=None,
        oracles=frozenset({Oracle.LIVENESS, Oracle.STATUS}), taxonomy=taxonomy("674 835"), severity=Severity.ERROR,
        expect=SPARE, profile=Profile.DEEP,
        remedy="bound the depth and the bytes of a grammar, and compile it under a deadline in a process that may end",
    ),
    Case(
        id="G08.regex", title="An expression doubles its automaton with each letter", risk=Risk.LIGHT,
        dialects=OPENAI, feature="letters after the first sign", sizes=(4, 6, 8, 10, 12, 14, 16),
        # With a sign that is no letter before them there is nothing to guess, and as many states as letters.
        attack=_automaton("a"), twin=_automaton("c"), oracles=_COMPILED, taxonomy=taxonomy("1333 834"),
        severity=Severity.ERROR, expect=SPARE, profile=Profile.STANDARD,
        remedy="bound the states of an automaton while it is made, or run expressions without making one",
    ),
    Case(
        id="G10", title="A template of the caller is run", risk=Risk.LIGHT, dialects=OPENAI,
        feature="thousands of turns of a loop", sizes=geometric(10, 30_000, 7), attack=_looping, twin=None,
        oracles=_COMPILED - {Oracle.TWIN}, taxonomy=taxonomy("20 400"),
        # The bytes don't grow: nothing else may either.
        severity=Severity.ERROR, expect=Expect(statuses=SERVED_OR_REFUSED, exponent=0.5),
        remedy="refuse chat_template and chat_template_kwargs in requests",
    ),
)  # fmt: skip
CASES = tuple(replace(case, takes=Intake.PROMPT) for case in _CASES)
