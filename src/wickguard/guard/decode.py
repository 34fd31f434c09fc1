"""Decode: RawRequest -> Call, by the endpoint of the route.

Decides nothing but which endpoint it is. It must not know dialects, modalities or prices.
"""

from __future__ import annotations

from collections.abc import Mapping

from wickguard.guard.endpoint import Body, Endpoint, Streaming
from wickguard.guard.routes import Route, Service
from wickguard.guard.stream import Spelled
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

    def spelling(self, call: Call, route: Route) -> Spelled:
        """How the pieces of the answer to `call` are spelled."""
        return self._streaming(route).spelling(call)

    def render_end(self, call: Call, result: bytes, route: Route) -> bytes:
        """What comes after the last piece of the answer to `call`."""
        return self._streaming(route).render_end(call, result)

    def _streaming(self, route: Route) -> Streaming:
        endpoint = self._endpoints[route.service]
        if not isinstance(endpoint, Streaming):
            raise AssertionError(f"{route.path} does not stream")
        return endpoint
