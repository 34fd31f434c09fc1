"""The edge: the first no, on headers alone where it can be; then the body, under byte and time limits.

Decides whether a head is acceptable for its route, when the call is due, and whether the body may be held in memory.
Promises: nothing is read for a refused request; a body is counted while it streams, never after; bytes in flight of all
requests together stay under one limit; allocates a constant times the bytes received (law 7). It must not know JSON,
tenants' prices or queues.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from wickguard.deadline import Deadline
from wickguard.errors import SettingError
from wickguard.guard.head import Head, Receive
from wickguard.guard.routes import NO_MEDIA, ROUTES, Route, match
from wickguard.rejection import Reason, Rejection
from wickguard.setting import check
from wickguard.units import GIB, KIB, MIB

TIMEOUT_HEADER = b"x-request-timeout-ms"
# Of the Open Inference Protocol: so many bytes of the body are JSON, the rest is raw.
JSON_LENGTH_HEADER = b"inference-header-content-length"
# Values nobody needs in a head of an inference request; RFC 9110 lets a server refuse an Expect it does not know (417).
_CONTINUE = b"100-continue"


@dataclass(frozen=True, slots=True)
class EdgeSettings:
    """Byte and time limits of a request, before anything in it is understood.

    max_body_bytes: of one body.
    max_picture_bytes: of a body that is a picture, which is not parsed here; 0 = half of max_bytes_per_caller.
    max_head_bytes: of all headers of a request.
    max_headers: in one request; the HTTP parser itself takes at most 100.
    max_target_bytes: of path and query.
    body_timeout_s: for a whole body, however fast it comes.
    min_rate_bytes_s: bytes per second that a body must keep up, after rate_grace_s.
    rate_grace_s: so long a slow start is not an attack.
    min_piece_bytes: mean size of the pieces in which a body comes, after the first few; each costs the same CPU time.
    max_bytes_in_flight: of the bodies of all requests together; and, counted apart, of large answers until they are read.
    max_bytes_per_caller: the same of one caller, so that nobody alone can use up max_bytes_in_flight.
    max_open_per_caller: requests of one caller between head and answer.
    default_timeout_s: when an answer is due if the client says nothing.
    max_timeout_s: the longest that a client may ask for.
    """

    max_body_bytes: Annotated[int, Meta(ge=KIB, le=GIB)] = 1 * MIB
    max_picture_bytes: Annotated[int, Meta(ge=0, le=GIB)] = 0
    max_head_bytes: Annotated[int, Meta(ge=KIB, le=64 * KIB)] = 16 * KIB
    max_headers: Annotated[int, Meta(ge=1, le=100)] = 64
    max_target_bytes: Annotated[int, Meta(ge=64, le=64 * KIB)] = 2 * KIB
    body_timeout_s: Annotated[float, Meta(ge=0.001, le=3600)] = 20.0
    min_rate_bytes_s: Annotated[int, Meta(ge=0, le=GIB)] = 4 * KIB
    rate_grace_s: Annotated[float, Meta(ge=0, le=3600)] = 3.0
    min_piece_bytes: Annotated[int, Meta(ge=0, le=KIB)] = 64
    max_bytes_in_flight: Annotated[int, Meta(ge=KIB, le=1 << 40)] = 64 * MIB
    max_bytes_per_caller: Annotated[int, Meta(ge=KIB, le=1 << 40)] = 16 * MIB
    max_open_per_caller: Annotated[int, Meta(ge=1, le=65_536)] = 64
    default_timeout_s: Annotated[float, Meta(ge=0.001, le=86_400)] = 60.0
    max_timeout_s: Annotated[float, Meta(ge=0.001, le=86_400)] = 300.0

    def __post_init__(self) -> None:
        check(self)
        for low, high in (
            ("max_body_bytes", "max_bytes_per_caller"),
            ("max_picture_bytes", "max_bytes_per_caller"),
            ("max_bytes_per_caller", "max_bytes_in_flight"),
            ("default_timeout_s", "max_timeout_s"),
        ):
            if getattr(self, low) > getattr(self, high):
                raise SettingError("{} must be at most {}", low, high, seen=f"{getattr(self, low):.12g}")

    @property
    def picture_bytes(self) -> int:
        """Of a body that is a picture."""
        return self.max_picture_bytes or max(self.max_body_bytes, self.max_bytes_per_caller // 2)

    def most_bytes(self, media: bytes) -> int:
        """Of a body of this media type, which its route takes."""
        return self.picture_bytes if media.startswith(b"image/") else self.max_body_bytes


class InFlight:
    """Bytes of bodies (`what`) held now, and requests open per caller. Every hold is given back by its owner, once."""

    def __init__(self, settings: EdgeSettings, what: str = "bodies") -> None:
        self._settings = settings
        self._what = what
        self._open: dict[str, int] = {}
        self._bytes: dict[str, int] = {}
        self.bytes_held = 0

    def adopt(self, settings: EdgeSettings) -> None:
        """Other limits from now on; what is held stays held."""
        self._settings = settings

    @property
    def open_requests(self) -> int:
        """Requests between head and answer."""
        return sum(self._open.values())

    def open(self, tenant: str) -> Rejection | None:
        """Count a request of `tenant` in, or refuse it."""
        count = self._open.get(tenant, 0)
        most = self._settings.max_open_per_caller
        if count >= most:
            return Rejection(
                Reason.OVER_SHARE, "too many requests open at once", limit=most, seen=count + 1, unit="open requests",
                accepted=f"at most {most} at once", retry_after_s=1.0,
            )  # fmt: skip
        self._open[tenant] = count + 1
        return None

    def close(self, tenant: str) -> None:
        """Count a request of `tenant` out."""
        left = self._open[tenant] - 1
        if left:
            self._open[tenant] = left
        else:
            del self._open[tenant]

    def take(self, tenant: str, size_bytes: int) -> Rejection | None:
        """Hold bytes for a body of `tenant`, or hold nothing and refuse."""
        own, most = self._bytes.get(tenant, 0) + size_bytes, self._settings.max_bytes_per_caller
        if own > most:
            return Rejection(
                Reason.OVER_SHARE, f"too many bytes of {self._what} at once", limit=most, seen=own, unit="bytes",
                accepted=f"fewer or smaller {self._what} at once", retry_after_s=1.0,
            )  # fmt: skip
        if self.bytes_held + size_bytes > self._settings.max_bytes_in_flight:
            return Rejection(Reason.TOO_MANY_BYTES_IN_FLIGHT, "", retry_after_s=1.0)
        self._bytes[tenant] = own
        self.bytes_held += size_bytes
        return None

    def give_back(self, tenant: str, size_bytes: int) -> None:
        """Release bytes."""
        self.bytes_held -= size_bytes
        left = self._bytes.get(tenant, 0) - size_bytes
        if left > 0:
            self._bytes[tenant] = left
        else:
            self._bytes.pop(tenant, None)


def find_route(head: Head, settings: EdgeSettings) -> Route | Rejection:
    """The route of a head that is acceptable so far; checks that hold for every route."""
    if head.fields > settings.max_headers or head.size_bytes > settings.max_head_bytes:
        return Rejection(
            Reason.HEADERS_TOO_LARGE, "too many or too large headers", limit=settings.max_head_bytes,
            seen=head.size_bytes, unit="bytes",
            accepted=f"{settings.max_headers} headers, {settings.max_head_bytes} bytes",
        )  # fmt: skip
    target = len(head.path) + len(head.query)
    if target > settings.max_target_bytes:
        return Rejection(
            Reason.URI_TOO_LONG, "the request target is too long", limit=settings.max_target_bytes, seen=target,
            unit="bytes",
        )  # fmt: skip
    if len(head.values(b"host")) > 1:
        return Rejection(Reason.MALFORMED, "it must come once", "Host")
    route = match(head.path)
    if route is None:
        return Rejection(Reason.UNKNOWN_ROUTE, "", accepted=", ".join(ROUTES))
    if head.method != route.method:
        return Rejection(Reason.METHOD_NOT_ALLOWED, "", accepted=route.method)
    return route


def screen(head: Head, route: Route, settings: EdgeSettings) -> Rejection | None:
    """Checks on the head of an inference request, before a byte of its body is read."""
    for value in head.values(b"expect"):
        if value.lower() != _CONTINUE:
            return Rejection(Reason.EXPECTATION_FAILED, "", "Expect", accepted="100-continue")
    for value in head.values(b"content-encoding"):
        if value.strip().lower() != b"identity":
            return Rejection(
                Reason.UNSUPPORTED_ENCODING, "send the body uncompressed", "Content-Encoding", accepted="identity"
            )
    if head.one(b"range") is not None:
        return Rejection(Reason.UNSUPPORTED_FIELD, "ranges make no sense here", "Range", accepted="no Range header")
    media = head.media
    if media not in route.media or len(head.values(b"content-type")) > 1:
        accepted = b", ".join(name for name in route.media if name != NO_MEDIA).decode()
        return Rejection(Reason.UNSUPPORTED_MEDIA_TYPE, "", "Content-Type", accepted=accepted)
    return _check_length(head, settings.most_bytes(media))


def _check_length(head: Head, most_bytes: int) -> Rejection | None:
    lengths = head.values(b"content-length")
    if not lengths:
        codings = [value.strip().lower() for value in head.values(b"transfer-encoding")]
        if not codings:
            return Rejection(Reason.LENGTH_REQUIRED, "say how long the body is", "Content-Length")
        if codings != [b"chunked"]:
            return Rejection(
                Reason.UNSUPPORTED_ENCODING, "send the body uncompressed", "Transfer-Encoding", accepted="chunked"
            )
        return None
    if head.one(b"transfer-encoding") is not None:
        return Rejection(Reason.MALFORMED, "not together with Transfer-Encoding", "Content-Length")
    if len(lengths) > 1 or not lengths[0].isdigit():
        return Rejection(Reason.MALFORMED, "it must be one number", "Content-Length")
    # 20 digits hold any length that fits 64 bits; more are not worth converting.
    length = int(lengths[0]) if len(lengths[0]) <= 20 else 10**20
    if length > most_bytes:
        return too_large(length, most_bytes)
    return None


def too_large(seen: int, most_bytes: int) -> Rejection:
    """The refusal of a body over the limit."""
    return Rejection(
        Reason.BODY_TOO_LARGE, "send fewer or smaller inputs per request", limit=most_bytes, seen=seen, unit="bytes",
        accepted=f"at most {most_bytes} bytes",
    )  # fmt: skip


def find_deadline(head: Head, settings: EdgeSettings, now: float) -> Deadline | Rejection:
    """When the answer is due: what the client says, within what the server allows."""
    value = head.one(TIMEOUT_HEADER)
    if value is None:
        return Deadline.after(settings.default_timeout_s, now)
    if not value.isdigit() or len(value) > 9 or int(value) == 0:
        return Rejection(
            Reason.MALFORMED, "it must be a whole number of milliseconds", TIMEOUT_HEADER.decode(),
            accepted=f"1 to {settings.max_timeout_s * 1000:.0f}",
        )  # fmt: skip
    return Deadline.after(min(int(value) / 1000, settings.max_timeout_s), now, by_client=True)


# Pieces that every body may come in, whatever their size.
FREE_PIECES = 256


class BodyReader:
    """Reads one body of `tenant` under the limits, at most `most_bytes`; holds its bytes in `flight` until `close`."""

    def __init__(
        self, settings: EdgeSettings, flight: InFlight, tenant: str, clock: Callable[[], float], most_bytes: int
    ) -> None:
        self._settings = settings
        self._most_bytes = most_bytes
        self._flight = flight
        self._tenant = tenant
        self._clock = clock
        self.held = 0

    async def read(self, receive: Receive, due: Deadline) -> bytes | Rejection:
        """The whole body, or why it was not taken. BODY_INCOMPLETE when the client left."""
        settings, start = self._settings, self._clock()
        chunks: list[bytes] = []
        while True:
            try:
                async with asyncio.timeout(self._time_left(start, due)):
                    message = await receive()
            except TimeoutError:
                return self._too_slow()
            if message["type"] == "http.disconnect":
                # Either the client left or its chunks are malformed; the server does not say which. An answer that
                # nobody reads costs nothing, none at all would become a 500.
                return Rejection(Reason.BODY_INCOMPLETE, "", seen=self.held, unit="bytes")
            chunk: bytes = message.get("body", b"")
            if chunk:
                if self.held + len(chunk) > self._most_bytes:
                    return too_large(self.held + len(chunk), self._most_bytes)
                refusal = self._flight.take(self._tenant, len(chunk))
                if refusal is not None:
                    return refusal
                self.held += len(chunk)
                chunks.append(chunk)
                if len(chunks) > FREE_PIECES and self.held < (len(chunks) - 1) * settings.min_piece_bytes:
                    return self._too_small(len(chunks))
            if not message.get("more_body", False):
                return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def close(self) -> None:
        """Give the held bytes back; the body must not be used any more."""
        self._flight.give_back(self._tenant, self.held)
        self.held = 0

    def _time_left(self, start: float, due: Deadline) -> float:
        # The absolute limit, the call's own deadline, and the instant at which the rate would fall below the minimum.
        settings = self._settings
        until = min(start + settings.body_timeout_s, due.at)
        if settings.min_rate_bytes_s:
            until = min(until, start + settings.rate_grace_s + self.held / settings.min_rate_bytes_s)
        return max(0.0, until - self._clock())

    def _too_small(self, pieces: int) -> Rejection:
        return Rejection(
            Reason.BODY_TOO_LARGE, "it comes in too many small pieces", limit=FREE_PIECES, seen=pieces, unit="pieces",
            accepted=f"pieces of {self._settings.min_piece_bytes} bytes or more",
        )  # fmt: skip

    def _too_slow(self) -> Rejection:
        settings = self._settings
        return Rejection(
            Reason.BODY_TIMEOUT, "", seen=self.held, unit="bytes",
            accepted=f"the whole body in {settings.body_timeout_s:g} s, and after {settings.rate_grace_s:g} s "
            f"at least {settings.min_rate_bytes_s} bytes a second",
        )  # fmt: skip
