"""The routes: a closed table. What is not in it does not exist.

Every alias of an inference route passes the same pipeline; there is no second way in. It must not know how a route is
served.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Service(StrEnum):
    """What a route is for."""

    EMBED = "embed"
    GENERATE = "generate"
    CLASSIFY = "classify"
    FORECAST = "forecast"
    INFER = "infer"
    QUOTE = "quote"
    MODELS = "models"
    SERVER = "server"
    MODEL = "model"
    MODEL_READY = "model_ready"
    LIVE = "live"
    READY = "ready"
    STARTUP = "startup"
    METRICS = "metrics"


@dataclass(frozen=True, slots=True)
class Route:
    """path, the one method it takes, what it is for, the dialect of its errors ("" for problem details), and the media types
    of its bodies.
    """

    path: str
    method: str
    service: Service
    dialect: str = ""
    media: tuple[bytes, ...] = (b"application/json",)

    @property
    def inference(self) -> bool:
        """Whether it takes a body and passes the pipeline."""
        return self.service in _INFERENCE


_INFERENCE = (
    Service.EMBED, Service.GENERATE, Service.CLASSIFY, Service.FORECAST, Service.INFER, Service.QUOTE
)  # fmt: skip
NO_MEDIA = b""
"""Among the media types of a route: the request may leave the header out."""
PICTURES = (b"application/json", b"image/png", b"image/jpeg", b"image/webp")
TENSORS = (b"application/json", b"application/octet-stream", NO_MEDIA)

ROUTES: dict[str, Route] = {
    route.path: route
    for route in (
        Route("/v1/embeddings", "POST", Service.EMBED, "openai"),
        Route("/embed", "POST", Service.EMBED, "tei"),
        Route("/v1/chat/completions", "POST", Service.GENERATE, "openai"),
        Route("/v1/completions", "POST", Service.GENERATE, "openai"),
        Route("/v1/classify", "POST", Service.CLASSIFY, "openai", PICTURES),
        Route("/v1/forecast", "POST", Service.FORECAST, "openai"),
        Route("/v1/quote", "POST", Service.QUOTE),
        Route("/v2", "GET", Service.SERVER, "oip"),
        Route("/v2/health/live", "GET", Service.LIVE),
        Route("/v2/health/ready", "GET", Service.READY),
        Route("/v2/models/{model}", "GET", Service.MODEL, "oip"),
        Route("/v2/models/{model}/ready", "GET", Service.MODEL_READY, "oip"),
        Route("/v2/models/{model}/infer", "POST", Service.INFER, "oip", TENSORS),
        Route("/v1/models", "GET", Service.MODELS, "openai"),
        Route("/health/live", "GET", Service.LIVE),
        Route("/health/ready", "GET", Service.READY),
        Route("/health/startup", "GET", Service.STARTUP),
        Route("/metrics", "GET", Service.METRICS),
    )
}

_MODELS = "/v2/models/"
# The Open Inference Protocol has versions of models; a server here has one of each, and any word names it.
_MOST_PARTS = 4


def match(path: str) -> Route | None:
    """The route of a path; None when there is none."""
    found = ROUTES.get(path)
    if found is not None and "{" not in path:
        return found
    if not path.startswith(_MODELS):
        return None
    parts = path[len(_MODELS) :].split("/", _MOST_PARTS)
    if len(parts) >= 3 and parts[1] == "versions" and parts[2]:
        del parts[1:3]
    if not parts[0]:
        return None
    return ROUTES.get("/".join((_MODELS + "{model}", *parts[1:])))


def model_in(path: str) -> str:
    """The name of the model in a path that `match` has accepted, "" when it has no place for one."""
    return path[len(_MODELS) :].split("/", 1)[0] if path.startswith(_MODELS) else ""
