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
    CLASSIFY = "classify"
    FORECAST = "forecast"
    QUOTE = "quote"
    MODELS = "models"
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
        return self.service in (Service.EMBED, Service.CLASSIFY, Service.FORECAST, Service.QUOTE)


PICTURES = (b"application/json", b"image/png", b"image/jpeg", b"image/webp")

ROUTES: dict[str, Route] = {
    route.path: route
    for route in (
        Route("/v1/embeddings", "POST", Service.EMBED, "openai"),
        Route("/embed", "POST", Service.EMBED, "tei"),
        Route("/v1/classify", "POST", Service.CLASSIFY, "openai", PICTURES),
        Route("/v1/forecast", "POST", Service.FORECAST, "openai"),
        Route("/v1/quote", "POST", Service.QUOTE),
        Route("/v1/models", "GET", Service.MODELS, "openai"),
        Route("/health/live", "GET", Service.LIVE),
        Route("/health/ready", "GET", Service.READY),
        Route("/health/startup", "GET", Service.STARTUP),
        Route("/metrics", "GET", Service.METRICS),
    )
}
