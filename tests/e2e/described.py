"""A server that is described by an OpenAPI document and by nothing else: aiohttp for HTTP, pydantic for bodies and schemas.

Two routes that work, among others that are none of a probe's business. `/v1/collections/{collection}/search` compares every
document with every other one, on the event loop; `/v1/score` does as much as its limits say, and not on the loop.

`python -m tests.e2e.described --port P`
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.json_schema import models_json_schema

SEARCH = "/v1/collections/{collection}/search"
SCORE = "/v1/score"


class Metric(StrEnum):
    """How vectors are compared."""

    COSINE = "cosine"
    DOT = "dot"


class Document(BaseModel):
    """One document of a search."""

    id: UUID
    title: str
    created: datetime
    language: Annotated[str, Field(pattern=r"^[a-z]{2}$")] = "en"
    tags: list[str] = []


class Query(BaseModel):
    """What is looked for."""

    text: Annotated[str, Field(min_length=1, max_length=4096)]
    vector: Annotated[list[float], Field(min_length=2, max_length=1024)] | None = None
    filters: dict[str, str] = {}


class Search(BaseModel):
    """POST /v1/collections/{collection}/search: documents without a limit on their number."""

    query: Query
    documents: list[Document]
    metric: Metric
    top_k: Annotated[int, Field(ge=1, le=100)] = 10


class Options(BaseModel):
    """How a score is made."""

    model_config = ConfigDict(extra="forbid")

    metric: Metric = Metric.DOT
    rounds: Annotated[int, Field(ge=1, le=4)] = 1


class Score(BaseModel):
    """POST /v1/score: everything has a limit."""

    model_config = ConfigDict(extra="forbid")

    texts: Annotated[list[Annotated[str, Field(min_length=1, max_length=2048)]], Field(min_length=1, max_length=64)]
    options: Options = Options()


def document() -> dict[str, Any]:
    """The OpenAPI document, as frameworks make it from the same classes."""
    bodies: list[tuple[type[BaseModel], Any]] = [(Search, "validation"), (Score, "validation")]
    _, schemas = models_json_schema(bodies, ref_template="#/components/schemas/{model}")

    def takes(model: type[BaseModel], **more: object) -> dict[str, object]:
        content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}}
        return {
            "requestBody": {"required": True, "content": content},
            "responses": {"200": {"description": "ok"}},
            **more,
        }

    collection = {"name": "collection", "in": "path", "required": True, "schema": {"enum": ["notes", "letters"]}}
    mode = {"name": "mode", "in": "query", "required": True, "schema": {"enum": ["exact", "near"], "type": "string"}}
    offset = {"name": "offset", "in": "query", "schema": {"type": "integer", "minimum": 0, "maximum": 1000}}
    upload = {"requestBody": {"content": {"multipart/form-data": {"schema": {"type": "object"}}}}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Described", "version": "1"},
        # Relative to where the document is served, as BentoML writes it.
        "servers": [{"url": "."}],
        "paths": {
            "/v1/upload": {"post": upload},
            "/v1/reset": {"post": {"responses": {"204": {"description": "done"}}}},
            SEARCH: {"parameters": [collection], "post": takes(Search, parameters=[mode, offset])},
            SCORE: {"post": takes(Score), "get": {}},
        },
        "components": {"schemas": schemas["$defs"]},
    }


async def search(request: web.Request) -> web.Response:
    """Planted: duplicates are looked for by comparing all with all, on the event loop."""
    if request.match_info["collection"] not in ("notes", "letters"):
        return web.json_response({"detail": "no such collection"}, status=404)
    if request.query.get("mode") not in ("exact", "near"):
        return web.json_response({"detail": "mode must be exact or near"}, status=422)
    asked = Search.model_validate_json(await request.read())
    titles = [item.title for item in asked.documents]
    double = sum(one[:40].strip() == other[:40].strip() for one in titles for other in titles)
    return web.json_response({"found": titles[: asked.top_k], "double": double})


async def score(request: web.Request) -> web.Response:
    """Sound: linear in the bytes, in a thread."""
    asked = Score.model_validate_json(await request.read())
    return web.json_response({"scores": await asyncio.to_thread(_scores, asked)})


def _scores(asked: Score) -> list[float]:
    rounds = 20_000 * asked.options.rounds
    return [hashlib.pbkdf2_hmac("sha256", text.encode(), b"", rounds // 64)[0] / 255 for text in asked.texts]


@web.middleware
async def refusals(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """422 for what a model refuses, with the first three errors and without what was sent. Counts what is posted."""
    request.app["posts"][request.path] += request.method == "POST"
    try:
        return await handler(request)
    except ValidationError as fault:
        return web.json_response(
            {"detail": [error["msg"][:200] for error in fault.errors(include_input=False)[:3]]}, status=422
        )


async def described(request: web.Request) -> web.Response:
    """GET /openapi.json."""
    return web.json_response(document())


async def health(request: web.Request) -> web.Response:
    """GET /health."""
    return web.json_response({"status": "ok"})


async def nothing(request: web.Request) -> web.Response:
    """What must never be asked: the probe has no business here."""
    request.app["asked"].append(request.path)
    return web.Response(status=204)


async def posts(request: web.Request) -> web.Response:
    """GET /posts: how often something was posted where."""
    return web.json_response(request.app["posts"])


async def asked(request: web.Request) -> web.Response:
    """GET /asked: routes that were asked and should not have been."""
    return web.json_response(request.app["asked"])


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    app = web.Application(middlewares=[refusals])
    app["asked"], app["posts"] = [], Counter[str]()
    app.add_routes(
        [
            web.get("/openapi.json", described),
            web.get("/health", health),
            web.get("/asked", asked),
            web.get("/posts", posts),
            web.post("/v1/upload", nothing),
            web.post("/v1/reset", nothing),
            web.post(SEARCH, search),
            web.post(SCORE, score),
        ]
    )
    web.run_app(app, host="127.0.0.1", port=parser.parse_args().port, print=None, access_log=None)


if __name__ == "__main__":
    main()
