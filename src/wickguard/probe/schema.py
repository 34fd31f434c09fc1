"""Schemas: values that a JSON schema of an OpenAPI document allows.

Decides which value stands for a schema: what the document itself gives (constant, default, example, first of an enum), else
the smallest of its type, format, pattern and range. Promises to end for schemas that contain themselves, and that a part of a
document that is not what JSON schema says it should be is as good as absent. It must not know routes or requests.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Mapping
from typing import Any

Schema = Mapping[str, Any]

_DEEPEST = 12
# Choices and parts of choices and parts; each may have several, so that depth is dear.
_DEEPEST_CHOICE = 5
# As far as two schemas are compared.
_DEEPEST_SAME = 64
# A schema that demands more of a list or a text gets no valid request.
_MOST_ITEMS, _MOST_LETTERS = 1 << 16, 1 << 20
# Up to here a float holds every whole number; a bound beyond it is none.
_MOST = 2.0**53
# One text of each format that servers check. `byte` is base64.
FORMATS = {
    "uuid": "00000000-0000-4000-8000-000000000000",
    "date-time": "2024-01-01T00:00:00Z",
    "date": "2024-01-01",
    "time": "00:00:00Z",
    "duration": "PT1S",
    "email": "a@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "http://example.com/",
    "url": "http://example.com/",
    "byte": "AAAA",
    "base64": "AAAA",
    "binary": "x",
}
# Tried in this order where there is a pattern.
_TEXTS = (
    "x",
    "abc",
    "A",
    "ABC",
    "0",
    "1",
    "123",
    "en",
    "en-US",
    "a1",
    "a-b",
    "a_b",
    "a/b",
    "1.0",
    "1.0.0",
    "0" * 8,
    "a" * 16,
)


def mapping(value: object) -> dict[str, Any]:
    """What should be an object, as one; empty when it is something else."""
    return dict(value) if isinstance(value, Mapping) else {}


def listed(value: object) -> list[Any]:
    """What should be a list, as one; empty when it is something else."""
    return value if isinstance(value, list) else []


def required(schema: Schema) -> list[str]:
    """The names of what an object must have."""
    return [name for name in listed(schema.get("required")) if isinstance(name, str)]


def properties(schema: Schema) -> dict[str, Any]:
    """The parts of an object by their names."""
    return mapping(schema.get("properties"))


def bound(schema: Schema, key: str) -> int | None:
    """A bound that is a size, as `minItems` is; None when there is none."""
    number = _numeric(schema.get(key))
    return None if number is None or number < 0 else int(number)


def least_items(schema: Schema) -> int:
    """How many elements a list must have; 0 when nothing is said."""
    return min(bound(schema, "minItems") or 0, _MOST_ITEMS)


def least_letters(schema: Schema) -> int:
    """How long a text must be; 0 when nothing is said."""
    return min(bound(schema, "minLength") or 0, _MOST_LETTERS)


def resolve(document: Schema, schema: object, depth: int = 0) -> dict[str, Any]:
    """The schema that is meant: references followed, parts of `allOf` put together, one of several choices taken.

    Of choices the first that is a list (it says how a batch is written), else the first that is not null.
    """
    found = mapping(schema) if depth <= _DEEPEST_CHOICE else {}
    for _ in range(_DEEPEST):
        if "$ref" in found:
            rest = {key: value for key, value in found.items() if key != "$ref"}
            found = _at(document, str(found["$ref"])) | rest
        elif "allOf" in found:
            found = _together(document, found, depth + 1)
        elif choices := listed(found.get("anyOf")) or listed(found.get("oneOf")):
            rest = {key: value for key, value in found.items() if key not in ("anyOf", "oneOf")}
            found = _chosen(document, choices, depth + 1) | rest
        else:
            break
    kinds = found.get("type")
    if isinstance(kinds, list):
        found["type"] = next((kind for kind in ("array", *kinds) if kind in kinds and kind != "null"), "null")
    if "type" not in found and "properties" in found:
        found["type"] = "object"
    return found


def smallest(document: Schema, schema: object, index: int = 0, depth: int = 0) -> Any:
    """The smallest value that a schema allows; with another `index` another one, where the schema leaves room."""
    found = resolve(document, schema)
    if "const" in found:
        return found["const"]
    given = [*listed(found.get("examples")), *([found["example"]] if "example" in found else [])]
    if found.get("default") is not None:
        given.insert(0, found["default"])
    if given := given or listed(found.get("enum")):
        return given[0]
    match found.get("type"):
        case "integer" | "number" as kind:
            return _number(found, whole=kind == "integer", index=index)
        case "boolean":
            return False
        case "null":
            return None
        case "array":
            count = least_items(found) if depth < _DEEPEST else 0
            return [smallest(document, found.get("items"), at, depth + 1) for at in range(count)]
        case "object":
            return _object(document, found, index, depth)
        case _:
            return _text(found)


def same(document: Schema, one: object, other: object) -> bool:
    """Whether two schemas say the same, whatever they are called and wherever they stand. When in doubt, they do not."""
    return _same(document, (one, other), set(), 0)


def _same(document: Schema, pair: tuple[Any, Any], assumed: set[tuple[str, str]], depth: int) -> bool:
    one, other = pair
    if depth > _DEEPEST_SAME:
        return False
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        if "$ref" in one and "$ref" in other:
            names = (str(one["$ref"]), str(other["$ref"]))
            if one == other or names in assumed:
                return True
            # Schemas may contain themselves: two are the same when nothing inside them differs.
            assumed.add(names)
        if "$ref" in one or "$ref" in other:
            return _same(document, (_followed(document, one), _followed(document, other)), assumed, depth + 1)
        left, right = _said(one), _said(other)
        inside = ((left[key], right[key]) for key in left if key in right)
        return left.keys() == right.keys() and all(_same(document, both, assumed, depth + 1) for both in inside)
    if isinstance(one, list) and isinstance(other, list):
        elements = zip(one, other, strict=False)
        return len(one) == len(other) and all(_same(document, both, assumed, depth + 1) for both in elements)
    return bool(one == other)


def whole_range(schema: Schema) -> tuple[int | None, int | None]:
    """The least and the largest whole number that a schema allows; None where it says nothing."""
    least, most = _bound(schema, "minimum", "exclusiveMinimum"), _bound(schema, "maximum", "exclusiveMaximum")
    low = None if least is None else math.floor(least[0]) + 1 if least[1] else math.ceil(least[0])
    high = None if most is None else math.ceil(most[0]) - 1 if most[1] else math.floor(most[0])
    return low, high


def is_plain_text(schema: Schema) -> bool:
    """Whether a resolved schema takes any words."""
    fixed = schema.keys() & {"enum", "const", "format", "pattern", "contentEncoding"}
    return schema.get("type") == "string" and not fixed


def _at(document: Schema, reference: str) -> dict[str, Any]:
    found: Any = document
    for part in reference.removeprefix("#/").split("/"):
        found = found.get(part.replace("~1", "/").replace("~0", "~"), {}) if isinstance(found, Mapping) else {}
    return dict(found) if isinstance(found, Mapping) else {}


def _followed(document: Schema, schema: Schema) -> dict[str, Any]:
    rest = {key: value for key, value in schema.items() if key != "$ref"}
    return (_at(document, str(schema["$ref"])) if "$ref" in schema else {}) | rest


def _said(schema: Schema) -> dict[str, Any]:
    # A property may be called "title"; what is a text is one.
    return {
        key: value
        for key, value in schema.items()
        if not (key in ("title", "description", "summary") and isinstance(value, str))
    }


def _together(document: Schema, schema: Schema, depth: int) -> dict[str, Any]:
    whole = {key: value for key, value in schema.items() if key != "allOf"}
    for part in listed(schema["allOf"]):
        found = resolve(document, part, depth)
        parts = {**properties(found), **properties(whole)}
        names = [*required(found), *required(whole)]
        whole = {**found, **whole}
        if parts:
            whole |= {"properties": parts, "required": names}
    return whole


def _chosen(document: Schema, choices: list[object], depth: int) -> dict[str, Any]:
    resolved = [resolve(document, choice, depth) for choice in choices]
    lists = [part for part in resolved if part.get("type") == "array"]
    real = [part for part in resolved if part.get("type") != "null"]
    return (lists or real or [{}])[0]


def _numeric(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if abs(value) <= _MOST else None


def _bound(schema: Schema, within: str, beyond: str) -> tuple[float, bool] | None:
    """A bound and whether it is excluded; `exclusive...` is a flag in OpenAPI 3.0 and a number since 3.1."""
    beyond_it, limit = _numeric(schema.get(beyond)), _numeric(schema.get(within))
    if beyond_it is not None:
        return float(beyond_it), True
    return None if limit is None else (float(limit), schema.get(beyond) is True)


def _number(schema: Schema, *, whole: bool, index: int) -> float:
    if whole:
        least, most = whole_range(schema)
        low = least if least is not None else min(1, most) if most is not None else 1
        step = bound(schema, "multipleOf") or 1
        low = -(-low // step) * step
        room = (most - low) // step + 1 if most is not None and most >= low else 1 << 30
        return low + step * (index % room)
    bottom, top = _bound(schema, "minimum", "exclusiveMinimum"), _bound(schema, "maximum", "exclusiveMaximum")
    # Strictly inside the range, so that excluded bounds need no care.
    low_end = bottom[0] if bottom else min(0.0, top[0] - 1) if top else 0.0
    high_end = top[0] if top else low_end + 1
    return low_end + (high_end - low_end) * (1 + (index * 37) % 101) / 103


def _object(document: Schema, schema: Schema, index: int, depth: int) -> dict[str, Any]:
    parts = properties(schema)
    if depth >= _DEEPEST:
        return {}
    return {name: smallest(document, parts[name], index, depth + 1) for name in required(schema) if name in parts}


def _text(schema: Schema) -> str:
    least = least_letters(schema)
    known = FORMATS.get(str(schema.get("format") or schema.get("contentEncoding") or ""), "x")
    if pattern := schema.get("pattern"):
        known = next((text for text in (*_TEXTS, *FORMATS.values()) if _matches(str(pattern), text)), known)
    return known + "x" * (least - len(known))


def _matches(pattern: str, text: str) -> bool:
    try:
        with warnings.catch_warnings():
            # Patterns are those of ECMAScript; what Python finds odd in them is nothing that the operator could mend.
            warnings.simplefilter("ignore")
            return re.search(pattern, text) is not None
    except (re.error, OverflowError, RecursionError):
        return False
