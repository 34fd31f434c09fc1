"""OpenAPI: how a route that a document describes is asked, and which parts of its requests a caller can make larger.

Decides where the input of a probe's request goes: a list of texts before a list of objects that hold one, before a single
text, before a list of anything. Promises bodies, paths and queries that the schema allows, apart from what is grown, and that
no document is an error: a part that is not what OpenAPI says is as good as absent. It must not know sockets, cases or costs.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from urllib.parse import quote, urlencode, urljoin, urlsplit

from wickguard.modality.text import synthesize
from wickguard.probe.schema import (
    Schema,
    bound,
    is_plain_text,
    least_items,
    least_letters,
    listed,
    mapping,
    properties,
    required,
    resolve,
    same,
    smallest,
    whole_range,
)

Keys = tuple[str, ...]

# A list of anything stands for a text in as many elements as it has tokens.
_BYTES_PER_ELEMENT = 4
# A shorter text is a name or a code.
_SHORTEST_TEXT = 64
_DEEPEST = 5
_SHORT_TEXT_BYTES = 32


class Kind(StrEnum):
    """What grows: the elements of a list, of the first list in a list, the entries of a map, a text, or a whole number."""

    ITEMS = "items"
    INNER = "inner items"
    ENTRIES = "entries"
    TEXT = "bytes"
    NUMBER = "value"


@dataclass(frozen=True, slots=True)
class Growth:
    """One part of a request that a caller can make larger.

    keys: lead to it in the body; of a parameter of the query, its name. least, most: of what grows, as the document says;
    most is None where it sets no limit. part: its schema.
    """

    keys: Keys
    kind: Kind
    least: int
    most: int | None
    part: Schema = field(compare=False, repr=False)
    query: bool = False

    @property
    def name(self) -> str:
        """For people and ids."""
        return f"{self.kind} of {'.'.join(self.keys)}" + (" (query)" if self.query else "")

    def value(self, document: Schema, size: int) -> Any:
        """A value of this size."""
        items = self.part.get("items")
        match self.kind:
            case Kind.ITEMS:
                return elements(document, items, [_SHORT_TEXT_BYTES] * size)
            case Kind.INNER:
                inner = resolve(document, items).get("items")
                return [elements(document, inner, [_SHORT_TEXT_BYTES] * size)]
            case Kind.ENTRIES:
                values = self.part["additionalProperties"]
                return {f"key{index}": smallest(document, values, index) for index in range(size)}
            case Kind.TEXT:
                return synthesize([size])[0]
            case _:
                return size


@dataclass(frozen=True, slots=True)
class SchemaWriter:
    """Bodies of one route. body: the smallest. at: keys that lead to the input. part: the input's schema."""

    document: Schema = field(compare=False, repr=False)
    body: dict[str, Any]
    at: Keys
    part: Schema = field(compare=False, repr=False)
    growths: tuple[Growth, ...] = ()

    @property
    def many(self) -> bool:
        """Whether it takes a list."""
        return self.part.get("type") == "array"

    @property
    def takes_text(self) -> bool:
        """Whether words reach the server."""
        return _text_in(self.document, self.part) is not None

    def __call__(self, model: str, inputs: Sequence[str]) -> dict[str, Any]:
        """The body."""
        return put(self.document, self.body, self.at, self._input(inputs))

    def grown(self, body: Mapping[str, Any], growth: Growth, size: int) -> dict[str, Any]:
        """`body` with that part of it as large."""
        return put(self.document, body, growth.keys, growth.value(self.document, size))

    def _input(self, inputs: Sequence[str]) -> Any:
        if not self.many:
            return "\n".join(inputs).ljust(least_letters(self.part), "x")
        items = self.part.get("items")
        inside = _text_in(self.document, self.part)
        least = least_items(self.part)
        if inside is None:
            count = sum(max(1, len(text.encode()) // _BYTES_PER_ELEMENT) for text in inputs)
            return [smallest(self.document, items, index) for index in range(max(least, count))]
        texts = [*inputs, *list(inputs)[:1] * (least - len(inputs))]
        return [_element(self.document, items, inside, text, index) for index, text in enumerate(texts)]


@dataclass(frozen=True, slots=True)
class Route:
    """A route of a document, ready to be asked.

    template: its key in the document. path: with its parameters and what its query must have. takes, gives: the schemas of the
    request and of what it is answered when it is served.
    """

    template: str
    path: str
    writer: SchemaWriter
    takes: Schema = field(compare=False, repr=False)
    gives: Schema = field(compare=False, repr=False)


def routes(document: Schema, path: str = "", served_at: str = "/openapi.json") -> list[Route]:
    """The POST routes that take a JSON object in which something can grow; those that take text first.

    path: only the route that answers there, which may name a parameter's value ("/models/a/score"); of several that do, those
    that name fewer parameters come first. served_at: the path of the document, which its server may be named relative to.
    """
    prefix = _prefix(document, served_at)
    found = []
    for template, item in mapping(document.get("paths")).items():
        if not template.startswith("/"):
            # OpenAPI asks for the slash; what has none might name another server.
            continue
        # Whoever stands behind a proxy that takes the prefix off is asked without it.
        whole = template if path and _answers(template, path) else prefix + template
        if not path or _answers(whole, path):
            route = _route(document, template, resolve(document, item), path or whole)
            found += [route] if route is not None else []
    return sorted(found, key=lambda route: (route.template.count("{") if path else 0, not route.writer.takes_text))


def same_work(document: Schema, one: Route, other: Route) -> bool:
    """Whether two routes do the same under two names: they take the same and give the same, and that is not just anything."""
    gives = resolve(document, one.gives)
    if one.template == other.template or not (gives.get("properties") or gives.get("items")):
        return False
    return same(document, one.takes, other.takes) and same(document, one.gives, other.gives)


def put(document: Schema, body: Mapping[str, Any], keys: Keys, value: Any) -> dict[str, Any]:
    """A copy of `body` with `value` where `keys` lead; objects on the way are made where they are missing."""
    found: dict[str, Any] = copy.deepcopy(dict(body))
    at = found
    for key in keys[:-1]:
        if not isinstance(at.get(key), dict):
            at[key] = {}
        at = at[key]
    at[keys[-1]] = value
    return found


def elements(document: Schema, items: object, sizes: Sequence[int]) -> list[Any]:
    """Elements of a list; those that hold a text hold one of so many bytes."""
    inside = _text_in(document, {"type": "array", "items": items})
    if inside is None:
        return [smallest(document, items, index) for index in range(len(sizes))]
    return [_element(document, items, inside, text, index) for index, text in enumerate(synthesize(list(sizes)))]


def _element(document: Schema, items: object, inside: Keys, text: str, index: int) -> Any:
    return put(document, smallest(document, items, index), inside, text) if inside else text


def _text_in(document: Schema, part: Schema) -> Keys | None:
    """Where in each element of a list its text stands; () for a text itself, None when there is none."""
    if part.get("type") != "array":
        return () if is_plain_text(part) else None
    item = resolve(document, part.get("items"))
    if _is_text(item):
        return ()
    for name in required(item) if item.get("type") == "object" else ():
        if _is_text(resolve(document, properties(item).get(name))):
            return (name,)
    return None


def _is_text(part: Schema) -> bool:
    longest = bound(part, "maxLength")
    return is_plain_text(part) and (longest is None or longest >= _SHORTEST_TEXT)


def _route(document: Schema, template: str, item: Schema, path: str) -> Route | None:
    """path: as it is asked for, with or without values for its parameters."""
    operation = resolve(document, item.get("post"))
    media = _json(document, operation.get("requestBody"))
    schema = resolve(document, media.get("schema"))
    if schema.get("type") != "object":
        return None
    body = smallest(document, schema)
    if not isinstance(body, dict):
        # The document gives an example that is no object.
        return None
    body = {**body, **mapping(media.get("example"))}
    parts = list(_parts(document, schema, ()))
    chosen = _input_of(document, parts)
    if chosen is None:
        return None
    parameters = [
        one
        for given in (*listed(item.get("parameters")), *listed(operation.get("parameters")))
        if isinstance((one := resolve(document, given)).get("name"), str)
    ]
    growths = [growth for keys, part, _ in parts for growth in _growths(document, keys, part)]
    for one in parameters:
        if one.get("in") == "query":
            part = resolve(document, one.get("schema"))
            growths += _growths(document, (one["name"],), part, query=True)
    writer = SchemaWriter(document, body, *chosen, tuple(growths))
    asked = _filled(document, path, parameters) + _query(document, parameters)
    return Route(template, asked, writer, mapping(media.get("schema")), _answered(document, operation))


def _json(document: Schema, holder: object) -> dict[str, Any]:
    """What a body or an answer says of its JSON; empty when it is none."""
    content = mapping(resolve(document, holder).get("content"))
    return next((mapping(content[kind]) for kind in content if "json" in kind), {})


def _answered(document: Schema, operation: Schema) -> dict[str, Any]:
    answers = mapping(operation.get("responses"))
    return next(
        (mapping(_json(document, answers[code]).get("schema")) for code in sorted(answers) if code.startswith("2")), {}
    )


def _parts(document: Schema, schema: Schema, keys: Keys) -> Iterator[tuple[Keys, dict[str, Any], bool]]:
    """Every part of an object that is no object with properties itself: keys, schema, whether it is required."""
    needed = set(required(schema))
    for name, part in properties(schema).items():
        found = resolve(document, part)
        if found.get("type") == "object" and properties(found):
            if len(keys) < _DEEPEST:
                yield from _parts(document, found, (*keys, name))
        else:
            yield (*keys, name), found, name in needed


def _input_of(document: Schema, parts: Sequence[tuple[Keys, dict[str, Any], bool]]) -> tuple[Keys, Schema] | None:
    def rank(keys: Keys, part: Schema, needed: bool) -> int:
        if part.get("type") == "array":
            inside = _text_in(document, part)
            return 3 if inside is None else 1 if inside else 0
        return 9 if not _is_text(part) else 2 if needed else 4

    ranked = sorted(parts, key=lambda one: (rank(*one), not one[2], len(one[0])))
    return (ranked[0][0], ranked[0][1]) if ranked and rank(*ranked[0]) < 9 else None


def _growths(document: Schema, keys: Keys, part: Schema, *, query: bool = False) -> Iterator[Growth]:
    kind = part.get("type")
    if kind == "array":
        yield Growth(keys, Kind.ITEMS, least_items(part), bound(part, "maxItems"), part, query)
        items = resolve(document, part.get("items"))
        if items.get("type") == "array" and not query:
            yield Growth(keys, Kind.INNER, least_items(items), bound(items, "maxItems"), part)
    elif kind == "object" and isinstance(part.get("additionalProperties"), Mapping) and not query:
        yield Growth(keys, Kind.ENTRIES, bound(part, "minProperties") or 0, bound(part, "maxProperties"), part)
    elif kind == "integer" and not part.keys() & {"enum", "const"}:
        least, most = whole_range(part)
        yield Growth(keys, Kind.NUMBER, max(1, least or 1), most, part, query)
    elif _is_text(part) and not query:
        yield Growth(keys, Kind.TEXT, least_letters(part), bound(part, "maxLength"), part)


def _filled(document: Schema, path: str, parameters: Sequence[Schema]) -> str:
    for one in parameters:
        if one.get("in") == "path":
            path = path.replace("{" + one["name"] + "}", quote(str(_parameter(document, one)), safe=""))
    return quoted(path)


def quoted(path: str) -> str:
    """A path as it can stand in a request line; what is quoted already stays as it is."""
    return quote(path, safe="/%:@!$&'()*+,;=~")


def _query(document: Schema, parameters: Sequence[Schema]) -> str:
    """What a query must have, with its question mark; "" when that is nothing."""
    needed = [one for one in parameters if one.get("in") == "query" and one.get("required")]
    wanted = {one["name"]: _parameter(document, one) for one in needed}
    return f"?{urlencode(wanted, doseq=True)}" if wanted else ""


def _parameter(document: Schema, one: Schema) -> Any:
    value = one["example"] if "example" in one else smallest(document, one.get("schema"))
    return str(value).lower() if isinstance(value, bool) else value


def with_query(path: str, name: str, value: Any) -> str:
    """`path` with a parameter of its query set; a list is written once for each element."""
    base, _, query = path.partition("?")
    kept = [pair for pair in query.split("&") if pair and pair.partition("=")[0] != name]
    return f"{base}?{'&'.join([*kept, urlencode({name: value}, doseq=True)])}"


def _prefix(document: Schema, served_at: str) -> str:
    """The path of the document's own server, before each of its routes (OpenAPI 3.1, Server Object: `url` may be relative)."""
    servers = listed(document.get("servers"))
    url = str(mapping(servers[0]).get("url") or "/") if servers else "/"
    if "{" in url:
        # One with variables says nothing about this server.
        return ""
    try:
        path = urlsplit(urljoin(served_at, url)).path
    except ValueError:
        return ""
    return f"/{path.strip('/')}" if path.strip("/") else ""


def _answers(template: str, path: str) -> bool:
    parts = re.split(r"(\{[^}]*\})", template)
    pattern = "".join("[^/]+" if part.startswith("{") else re.escape(quoted(part)) for part in parts)
    return re.fullmatch(pattern, path) is not None
