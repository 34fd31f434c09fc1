"""Schemas: values that a JSON schema of an OpenAPI document allows.

Decides which value stands for a schema: what the document itself gives (constant, default, example, first of an enum), else
the smallest of its type, format, pattern and range. Promises to end for schemas that contain themselves. It must not know
routes or requests.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

Schema = Mapping[str, Any]

_DEEPEST = 12
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


def resolve(document: Schema, schema: object) -> dict[str, Any]:
    """The schema that is meant: references followed, parts of `allOf` put together, one of several choices taken.

    Of choices the first that is a list (it says how a batch is written), else the first that is not null.
    """
    found = dict(schema) if isinstance(schema, Mapping) else {}
    for _ in range(_DEEPEST):
        if "$ref" in found:
            rest = {key: value for key, value in found.items() if key != "$ref"}
            found = _at(document, str(found["$ref"])) | rest
        elif "allOf" in found:
            found = _together(document, found)
        elif choices := found.get("anyOf") or found.get("oneOf"):
            rest = {key: value for key, value in found.items() if key not in ("anyOf", "oneOf")}
            found = _chosen(document, choices) | rest
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
    given = [*_listed(found, "examples"), *([found["example"]] if "example" in found else [])]
    if found.get("default") is not None:
        given.insert(0, found["default"])
    if given or found.get("enum"):
        return (given or found["enum"])[0]
    match found.get("type"):
        case "integer" | "number" as kind:
            return _number(found, whole=kind == "integer", index=index)
        case "boolean":
            return False
        case "null":
            return None
        case "array":
            count = int(found.get("minItems", 0)) if depth < _DEEPEST else 0
            return [smallest(document, found.get("items", {}), at, depth + 1) for at in range(count)]
        case "object":
            return _object(document, found, index, depth)
        case _:
            return _text(found)


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


def _together(document: Schema, schema: Schema) -> dict[str, Any]:
    whole = {key: value for key, value in schema.items() if key != "allOf"}
    for part in schema["allOf"]:
        found = resolve(document, part)
        properties = {**found.get("properties", {}), **whole.get("properties", {})}
        required = [*found.get("required", ()), *whole.get("required", ())]
        whole = {**found, **whole}
        if properties:
            whole |= {"properties": properties, "required": required}
    return whole


def _chosen(document: Schema, choices: list[object]) -> dict[str, Any]:
    resolved = [resolve(document, choice) for choice in choices]
    lists = [part for part in resolved if part.get("type") == "array"]
    real = [part for part in resolved if part.get("type") != "null"]
    return (lists or real or [{}])[0]


def _listed(schema: Schema, key: str) -> list[Any]:
    found = schema.get(key)
    return found if isinstance(found, list) else []


def _bound(schema: Schema, within: str, beyond: str) -> tuple[float, bool] | None:
    """A bound and whether it is excluded; `exclusive...` is a flag in OpenAPI 3.0 and a number since 3.1."""
    excluded = schema.get(beyond)
    if excluded is not None and not isinstance(excluded, bool):
        return float(excluded), True
    return (float(schema[within]), bool(excluded)) if within in schema else None


def _number(schema: Schema, *, whole: bool, index: int) -> float:
    if whole:
        least, most = whole_range(schema)
        low = least if least is not None else min(1, most) if most is not None else 1
        step = int(schema.get("multipleOf", 1)) or 1
        low = -(-low // step) * step
        room = (most - low) // step + 1 if most is not None and most >= low else 1 << 30
        return low + step * (index % room)
    bottom, top = _bound(schema, "minimum", "exclusiveMinimum"), _bound(schema, "maximum", "exclusiveMaximum")
    # Strictly inside the range, so that excluded bounds need no care.
    low_end = bottom[0] if bottom else min(0.0, top[0] - 1) if top else 0.0
    high_end = top[0] if top else low_end + 1
    return low_end + (high_end - low_end) * (1 + (index * 37) % 101) / 103


def _object(document: Schema, schema: Schema, index: int, depth: int) -> dict[str, Any]:
    parts = schema.get("properties", {})
    if depth >= _DEEPEST:
        return {}
    return {
        name: smallest(document, parts[name], index, depth + 1) for name in schema.get("required", ()) if name in parts
    }


def _text(schema: Schema) -> str:
    least = int(schema.get("minLength", 0))
    known = FORMATS.get(str(schema.get("format") or schema.get("contentEncoding") or ""), "x")
    if pattern := schema.get("pattern"):
        known = next((text for text in (*_TEXTS, *FORMATS.values()) if _matches(str(pattern), text)), known)
    return known + "x" * (least - len(known))


def _matches(pattern: str, text: str) -> bool:
    try:
        return re.search(pattern, text) is not None
    except re.error:
        return False
