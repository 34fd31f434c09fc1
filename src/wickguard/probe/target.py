"""The target: where it is, which dialect it speaks, what it says of itself.

Decides the dialect from the URL or from what the target serves, finds the model that answers there, limits, health route and
the aliases of the route under test. Promises to send only small, ordinary requests, to POST only to the route that was given
(of a base: to those of its dialect, or to the only one there is) and to what does the same work under another name, and that
a target that can't be understood is a ConfigError that says what to give. It must not know cases.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from wickguard.errors import ConfigError
from wickguard.modality import image
from wickguard.probe import oip, openapi, spelling
from wickguard.probe.channels import of_one_process, parse_metrics
from wickguard.probe.inquiry import Inquiry, Reply
from wickguard.probe.spelling import TargetSpelling, TensorWriter, Writer
from wickguard.probe.wire import Address

DIALECTS = ("openai", "tei", "oip", "openapi")
_HEALTH = ("/health/live", "/health", "/healthz", "/livez", "/v2/health/live", "/ping", "/v1/models")
_LIMITS = {
    "max_client_batch_size": "max_inputs",
    "max_input_length": "max_tokens",
    "max_batch_tokens": "max_batch_tokens",
}
# Where frameworks serve their OpenAPI document.
_DESCRIPTIONS = ("/openapi.json", "/docs.json", "/v3/api-docs", "/swagger.json")
# Where a base of a dialect may have its route: what reads first, then what writes.
_BASES = {"openai": ("/v1/embeddings", "/v1/chat/completions", "/v1/completions"), "tei": ("/embed",)}
_BENIGN = ("the river was quiet",)
# Of a picture that no model finds too small.
_SIDE = 64
_HOST = re.compile(r"[\w.:%-]+", re.ASCII)
# Of routes and models that a target has, so many are listed or asked for at most.
_LISTED = 10
# An ordinary request may meet a server that is still loading.
_ROUNDS = 3
_BUSY = (429, 500, 502, 503, 504)
# What routes and models that are not there are answered with.
_ELSEWHERE = (404, 405)
_GIVE = "give http://HOST:PORT or the URL of a route, e.g. http://127.0.0.1:8080/v1/embeddings"
# Of /metrics: enough that several workers or replicas show.
_SCRAPES = 8


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the operator said: a URL, and anything that need not be discovered. timeout_s: of one discovery request."""

    url: str
    dialect: str | None = None
    model: str | None = None
    key: str | None = None
    timeout_s: float = 15.0


@dataclass(frozen=True, slots=True)
class Target:
    """A target that was understood. health: the path that is polled. metrics: whether /metrics has process counters."""

    address: Address
    spelling: TargetSpelling
    key: str | None
    health: str
    metrics: bool
    url: str
    notes: tuple[str, ...] = ()


def parse_url(url: str) -> tuple[Address, str]:
    """Where to connect, and the path ("" for a base). Raises ConfigError."""
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        # A name that DNS can't have is a UnicodeError, which is a ValueError.
        host = (parts.hostname or "").encode("idna").decode()
    except ValueError as error:
        raise ConfigError(f"{url}: {error}; {_GIVE}") from error
    try:
        port = parts.port
    except ValueError as error:
        raise ConfigError(f"{url}: the port is not a number from 1 to 65535") from error
    if parts.scheme not in ("http", "https") or not _HOST.fullmatch(host):
        raise ConfigError(f"{url}: {_GIVE}")
    if port == 0:
        raise ConfigError(f"{url}: the port is not a number from 1 to 65535")
    if parts.query or parts.fragment or "@" in parts.netloc:
        # Not with what was given: it may hold a password, and this is printed.
        raise ConfigError(
            f"{parts.hostname}: give the URL without query, fragment and credentials; a key goes to --key"
        )
    tls = parts.scheme == "https"
    return Address(host, port or (443 if tls else 80), tls), openapi.quoted(parts.path.rstrip("/"))


async def discover(wanted: Wanted) -> Target:
    """The target at `wanted.url`. Raises ConfigError when it is not reachable or not understood."""
    address, path = parse_url(wanted.url)
    if wanted.key is not None and not (wanted.key.isascii() and wanted.key.isprintable()):
        raise ConfigError(
            "--key: a header takes letters, digits and signs of ASCII only; give the key as it was issued"
        )
    inquiry = Inquiry(address, wanted.key, wanted.timeout_s)
    try:
        return await _Discovery(inquiry, wanted, address, path).run()
    except RecursionError as error:
        raise ConfigError(
            f"{wanted.url}: what it says of itself is nested too deeply; give another --dialect"
        ) from error


class _Discovery:
    def __init__(self, inquiry: Inquiry, wanted: Wanted, address: Address, path: str) -> None:
        self._inquiry = inquiry
        self._wanted = wanted
        self._address = address
        self._path = path
        self._route: openapi.Route | None = None

    async def run(self) -> Target:
        """Ask, and put together what was understood."""
        await self._reachable()
        dialect = await self._dialect()
        match dialect:
            case "oip":
                trials = await self._oip()
            case "openapi":
                trials = await self._openapi()
            case _:
                trials = await self._known_routes(dialect)
        trial = await self._seeing(await self._answered(trials))
        writers = dict(trial.writers)
        aliases = await self._aliases(trial, writers)
        return Target(
            address=self._address,
            spelling=replace(trial, writers=writers, aliases=aliases),
            key=self._wanted.key,
            health=await self._health(trial.path),
            metrics=await self._has_metrics(),
            url=self._wanted.url,
        )

    async def _reachable(self) -> None:
        reply = await self._inquiry.get("/")
        if reply.error:
            raise ConfigError(
                f"{self._wanted.url} is not reachable ({reply.error}): start the server, or check host and port"
            )

    async def _dialect(self) -> str:
        if self._wanted.dialect:
            return self._wanted.dialect
        if "/v2/models/" in self._path:
            return "oip"
        if (found := spelling.known(self._path)) is not None:
            return found[0]
        if isinstance(about := await self._inquiry.document("/info"), dict) and "model_id" in about:
            return "tei"
        if isinstance(models := await self._inquiry.document("/v1/models"), dict) and "data" in models:
            return "openai"
        if isinstance(about := await self._inquiry.document("/v2"), dict) and "name" in about:
            return "oip"
        if await self._described() is not None:
            return "openapi"
        raise ConfigError(
            f"{self._wanted.url}: no dialect recognised; give the URL of a route and --dialect {'|'.join(DIALECTS)}"
        )

    async def _known_routes(self, dialect: str) -> list[TargetSpelling]:
        """The route that was given, or those that a base may have, under each name that a model may have there."""
        found: dict[str, Writer] = {}
        for path in [self._path] if self._path else _BASES[dialect]:
            route = spelling.known(path)
            if route is None or route[0] != dialect:
                routes = ", ".join(end for end, (name, _) in spelling.ROUTES.items() if name == dialect)
                raise ConfigError(
                    f"{path} is no route of {dialect} that the probe can spell; it knows paths ending in {routes}"
                )
            found[path] = route[1]
        models, limits = await self._models_and_limits(dialect)
        return [
            TargetSpelling(dialect, path, model, {path: writer}, (), limits)
            for path, writer in found.items()
            for model in models
        ]

    async def _models_and_limits(self, dialect: str) -> tuple[list[str], dict[str, int]]:
        models, limits = [self._wanted.model or ""], {}
        about = await self._inquiry.document("/info")
        if isinstance(about, dict):
            limits = {ours: int(about[theirs]) for theirs, ours in _LIMITS.items() if _is_limit(about.get(theirs))}
            if dialect == "tei" and not self._wanted.model:
                models = [str(about.get("model_id", ""))]
        if dialect == "openai" and not self._wanted.model:
            models = await self._models()
            if not models:
                raise ConfigError(f"{self._wanted.url}: /v1/models names no model; give --model NAME")
        return models, limits

    async def _models(self) -> list[str]:
        """The first models that the target lists; one that chats need not be the one that embeds."""
        document = await self._inquiry.document("/v1/models")
        listed = document.get("data") if isinstance(document, dict) else None
        named = [model.get("id") for model in listed if isinstance(model, dict)] if isinstance(listed, list) else []
        return list(dict.fromkeys(str(name) for name in named if name))[:_LISTED]

    async def _oip(self) -> list[TargetSpelling]:
        place = oip.locate(self._path, self._wanted.model)
        tensors = oip.tensors(await self._inquiry.document(place.about), place.about)
        # The protocol does not say which inputs are needed: a model may take texts or what they become, and not both.
        numbers = tuple(tensor for tensor in tensors if tensor.datatype != "BYTES")
        texts = tuple(tensor for tensor in tensors if tensor.datatype == "BYTES")
        choices = dict.fromkeys((tensors, numbers, texts, *((tensor,) for tensor in tensors)))
        return [
            TargetSpelling("oip", place.infer, place.model, {place.infer: TensorWriter(choice)})
            for choice in choices
            if choice
        ]

    async def _described(self) -> tuple[dict[str, Any], str] | None:
        """The target's OpenAPI document and its path, None when it has none where servers usually have it."""
        for path in _DESCRIPTIONS:
            if isinstance(found := await self._inquiry.document(path), dict) and isinstance(found.get("paths"), dict):
                return found, path
        return None

    async def _openapi(self) -> list[TargetSpelling]:
        described = await self._described()
        if described is None:
            raise ConfigError(
                f"{self._wanted.url}: none of {', '.join(_DESCRIPTIONS)} is there; give another --dialect"
            )
        document, served_at = described
        found = openapi.routes(document, self._path, served_at)
        if not found:
            raise ConfigError(
                f"{self._wanted.url}: its OpenAPI document has no POST route{' there' if self._path else ''} that takes a JSON "
                "object in which anything can grow"
            )
        if not self._path and len(found) > 1:
            # Any of them may do harm, and a document does not say which: none is asked.
            # Without a query: the probe fills it in, and takes no URL that has one.
            listed = ", ".join(route.path.partition("?")[0] for route in found[:_LISTED])
            more = f" and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
            raise ConfigError(f"{self._wanted.url}: give the URL of one of its {len(found)} routes: {listed}{more}")
        self._route = found[0]
        route = found[0]
        return [TargetSpelling("openapi", route.path, self._wanted.model or "", {route.path: route.writer})]

    async def _answered(self, trials: Sequence[TargetSpelling]) -> TargetSpelling:
        """The first whose ordinary request is served, of one for each route and model. Raises ConfigError when none is."""
        told: list[tuple[bool, str]] = []
        for _ in range(_ROUNDS):
            busy = False
            for trial in trials:
                reply = await self._inquiry.post(trial.path, trial.request(_BENIGN).body)
                if reply.ok:
                    return trial
                busy = busy or reply.status in _BUSY
                told.append((reply.status in _ELSEWHERE, _told(trial.path, reply)))
            if not busy:
                break
        # Of several, the one that says more than that there is nothing.
        said = min(told, key=lambda item: item[0])[1]
        asked = ""
        names = dict.fromkeys(f"{trial.model} at {trial.path}" if not self._path else trial.model for trial in trials)
        if len(names) > 1:
            asked = f" (asked for: {', '.join(names)})"
        raise ConfigError(f"{said}; check --dialect, --model and --key{asked}")

    async def _seeing(self, trial: TargetSpelling) -> TargetSpelling:
        """With pictures, where a message may hold one."""
        seeing = replace(trial, sees=True)
        if not trial.path.endswith("/chat/completions") or trial.dialect != "openai":
            return trial
        shown = seeing.showing(seeing.as_text(image.synthesize(_SIDE, _SIDE)))
        return seeing if (await self._inquiry.post(trial.path, shown.body)).ok else trial

    async def _aliases(self, trial: TargetSpelling, writers: dict[str, Writer]) -> tuple[str, ...]:
        """Routes that answer an ordinary request, too: other known ones, and those of an OpenAPI document."""
        prefix = "/v1" if trial.path.startswith("/v1") else ""
        candidates: dict[str, Writer] = {}
        if trial.writers[trial.path] in (spelling.openai_embeddings, spelling.tei_embed):
            candidates = {
                "/v1/embeddings": spelling.openai_embeddings,
                "/embeddings": spelling.openai_embeddings,
                "/embed": spelling.tei_embed,
                f"{prefix}/embed": spelling.tei_embed,
            }
        candidates |= await self._same_work()
        candidates.pop(trial.path, None)
        models = [trial.model] if trial.model or not candidates else await self._models() or [""]
        found = []
        for path, writer in candidates.items():
            for model in models:
                if (await self._inquiry.post(path, writer(model, _BENIGN))).ok:
                    writers[path] = writer if model == trial.model else _Named(writer, model)
                    found.append(path)
                    break
        return tuple(found)

    async def _same_work(self) -> dict[str, Writer]:
        """Routes of an OpenAPI document that do what the one under test does; anything else might do harm."""
        own, described = self._route, await self._described() if self._route is not None else None
        if own is None or described is None:
            return {}
        document, served_at = described
        routes = openapi.routes(document, served_at=served_at)
        return {route.path: route.writer for route in routes if openapi.same_work(document, own, route)}

    async def _health(self, path: str) -> str:
        """The first health route that says 200; else the route under test by GET, whose 405 is as good a sign of life."""
        for candidate in _HEALTH:
            reply = await self._inquiry.get(candidate)
            if reply.status == 200 and not reply.error:
                return candidate
        return path

    async def _has_metrics(self) -> bool:
        """Whether /metrics counts for the one process that there is: a balancer or workers may answer with others' counters."""
        pages = []
        for _ in range(_SCRAPES):
            reply = await self._inquiry.get("/metrics")
            if not reply.ok:
                return False
            pages.append(parse_metrics(reply.body.decode("utf-8", "replace")))
            if not of_one_process(pages):
                return False
        return True


def _told(path: str, reply: Reply) -> str:
    if reply.error:
        return f"{path}: an ordinary request got no answer ({reply.error})"
    return f"{path}: an ordinary request is answered {reply.status}: {reply.body[:200].decode('utf-8', 'replace')!r}"


def _is_limit(value: object) -> bool:
    # What is larger than 64 bits can't be written into a report.
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 63


@dataclass(frozen=True, slots=True)
class _Named:
    writer: Writer
    model: str

    def __call__(self, model: str, inputs: Any) -> dict[str, Any]:
        """The body, under the model's name on that route."""
        return self.writer(self.model, inputs)
