"""OpenAPI documents: what is asked where, with which smallest values, and what can grow."""

from __future__ import annotations

import copy
import random
import re
from collections.abc import Iterator
from typing import Any

import pytest

from wickguard.probe.openapi import Kind, routes
from wickguard.probe.schema import FORMATS, resolve, same, smallest
from wickguard.probe.spelling import TargetSpelling
from wickguard.probe.sweep import sweeps


def document(
    properties: dict[str, Any], path: str = "/encode", *, required: tuple[str, ...] = (), **more: Any
) -> dict[str, Any]:
    """A document of one POST route whose body has these properties."""
    schema = {"type": "object", "properties": properties, "required": list(required)}
    operation = {"requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/R"}}}}}
    return {"paths": {path: {"post": operation | more}}, "components": {"schemas": {"R": schema}}}


TEXTS = {"type": "array", "items": {"type": "string"}}


def test_texts_go_into_a_list_and_required_fields_get_their_smallest_value_when_there_is_a_document() -> None:
    """References are followed; what is optional is left out."""
    found = routes(
        document(
            {"texts": TEXTS, "top": {"type": "integer", "minimum": 3}, "spare": {"type": "string"}},
            required=("texts", "top"),
        )
    )
    assert found[0].writer("", ["a", "b"]) == {"texts": ["a", "b"], "top": 3}


def test_text_stands_inside_each_element_when_the_list_is_of_objects() -> None:
    """As rerankers and vector stores take documents; the list itself is in another object."""
    item = {
        "type": "object",
        "required": ["id", "body"],
        "properties": {"id": {"type": "string", "format": "uuid"}, "body": {"type": "string"}},
    }
    nested = {"type": "object", "properties": {"documents": {"type": "array", "items": item, "minItems": 2}}}
    writer = routes(document({"batch": nested}))[0].writer
    sent = writer("", ["one"])["batch"]["documents"]
    assert sent == [{"id": FORMATS["uuid"], "body": "one"}, {"id": FORMATS["uuid"], "body": "one"}]
    assert writer.at == ("batch", "documents")


def test_numbers_stand_for_a_text_when_there_is_no_other_place_for_it() -> None:
    """As many as it has tokens, none twice the same, all inside the range."""
    values = {"type": "array", "items": {"type": "number", "minimum": 0, "exclusiveMaximum": 1}}
    writer = routes(document({"values": values}))[0].writer
    sent = writer("", ["a" * 40])["values"]
    assert len(set(sent)) == 10
    assert all(0 <= value < 1 for value in sent)
    assert not writer.takes_text


def test_parameters_are_filled_when_path_and_query_need_them() -> None:
    """Path items share theirs with their operations; a flag is spelled as JSON spells it."""
    parameters = [
        {"name": "model", "in": "path", "required": True, "schema": {"enum": ["small model", "large"]}},
        {"name": "exact", "in": "query", "required": True, "schema": {"type": "boolean"}},
        {"name": "lang", "in": "query", "required": True, "schema": {"type": "string"}, "example": "en"},
        {"name": "debug", "in": "query", "schema": {"type": "boolean"}},
    ]
    found = document({"texts": TEXTS}, "/m/{model}/encode", parameters=parameters)
    assert routes(found)[0].path == "/m/small%20model/encode?exact=false&lang=en"
    assert routes(found, "/m/large/encode")[0].path == "/m/large/encode?exact=false&lang=en"
    assert routes(found, "/m/large/other") == []


def test_route_stands_below_its_server_when_the_document_says_so() -> None:
    """Unless it is asked for without the prefix, as behind a proxy that takes it off."""
    found = document({"texts": TEXTS}) | {"servers": [{"url": "https://h.example/api/"}]}
    assert [route.path for route in routes(found)] == ["/api/encode"]
    assert [route.path for route in routes(found, "/api/encode")] == ["/api/encode"]
    assert [route.path for route in routes(found, "/encode")] == ["/encode"]


@pytest.mark.parametrize(
    ("url", "served_at", "path"),
    [
        (".", "/docs.json", "/encode"),
        ("./", "/openapi.json", "/encode"),
        ("", "/api/openapi.json", "/encode"),
        ("..", "/v3/api-docs", "/encode"),
        (".", "/v3/api-docs", "/v3/encode"),
        ("v1", "/api/openapi.json", "/api/v1/encode"),
        ("/v1/", "/api/openapi.json", "/v1/encode"),
        ("//h.example/api", "/docs.json", "/api/encode"),
        ("{scheme}://h.example/{base}", "/docs.json", "/encode"),
    ],
)
def test_server_is_found_from_where_its_document_is_served_when_it_is_relative(
    url: str, served_at: str, path: str
) -> None:
    """As the OpenAPI specification says of a server's URL; BentoML's documents say "."."""
    found = document({"texts": TEXTS}) | {"servers": [{"url": url}]}
    assert [route.path for route in routes(found, served_at=served_at)] == [path]


def test_every_part_that_can_grow_is_named_when_a_body_has_several() -> None:
    """With what the document says of its limits; enums and codes don't grow."""
    properties = {
        "texts": TEXTS | {"maxItems": 8},
        "matrix": {"type": "array", "items": {"type": "array", "items": {"type": "number"}}},
        "weights": {"type": "object", "additionalProperties": {"type": "number"}},
        "options": {"type": "object", "properties": {"top_k": {"type": "integer", "minimum": 1, "maximum": 50}}},
        "metric": {"enum": ["cosine", "dot"]},
        "language": {"type": "string", "maxLength": 5},
    }
    query = [{"name": "limit", "in": "query", "schema": {"type": "integer"}}]
    writer = routes(document(properties, parameters=query))[0].writer
    assert {(growth.name, growth.most) for growth in writer.growths} == {
        ("items of texts", 8),
        ("items of matrix", None),
        ("inner items of matrix", None),
        ("entries of weights", None),
        ("value of options.top_k", 50),
        ("value of limit (query)", None),
    }
    target = TargetSpelling("openapi", "/encode", "", {"/encode": writer})
    grown = {growth.kind: target.grown(growth, 7) for growth in writer.growths}
    assert b'"top_k":7' in target.grown(next(g for g in writer.growths if g.keys[-1] == "top_k"), 7).body
    assert grown[Kind.NUMBER].path == "/encode?limit=7"
    assert grown[Kind.ENTRIES].body.count(b'"key') == 7


def test_routes_with_text_come_first_and_others_are_left_out_when_nothing_can_grow() -> None:
    """A route without a JSON object is none of the probe's business."""
    found = document({"values": {"type": "array", "items": {"type": "integer"}}}, "/numbers")
    found["paths"]["/encode"] = document({"texts": TEXTS})["paths"]["/encode"]
    found["paths"]["/encode"]["post"]["requestBody"]["content"]["application/json"]["schema"] = {
        "properties": {"texts": TEXTS}
    }
    found["paths"]["/upload"] = {"post": {"requestBody": {"content": {"multipart/form-data": {"schema": {}}}}}}
    found["paths"]["/reset"] = {"post": {}}
    found["paths"]["/items"] = {"get": {}}
    assert [route.path for route in routes(found)] == ["/encode", "/numbers"]


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"anyOf": [{"type": "null"}, {"type": "string"}]}, "x"),
        ({"type": ["null", "integer"], "minimum": 4}, 4),
        ({"type": "integer", "exclusiveMinimum": 4}, 5),
        ({"type": "integer", "minimum": 4, "exclusiveMinimum": True}, 5),
        ({"type": "integer", "maximum": -2}, -2),
        ({"type": "integer", "minimum": 1, "multipleOf": 8}, 8),
        ({"type": "string", "minLength": 3}, "xxx"),
        ({"type": "string", "pattern": "^[a-z]{2}-[A-Z]{2}$"}, "en-US"),
        ({"type": "string", "format": "date"}, "2024-01-01"),
        ({"type": "string", "pattern": "a{9999999999}"}, "x"),
        ({"type": "string", "pattern": "["}, "x"),
        ({"allOf": [{"properties": {"a": {"const": 1}}, "required": ["a"]},
                    {"properties": {"b": {"enum": [2]}}, "required": ["b"]}]}, {"a": 1, "b": 2}),
        ({"type": "array", "minItems": 2, "items": {"type": "integer", "minimum": 0}}, [0, 1]),
        ({"type": "string", "examples": ["said"], "default": None}, "said"),
    ],
)  # fmt: skip
def test_smallest_value_is_allowed_when_the_schema_is_narrow(schema: dict[str, Any], value: Any) -> None:
    """By type, choice, range, length, pattern and format."""
    assert smallest({}, schema) == value


def test_smallest_value_is_found_when_a_schema_contains_itself() -> None:
    """It ends, and so does a reference to itself."""
    tree = {"type": "object", "required": ["child"], "properties": {"child": {"$ref": "#/tree"}}}
    assert re.match(r"\{'child': \{'child'", str(smallest({"tree": tree}, tree)))
    assert resolve({"loop": {"$ref": "#/loop"}}, {"$ref": "#/loop"}) is not None


def test_smallest_value_is_found_when_choices_contain_themselves() -> None:
    """Parts of parts, and choices of choices, each several times."""
    loop = {"$ref": "#/loop"}
    for word in ("allOf", "anyOf", "oneOf"):
        assert resolve({"loop": {word: [loop, loop, {"type": "string"}]}}, loop) is not None


def test_path_is_quoted_when_a_document_has_what_no_request_line_can_hold() -> None:
    """What breaks a line would be a header of its own."""
    found = routes(document({"texts": TEXTS}, "/a b\r\nx: y/\u00e9"))
    assert found[0].path == "/a%20b%0D%0Ax:%20y/%C3%A9"
    assert routes(document({"texts": TEXTS}, "/a b"), "/a%20b")[0].path == "/a%20b"


@pytest.mark.parametrize("url", ["x:http://h.example/a", "http://[", "mailto:a", "x:y"])
def test_path_stays_one_when_a_server_is_named_in_odd_ways(url: str) -> None:
    """Whatever stands there, it is asked of the target and of nobody else."""
    found = document({"texts": TEXTS}) | {"servers": [{"url": url}]}
    assert routes(found)[0].path.startswith("/")
    assert routes(document({"texts": TEXTS}, "http://h.example/encode")) == []


def test_schemas_are_the_same_when_only_their_names_differ() -> None:
    """Also when they contain themselves; a property that is called like an annotation is no annotation."""
    node = {"type": "object", "title": "A", "properties": {"next": {"$ref": "#/A"}, "title": {"type": "string"}}}
    other = {"type": "object", "title": "B", "properties": {"next": {"$ref": "#/B"}, "title": {"type": "string"}}}
    third = {"type": "object", "title": "C", "properties": {"next": {"$ref": "#/C"}, "title": {"type": "integer"}}}
    whole = {"A": node, "B": other, "C": third, "loop": {"$ref": "#/loop"}}
    assert same(whole, {"$ref": "#/A"}, {"$ref": "#/B"})
    assert same(whole, {"$ref": "#/A"}, other)
    assert not same(whole, {"$ref": "#/A"}, {"$ref": "#/C"})
    assert not same(whole, {"$ref": "#/loop"}, node)


def test_concrete_route_is_taken_before_one_with_parameters_when_both_answer() -> None:
    """As servers do; neither is tried out."""
    found = document({"texts": TEXTS}, "/m/{name}/encode")
    found["paths"]["/m/large/encode"] = {"post": document({"values": TEXTS})["paths"]["/encode"]["post"]}
    found["paths"]["/m/large/encode"]["post"]["requestBody"] = {
        "content": {"application/json": {"schema": {"properties": {"words": TEXTS}}}}
    }
    assert [route.template for route in routes(found, "/m/large/encode")] == ["/m/large/encode", "/m/{name}/encode"]


# Of everything a document can say, something, and all of it well-formed.
RICH = document(
    {
        "texts": {"anyOf": [{"type": "null"}, TEXTS | {"minItems": 1, "maxItems": 8}]},
        "items": {"type": "array", "items": {"allOf": [{"required": ["t"], "properties": {"t": {"type": "string"}}}]}},
        "map": {"type": "object", "additionalProperties": {"type": "number", "minimum": 0, "exclusiveMaximum": 1}},
        "options": {"properties": {"k": {"type": "integer", "minimum": 1, "maximum": 9, "multipleOf": 2}}},
        "name": {"type": "string", "minLength": 1, "maxLength": 99, "pattern": "^a", "format": "uuid"},
        "metric": {"enum": ["a"], "examples": ["a"], "default": "a"},
        "text": {"type": "string", "minLength": 1, "maxLength": 99},
    },
    "/m/{id}/encode",
    required=("texts", "items", "map", "options", "name", "metric", "text"),
    parameters=[
        {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}, "example": "a"},
        {"name": "n", "in": "query", "required": True, "schema": {"type": "integer"}},
        {"name": "many", "in": "query", "schema": TEXTS},
    ],
    responses={"200": {"content": {"application/json": {"schema": {"type": "object"}}}}},
) | {"servers": [{"url": "/api"}]}
WRONG: tuple[Any, ...] = (None, True, 0, -1, 10**30, 1.5, "x", "", [], {}, [None], [{}], {"x": None}, ["x"], [[]])


def places(part: Any, keys: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The keys that lead to every part of a document."""
    for key, value in part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ():
        yield (*keys, key)
        yield from places(value, (*keys, key))


@pytest.mark.parametrize("place", list(places(RICH)), ids=lambda keys: "/".join(map(str, keys)))
def test_no_document_is_an_error_when_any_part_of_it_is_something_else(place: tuple[Any, ...]) -> None:
    """What is left of it is swept as ever."""
    for wrong in WRONG:
        broken = copy.deepcopy(RICH)
        at: Any = broken
        for key in place[:-1]:
            at = at[key]
        at[place[-1]] = wrong
        for route in routes(broken):
            assert route.path.startswith("/")
            target = TargetSpelling("openapi", route.path, "", {route.path: route.writer})
            assert target.request(["a"]).body.startswith(b"{")
            for case in sweeps(target):
                # The smallest: the largest are a megabyte of prose each.
                case.attack(target, case.sizes[0], random.Random(1))
