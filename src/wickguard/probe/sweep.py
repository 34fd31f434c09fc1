"""Sweeps: what each feature costs, one at a time and then in pairs, as cases of benign inputs that only get larger.

Decides which features a target has and how far each is grown. The inputs are the guard's own `synthesize`, so what is
measured here is what the guard would price. Promises geometric sizes. It must not know how cases are run.
"""

from __future__ import annotations

import math
import random

from wickguard.modality.text import synthesize
from wickguard.probe.case import ANY_DIALECT, Build, Case, Expect, Profile, Risk, Spelling, geometric
from wickguard.probe.finding import Oracle, Severity, Taxonomy
from wickguard.probe.trace import Trace, single
from wickguard.units import KIB, MIB

_TAXONOMY = Taxonomy(atlas=("AML.T0034.001",), cwe=(400, 770))
_ORACLES = frozenset(
    {Oracle.SLOPE, Oracle.CLIFF, Oracle.STALL, Oracle.MEMORY, Oracle.COLLATERAL, Oracle.RECOVERY, Oracle.LIVENESS}
)
# Attention is quadratic in one text, and rightly so: only what is clearly steeper than a mixture of both is suspicious.
_EXPECT = Expect(exponent=1.6, bytes_per_byte=256.0, memory_floor_bytes=128 * MIB)
_SHORT_TEXT_BYTES = 32
PREFIX = "sweep:"


def _inputs(target: Spelling, size: int, chance: random.Random) -> Trace:
    return single(target.request(synthesize([_SHORT_TEXT_BYTES] * size)))


def _text_bytes(target: Spelling, size: int, chance: random.Random) -> Trace:
    return single(target.request(synthesize([size])))


def _square(target: Spelling, size: int, chance: random.Random) -> Trace:
    # As many inputs as each has units of 16 bytes: both grow as the square root of the whole.
    side = max(1, round(math.sqrt(size / 16)))
    return single(target.request(synthesize([16 * side] * side)))


def _rows(target: Spelling, size: int, chance: random.Random) -> Trace:
    return single(target.request(["rows"] * size))


def _max_tokens(target: Spelling, size: int, chance: random.Random) -> Trace:
    return single(target.request(["Count from one to ten thousand in words."], max_tokens=size))


def sweeps(target: Spelling) -> tuple[Case, ...]:
    """The sweeps that make sense for a target, single features first."""
    generative = target.path.endswith("completions")
    if target.dialect == "oip":
        return (_case("rows", "rows", geometric(1, 65_536, 13), _rows),)
    found = [_case("text_bytes", "bytes of one text", geometric(128, MIB, 14), _text_bytes)]
    if generative:
        found.append(_case("max_tokens", "max_tokens", geometric(1, 1024, 8), _max_tokens))
    else:
        found.append(_case("inputs", "inputs", geometric(1, 2048, 12), _inputs))
        found.append(
            _case("inputs x text_bytes", "bytes, as many inputs as each is long", geometric(KIB, MIB, 11), _square)
        )
    return tuple(found)


def _case(name: str, feature: str, sizes: tuple[int, ...], attack: Build) -> Case:
    return Case(
        id=PREFIX + name,
        title=f"Cost of {feature}",
        risk=Risk.LIGHT,
        dialects=ANY_DIALECT,
        feature=feature,
        sizes=sizes,
        attack=attack,
        twin=None,
        oracles=_ORACLES,
        taxonomy=_TAXONOMY,
        severity=Severity.WARNING,
        expect=_EXPECT,
        profile=Profile.SHORT,
        remedy="limit it before the work begins, and price it by what it costs",
    )
