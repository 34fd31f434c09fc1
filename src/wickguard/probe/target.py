"""The target: where it is, which dialect it speaks, what it says of itself.

Decides the dialect from the URL or from what the target serves, finds the model's name, limits, health route and the
aliases of the route under test. Promises to send only small, ordinary requests, never to follow a redirect, and that a
target that can't be understood is a ConfigError that says what to give. It must not know cases.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

from wickguard.errors import ConfigError
from wickguard.probe import openapi, spelling
from wickguard.probe.spelling import TargetSpelling, Tensor, TensorWriter, Writer
from wickguard.probe.wire import MARKER, Address

DIALECTS = ("openai", "tei", "oip", "openapi")
_HEALTH = ("/health/live", "/health", "/healthz", "/livez", "/v2/health/live", "/ping", "/v1/models")
_LIMITS = {
    "max_client_batch_size": "max_inputs",
    "max_input_length": "max_tokens",
    "max_batch_tokens": "max_batch_tokens",
}
# Where frameworks serve their OpenAPI document.
_DESCRIPTIONS = ("/openapi.json", "/docs.json", "/v3/api-docs", "/swagger.json")
_BENIGN = ("the river was quiet",)


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
    parts = urlsplit(url if "://" in url else f"http://{url}")
    try:
        port = parts.port
    except ValueError as error:
        raise ConfigError(f"{url}: the port is not a number from 1 to 65535") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(
            f"{url}: give http://HOST:PORT or the URL of a route, e.g. http://127.0.0.1:8080/v1/embeddings"
        )
    if parts.query or parts.fragment or parts.username:
        raise ConfigError(f"{url}: give the URL without query, fragment and credentials; a key goes to --key")
    tls = parts.scheme == "https"
    return Address(parts.hostname, port or (443 if tls else 80), tls), parts.path.rstrip("/")


async def discover(wanted: Wanted) -> Target:
    """The target at `wanted.url`. Raises ConfigError when it is not reachable or not understood."""
    address, path = parse_url(wanted.url)
    base = f"{'https' if address.tls else 'http'}://{address.authority}"
    headers = {"user-agent": MARKER} | ({"authorization": f"Bearer {wanted.key}"} if wanted.key else {})
    async with httpx.AsyncClient(
        base_url=base, headers=headers, timeout=wanted.timeout_s, follow_redirects=False, trust_env=False
    ) as client:
        return await _Discovery(client, wanted, address, path).run()


class _Discovery:
    def __init__(self, client: httpx.AsyncClient, wanted: Wanted, address: Address, path: str) -> None:
        self._client = client
        self._wanted = wanted
        self._address = address
        self._path = path
        self._documents: dict[str, Any] = {}

    async def run(self) -> Target:
        """Ask, and put together what was understood."""
        await self._reachable()
        dialect = await self._dialect()
        match dialect:
            case "oip":
                path, model, writer, limits = await self._oip()
            case "openapi":
                path, model, writer, limits = await self._openapi()
            case _:
                path, model, writer, limits = await self._known_route(dialect)
        writers: dict[str, Writer] = {path: writer}
        trial = TargetSpelling(dialect, path, model, writers, (), limits)
        await self._try(trial)
        aliases = await self._aliases(trial, writers)
        return Target(
            address=self._address,
            spelling=TargetSpelling(dialect, path, model, writers, aliases, limits),
            key=self._wanted.key,
            health=await self._health(path),
            metrics=await self._has_metrics(),
            url=self._wanted.url,
        )

    async def _reachable(self) -> None:
        try:
            await self._client.get("/")
        except httpx.HTTPError as error:
            raise ConfigError(
                f"{self._wanted.url} is not reachable ({type(error).__name__}): start the server, or check host and port"
            ) from error

    async def _document(self, path: str) -> Any:
        """A JSON document by GET, None when there is none."""
        if path not in self._documents:
            try:
                answer = await self._client.get(path)
                self._documents[path] = answer.json() if answer.status_code == 200 else None
            except (httpx.HTTPError, ValueError):
                self._documents[path] = None
        return self._documents[path]

    async def _dialect(self) -> str:
        if self._wanted.dialect:
            return self._wanted.dialect
        if "/v2/models/" in self._path:
            return "oip"
        if (found := spelling.known(self._path)) is not None:
            return found[0]
        if isinstance(about := await self._document("/info"), dict) and "model_id" in about:
            return "tei"
        if isinstance(models := await self._document("/v1/models"), dict) and "data" in models:
            return "openai"
        if isinstance(about := await self._document("/v2"), dict) and "name" in about:
            return "oip"
        if await self._described() is not None:
            return "openapi"
        raise ConfigError(
            f"{self._wanted.url}: no dialect recognised; give the URL of a route and --dialect {'|'.join(DIALECTS)}"
        )

    async def _known_route(self, dialect: str) -> tuple[str, str, Writer, dict[str, int]]:
        path = self._path or ("/v1/embeddings" if dialect == "openai" else "/embed")
        found = spelling.known(path)
        if found is None or found[0] != dialect:
            routes = ", ".join(end for end, (name, _) in spelling.ROUTES.items() if name == dialect)
            raise ConfigError(
                f"{path} is no route of {dialect} that the probe can spell; it knows paths ending in {routes}"
            )
        model, limits = self._wanted.model or "", {}
        about = await self._document("/info")
        if isinstance(about, dict):
            limits = {
                ours: int(about[theirs]) for theirs, ours in _LIMITS.items() if isinstance(about.get(theirs), int)
            }
            if dialect == "tei":
                model = model or str(about.get("model_id", ""))
        if dialect == "openai" and not model:
            model = await self._first_model()
        return path, model, found[1], limits

    async def _first_model(self) -> str:
        models = await self._document("/v1/models")
        listed = models.get("data") if isinstance(models, dict) else None
        if not isinstance(listed, list) or not listed or not isinstance(listed[0], dict) or "id" not in listed[0]:
            raise ConfigError(f"{self._wanted.url}: /v1/models names no model; give --model NAME")
        return str(listed[0]["id"])

    async def _oip(self) -> tuple[str, str, Writer, dict[str, int]]:
        parts = self._path.split("/")
        model = self._wanted.model or (parts[3] if len(parts) > 3 and parts[1:3] == ["v2", "models"] else "")
        if not model:
            raise ConfigError(f"{self._wanted.url}: an OIP server does not list its models; give --model NAME")
        about = await self._document(f"/v2/models/{model}")
        if not isinstance(about, dict) or not about.get("inputs"):
            raise ConfigError(f"{self._wanted.url}: /v2/models/{model} says nothing of its inputs; is the name right?")
        tensors = tuple(
            Tensor(str(item["name"]), str(item["datatype"]), tuple(int(size) for size in item.get("shape", ())))
            for item in about["inputs"]
        )
        return f"/v2/models/{model}/infer", model, TensorWriter(tensors), {}

    async def _described(self) -> tuple[dict[str, Any], str] | None:
        """The target's OpenAPI document and its path, None when it has none where servers usually have it."""
        for path in _DESCRIPTIONS:
            if isinstance(found := await self._document(path), dict) and isinstance(found.get("paths"), dict):
                return found, path
        return None

    async def _openapi(self) -> tuple[str, str, Writer, dict[str, int]]:
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
        model = self._wanted.model or ""
        for route in found[:-1]:
            # A base was given: the first route that answers, those that take text before others.
            if await self._answers(route.path, route.writer(model, _BENIGN)):
                return route.path, model, route.writer, {}
        return found[-1].path, model, found[-1].writer, {}

    async def _try(self, trial: TargetSpelling) -> None:
        request = trial.request(_BENIGN)
        for _ in range(3):
            try:
                answer = await self._client.post(
                    request.path, content=request.body, headers={"content-type": "application/json"}
                )
            except httpx.HTTPError as error:
                raise ConfigError(
                    f"{request.path}: an ordinary request got no answer ({type(error).__name__})"
                ) from error
            if answer.is_success:
                return
        raise ConfigError(
            f"{request.path}: an ordinary request is answered {answer.status_code}: {answer.text[:200]!r}; "
            "check --dialect, --model and --key"
        )

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
        own = trial.writers[trial.path]
        described = await self._described() if isinstance(own, openapi.SchemaWriter) else None
        for route in openapi.routes(described[0], served_at=described[1]) if described is not None else ():
            # Only what takes the same field does the same work; anything else might do harm.
            if isinstance(own, openapi.SchemaWriter) and (route.writer.at, route.writer.many) == (own.at, own.many):
                candidates[route.path] = route.writer
        found = []
        model = trial.model or (await self._first_model() if await self._document("/v1/models") else "")
        for path, writer in candidates.items():
            if path != trial.path and await self._answers(path, writer(model, _BENIGN)):
                writers[path] = writer if model == trial.model else _Named(writer, model)
                found.append(path)
        return tuple(found)

    async def _answers(self, path: str, document: dict[str, Any]) -> bool:
        try:
            answer = await self._client.post(
                path, content=spelling.encode(document), headers={"content-type": "application/json"}
            )
        except httpx.HTTPError:
            return False
        return answer.is_success

    async def _health(self, path: str) -> str:
        """The first health route that says 200; else the route under test by GET, whose 405 is as good a sign of life."""
        for candidate in _HEALTH:
            try:
                if (await self._client.get(candidate)).status_code == 200:
                    return candidate
            except httpx.HTTPError:
                continue
        return path

    async def _has_metrics(self) -> bool:
        try:
            answer = await self._client.get("/metrics")
        except httpx.HTTPError:
            return False
        return answer.status_code == 200 and b"process_" in answer.content


@dataclass(frozen=True, slots=True)
class _Named:
    writer: Writer
    model: str

    def __call__(self, model: str, inputs: Any) -> dict[str, Any]:
        """The body, under the model's name on that route."""
        return self.writer(self.model, inputs)
