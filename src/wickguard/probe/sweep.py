"""Sweeps: what each feature costs, one at a time and then in pairs, as cases of benign inputs that only get larger.

Decides which features a target has and how far each is grown. The inputs are the guard's own `synthesize`, so what is
measured here is what the guard would price. Promises geometric sizes. It must not know how cases are run.
"""

from __future__ import annotations

import math
import random
from dataclasses import replace

from wickguard.modality import image, series
from wickguard.modality.text import synthesize
from wickguard.probe.case import ANY_DIALECT, Build, Case, Expect, Intake, Profile, Risk, Spelling, geometric
from wickguard.probe.finding import Oracle, Severity, Taxonomy
from wickguard.probe.openapi import Growth, Kind
from wickguard.probe.spelling import TargetSpelling
from wickguard.probe.trace import Trace, single
from wickguard.units import KIB, MIB

_TAXONOMY = Taxonomy(atlas=("AML.T0034.001",), cwe=(400, 770))
_ORACLES = frozenset(
    {Oracle.SLOPE, Oracle.CLIFF, Oracle.STALL, Oracle.MEMORY, Oracle.COLLATERAL, Oracle.RECOVERY, Oracle.LIVENESS}
)
# Attention is quadratic in one text, and rightly so: only what is clearly steeper than a mixture of both is suspicious.
_EXPECT = Expect(exponent=1.6, bytes_per_byte=256.0, memory_floor_bytes=128 * MIB)
_OF_NUMBERS = frozenset(
    {Oracle.SLOPE, Oracle.CLIFF, Oracle.STALL, Oracle.MEMORY, Oracle.AMPLIFICATION, Oracle.LIVENESS}
)
_SHORT_TEXT_BYTES = 32
_SHORT_SERIES = 32
_LARGEST_NUMBER = 1_000_000
_SQUARE = "bytes, as many inputs as each is long"
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


def _pixels(target: Spelling, size: int, chance: random.Random) -> Trace:
    side = round(math.sqrt(size))
    return single(target.showing(target.as_text(image.synthesize(side, side))))


def _points(target: Spelling, size: int, chance: random.Random) -> Trace:
    return single(target.request((), series=series.synthesize([size])))


def _series(target: Spelling, size: int, chance: random.Random) -> Trace:
    return single(target.request((), series=series.synthesize([_SHORT_SERIES] * size)))


def _horizon(target: Spelling, size: int, chance: random.Random) -> Trace:
    return single(target.request((), series=series.synthesize([_SHORT_SERIES]), horizon=size))


def _max_tokens(target: Spelling, size: int, chance: random.Random) -> Trace:
    return single(target.request(["Count from one to ten thousand in words."], max_tokens=size))


def sweeps(target: TargetSpelling) -> tuple[Case, ...]:
    """The sweeps that make sense for a target, single features first."""
    if target.dialect == "openapi":
        return _described(target)
    if target.path.endswith("/classify"):
        return (_PIXELS,)
    if target.path.endswith("/forecast"):
        return (
            _case("points", "points of one series", geometric(16, 65_536, 9), _points),
            _case("series", "series", geometric(1, 1024, 9), _series),
            _case("horizon", "horizon", geometric(1, 4096, 9), _horizon),
        )
    generative = target.path.endswith("completions")
    if target.dialect == "oip":
        return (_case("rows", "rows", geometric(1, 65_536, 13), _rows),)
    found = [_case("text_bytes", "bytes of one text", geometric(128, MIB, 14), _text_bytes)]
    if generative:
        found.append(_case("max_tokens", "max_tokens", geometric(1, 1024, 8), _max_tokens))
        found += [_PIXELS] if Intake.PICTURE in target.takes else []
    else:
        found.append(_case("inputs", "inputs", geometric(1, 2048, 12), _inputs))
        found.append(_case("inputs x text_bytes", _SQUARE, geometric(KIB, MIB, 11), _square))
    return tuple(found)


def _described(target: TargetSpelling) -> tuple[Case, ...]:
    """One sweep for each part of a request that its schema lets grow; the input itself under the names of other dialects."""
    own = {growth.kind: growth for growth in target.growths if growth.keys == target.input_at and not growth.query}
    text = Intake.TEXT in target.takes
    found = []
    if text:
        longest = own[Kind.TEXT].most if Kind.TEXT in own else None
        found.append(_case("text_bytes", "bytes of one text", _sizes(128, longest, MIB, 14), _text_bytes))
    if text and Kind.ITEMS in own:
        found.append(_case("inputs", "inputs", _sizes(1, own[Kind.ITEMS].most, 2048, 12), _inputs))
    if text and Kind.ITEMS in own and own[Kind.ITEMS].most is None:
        found.append(_case("inputs x text_bytes", _SQUARE, geometric(KIB, MIB, 11), _square))
    covered = set(own.values()) if text else set()
    return (*found, *(_grown(target, growth) for growth in sorted(target.growths, key=_order) if growth not in covered))


def _order(growth: Growth) -> tuple[int, int]:
    # Lists are where most is to be found, and what is near the top is what people think of first.
    return list(Kind).index(growth.kind), len(growth.keys)


def _grown(target: TargetSpelling, growth: Growth) -> Case:
    def attack(_: Spelling, size: int, chance: random.Random) -> Trace:
        return single(target.grown(growth, size))

    match growth.kind:
        case Kind.TEXT:
            sizes = _sizes(128, growth.most, MIB, 14)
        case Kind.NUMBER:
            most = min(growth.most or _LARGEST_NUMBER, _LARGEST_NUMBER)
            sizes = geometric(growth.least, max(growth.least, most), 8)
        case _:
            sizes = _sizes(max(1, growth.least), growth.most, 2048, 12)
    made = _case(growth.name, growth.name, sizes, attack)
    if growth.kind is Kind.NUMBER:
        # The bytes of a number don't grow with it: where it has no range, nothing else may grow either.
        expect = replace(_EXPECT, exponent=0.5) if growth.most is None else _EXPECT
        return replace(made, oracles=_OF_NUMBERS, expect=expect, remedy="give it a range, and price the request by it")
    return replace(
        made, oracles=_ORACLES - {Oracle.COLLATERAL, Oracle.RECOVERY} if growth.kind is Kind.TEXT else _ORACLES
    )


def _sizes(first: int, most: int | None, otherwise: int, steps: int) -> tuple[int, ...]:
    """Up to twice what the document allows, to see whether it is refused; up to `otherwise` where it sets no limit."""
    last = otherwise if most is None else min(otherwise, 2 * most)
    return geometric(min(first, max(1, last // 8)), last, steps)


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


_PIXELS = _case("pixels", "pixels of a picture", geometric(KIB, 16 * MIB, 8), _pixels)
