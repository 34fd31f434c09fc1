"""Decode: RawRequest -> Call, by the endpoint of the route.

Decides nothing but which endpoint it is. It must not know dialects, modalities or prices.
"""

from __future__ import annotations

from collections.abc import Mapping

from wickguard.guard.endpoint import Body, Endpoint
from wickguard.guard.routes import Route, Service
from wickguard.records import Call, RawRequest
from wickguard.rejection import Rejection


class Decoder:
    """All endpoints of a server, by service."""

    def __init__(self, endpoints: Mapping[Service, Endpoint]) -> None:
        self._endpoints = endpoints

    def decode(self, raw: RawRequest, route: Route) -> Call | Rejection:
        """The call in `raw`."""
        return self._endpoints[route.service].decode(raw, route.dialect)

    def render(self, call: Call, result: bytes, route: Route) -> Body:
        """The answer to `call`."""
        return self._endpoints[route.service].render(call, result, route.dialect)
