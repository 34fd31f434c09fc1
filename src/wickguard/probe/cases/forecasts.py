"""Cases of time series: counts and horizons that are believed, values that upset arithmetic, and lengths that don't match.

S ids of research/attacks.md section 9 (channels and timestamps are nothing that the route takes). Bounds: 100,000 points in
one request.
"""

from __future__ import annotations

import json
import random

from wickguard.modality import series
from wickguard.probe.case import Case, Expect, Intake, Profile, Risk, Spelling, family, geometric
from wickguard.probe.cases.payload import FATE, OPENAI, SERVED_OR_REFUSED, SPARE, beside, each, number, place, taxonomy
from wickguard.probe.finding import Oracle, Severity
from wickguard.probe.trace import Request, Trace, single
from wickguard.units import MIB

_SIDES = (4, 6, 8, 12, 16, 24, 32, 48, 64)
# Of the long series, for each of those beside it.
_LONG, _SHORT = 32, 4


def _quantiles(target: Spelling, size: int, chance: random.Random) -> Trace:
    levels = [(index + 1) / (size + 1) for index in range(size)]
    return single(beside(target, "quantiles", json.dumps(levels).encode()))


def _ragged(target: Spelling, size: int, chance: random.Random) -> Trace:
    """Count and longest grow together: what pads costs their product, what does not their sum."""
    return single(target.request((), series=series.synthesize([_LONG * size, *[_SHORT] * (size - 1)])))


def _even(target: Spelling, size: int, chance: random.Random) -> Trace:
    """The same points, spread evenly."""
    share = (_LONG * size + _SHORT * (size - 1)) // size
    return single(target.request((), series=series.synthesize([share] * size)))


_VALUES = {
    "NaN": "NaN",
    "Infinity": "Infinity",
    "beyond a double": "1e400",
    "the largest double": "1.7e308",
    "beyond single precision": "1e39",
    "the least denormal": "5e-324",
    "a text": '"1"',
    "true": "true",
    "a list": "[1]",
}
_LISTS = {
    "nothing but gaps": "[" + ",".join(["null"] * 32) + "]",
    "gaps at the end": "[1,2,3" + ",null" * 29 + "]",
    "a constant": "[" + ",".join(["7"] * 32) + "]",
    "zeros": "[" + ",".join(["0"] * 32) + "]",
    "the largest and the least in turn": "[" + ",".join(["3e38,-3e38"] * 16) + "]",
    "one point": "[1]",
    "no point": "[]",
    "no series": "[[],[]]",
    "a series among numbers": "[1,[2,3]]",
}


def _values(target: Spelling) -> list[tuple[str, Request]]:
    found = [(f"series with {label}", place(target, f"[1,2,{value},4]".encode())) for label, value in _VALUES.items()]
    return [*found, *((f"series of {label}", place(target, text.encode())) for label, text in _LISTS.items())]


def _parameters(target: Spelling) -> list[tuple[str, Request]]:
    literals = ("0", "-1", "null", "1.5", '"8"', "true", "[]", "2147483648", "9223372036854775808", "1e400")
    return [
        (f"{name} {literal}", beside(target, name, literal.encode()))
        for name in ("horizon", "num_samples", "quantiles", "temperature")
        for literal in literals
    ]


_case = family(
    risk=Risk.LIGHT, dialects=OPENAI, takes=Intake.SERIES, feature="", sizes=(1,), twin=None, oracles=FATE, expect=SPARE
)


def _counted(name: str) -> Case:
    # The bytes of a number don't grow with it: nothing else may either, beyond what the target allows.
    return _case(
        f"S03.{name}", f"The number in `{name}` is believed", number(name), feature=name,
        sizes=geometric(100, 1_000_000, 5), taxonomy=taxonomy("834 770"), severity=Severity.ERROR,
        oracles=frozenset({Oracle.SLOPE, Oracle.AMPLIFICATION, Oracle.MEMORY, Oracle.STALL, Oracle.STATUS}),
        expect=Expect(statuses=SERVED_OR_REFUSED, exponent=0.5, response_ratio=1024.0, memory_floor_bytes=32 * MIB),
        remedy=f"give `{name}` a range, and price series x horizon x samples",
    )  # fmt: skip


CASES = (
    _counted("horizon"),
    _counted("num_samples"),
    _case(
        "S03.quantiles", "Any number of quantiles is taken", _quantiles, feature="quantiles", sizes=geometric(8, 8192, 5),
        oracles=frozenset({Oracle.SLOPE, Oracle.STALL, Oracle.MEMORY, Oracle.AMPLIFICATION, Oracle.RETRY}),
        taxonomy=taxonomy("834 770"), profile=Profile.STANDARD, remedy="bound the number of quantiles",
    ),
    _case(
        "S05", "Values that are none, or all the same, upset the arithmetic", each(_values), risk=Risk.PASSIVE,
        taxonomy=taxonomy("369 248"), remedy="refuse what is not finite, and take care of a scale of zero",
    ),
    _case(
        "S05.parameters", "Odd parameters of a forecast are answered as if the server were at fault", each(_parameters),
        risk=Risk.PASSIVE, taxonomy=taxonomy("20 1284"), remedy="give each parameter a type and a range",
    ),
    _case(
        "S07", "One long series makes all short ones of a batch as dear as itself", _ragged, twin=_even, sizes=_SIDES,
        feature=f"series, the first {_LONG} points long for each of them", taxonomy=taxonomy("405"), severity=Severity.ERROR,
        oracles=frozenset({Oracle.SLOPE, Oracle.TWIN, Oracle.MEMORY}),
        remedy="price a batch at count x longest, or sort and split it instead of padding",
    ),
)  # fmt: skip
