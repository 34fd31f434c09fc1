"""The edge: every limit on a head, and on a body that comes by script."""

from __future__ import annotations

import asyncio

import pytest
from tests.fakes import Exchange, FakeClock, body, head, settle_down

from wickguard.deadline import Deadline
from wickguard.errors import ConfigError
from wickguard.guard.edge import FREE_PIECES, BodyReader, EdgeSettings, InFlight, find_deadline, find_route, screen
from wickguard.guard.routes import ROUTES, Route
from wickguard.rejection import Reason, Rejection
from wickguard.units import KIB, MIB

SETTINGS = EdgeSettings(max_body_bytes=KIB, max_bytes_per_caller=2 * KIB, max_bytes_in_flight=3 * KIB)
JSON = (b"content-type", b"application/json")
LENGTH = (b"content-length", b"10")
FAR = Deadline(1e12)


def reason_of(found: object) -> Reason | None:
    """The reason of a rejection, None for anything else."""
    return found.reason if isinstance(found, Rejection) else None


@pytest.mark.parametrize("path", list(ROUTES))
def test_each_route_is_found_when_its_method_is_right(path: str) -> None:
    """And refused with the right method when it is not."""
    method = ROUTES[path].method
    assert isinstance(find_route(head(path=path, method=method), SETTINGS), Route)
    wrong = find_route(head(path=path, method="PUT"), SETTINGS)
    assert isinstance(wrong, Rejection)
    assert (wrong.reason, wrong.accepted) == (Reason.METHOD_NOT_ALLOWED, method)


@pytest.mark.parametrize("path", ["/", "/v1/embeddings/", "/V1/embeddings", "//v1/embeddings", "/v1/../embed", "*", ""])
def test_nothing_is_found_when_the_path_is_not_in_the_table(path: str) -> None:
    """No normalising: what is not in the table does not exist."""
    assert reason_of(find_route(head(path=path), SETTINGS)) is Reason.UNKNOWN_ROUTE


def test_headers_are_refused_when_they_are_many_or_large() -> None:
    """One more than allowed, and one byte more than allowed."""
    most = SETTINGS.max_headers
    assert reason_of(find_route(head(*[(b"a", b"")] * most), SETTINGS)) is None
    assert reason_of(find_route(head(*[(b"a", b"")] * (most + 1)), SETTINGS)) is Reason.HEADERS_TOO_LARGE
    room = SETTINGS.max_head_bytes - 5
    assert reason_of(find_route(head((b"a", b"x" * room)), SETTINGS)) is None
    assert reason_of(find_route(head((b"a", b"x" * (room + 1))), SETTINGS)) is Reason.HEADERS_TOO_LARGE


def test_a_head_is_refused_when_it_names_two_hosts() -> None:
    """Whoever stands before us may have believed the other one (RFC 9112, 3.2)."""
    assert reason_of(find_route(head((b"host", b"a"), (b"host", b"b")), SETTINGS)) is Reason.MALFORMED


def test_target_is_refused_when_it_is_long() -> None:
    """Before it is looked up."""
    assert reason_of(find_route(head(path="/" * 3000), SETTINGS)) is Reason.URI_TOO_LONG


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ([JSON, LENGTH], None),
        ([(b"content-type", b"Application/JSON; charset=utf-8"), LENGTH], None),
        ([JSON, LENGTH, (b"expect", b"100-Continue")], None),
        ([JSON, LENGTH, (b"content-encoding", b"identity")], None),
        ([JSON, (b"transfer-encoding", b"Chunked")], None),
        ([JSON, LENGTH, (b"expect", b"200-ok")], Reason.EXPECTATION_FAILED),
        ([JSON, LENGTH, (b"expect", b"100-continue"), (b"expect", b"x")], Reason.EXPECTATION_FAILED),
        ([JSON, LENGTH, (b"content-encoding", b"gzip")], Reason.UNSUPPORTED_ENCODING),
        ([JSON, LENGTH, (b"content-encoding", b"identity, gzip")], Reason.UNSUPPORTED_ENCODING),
        (
            [JSON, LENGTH, (b"content-encoding", b"identity"), (b"content-encoding", b"br")],
            Reason.UNSUPPORTED_ENCODING,
        ),
        ([JSON, (b"transfer-encoding", b"gzip, chunked")], Reason.UNSUPPORTED_ENCODING),
        ([JSON, (b"transfer-encoding", b"gzip"), (b"transfer-encoding", b"chunked")], Reason.UNSUPPORTED_ENCODING),
        ([JSON, LENGTH, (b"range", b"bytes=0-1")], Reason.UNSUPPORTED_FIELD),
        ([LENGTH], Reason.UNSUPPORTED_MEDIA_TYPE),
        ([(b"content-type", b"text/json"), LENGTH], Reason.UNSUPPORTED_MEDIA_TYPE),
        ([(b"content-type", b"multipart/form-data; boundary=x"), LENGTH], Reason.UNSUPPORTED_MEDIA_TYPE),
        ([JSON, (b"content-type", b"text/plain"), LENGTH], Reason.UNSUPPORTED_MEDIA_TYPE),
        ([JSON], Reason.LENGTH_REQUIRED),
        ([JSON, LENGTH, LENGTH], Reason.MALFORMED),
        ([JSON, LENGTH, (b"transfer-encoding", b"chunked")], Reason.MALFORMED),
        ([JSON, (b"content-length", b"+5")], Reason.MALFORMED),
        ([JSON, (b"content-length", b"-1")], Reason.MALFORMED),
        ([JSON, (b"content-length", b"5,5")], Reason.MALFORMED),
        ([JSON, (b"content-length", b"1_0")], Reason.MALFORMED),
        ([JSON, (b"content-length", b"1024")], None),
        ([JSON, (b"content-length", b"1025")], Reason.BODY_TOO_LARGE),
        ([JSON, (b"content-length", b"9" * 400)], Reason.BODY_TOO_LARGE),
    ],
)
def test_a_head_is_screened_when_no_body_byte_was_read(
    headers: list[tuple[bytes, bytes]], reason: Reason | None
) -> None:
    """Every header that says no, and the ones that look like it but don't."""
    assert reason_of(screen(head(*headers), ROUTES["/v1/embeddings"], SETTINGS)) is reason


@pytest.mark.parametrize(("value", "at"), [(b"1", 0.001), (b"2500", 2.5), (b"999999999", 300.0)])
def test_deadline_is_the_clients_when_it_names_one(value: bytes, at: float) -> None:
    """Capped by the server's largest."""
    due = find_deadline(head((b"x-request-timeout-ms", value)), SETTINGS, 100.0)
    assert due == Deadline(100.0 + at, by_client=True)


@pytest.mark.parametrize("value", [b"0", b"-1", b"1.5", b"", b"1e3", b"9" * 5000, "١".encode()])
def test_timeout_is_refused_when_it_is_no_number_of_milliseconds(value: bytes) -> None:
    """Never ignored: a client that asks for a limit and does not get it must know."""
    assert reason_of(find_deadline(head((b"x-request-timeout-ms", value)), SETTINGS, 0.0)) is Reason.MALFORMED


def test_deadline_is_the_default_when_the_client_names_none() -> None:
    """The server always has one."""
    assert find_deadline(head(), SETTINGS, 0.0) == Deadline(SETTINGS.default_timeout_s)


def read(
    exchange: Exchange, settings: EdgeSettings = SETTINGS, due: Deadline = FAR, most_bytes: int = 0
) -> tuple[bytes | Rejection, InFlight]:
    """Read one body with the loop's own clock."""

    async def scenario() -> tuple[bytes | Rejection, InFlight]:
        flight = InFlight(settings)
        reader = BodyReader(
            settings, flight, "t", asyncio.get_running_loop().time, most_bytes or settings.max_body_bytes
        )
        found = await reader.read(exchange.receive, due)
        assert flight.bytes_held == reader.held
        reader.close()
        return found, flight

    return asyncio.run(scenario())


def test_body_is_whole_when_it_comes_in_pieces() -> None:
    """Order kept, empty pieces ignored, everything given back."""
    found, flight = read(Exchange(body(b"a", more=True), body(b"", more=True), body(b"bc", more=True), body(b"")))
    assert found == b"abc"
    assert flight.bytes_held == 0


@pytest.mark.parametrize(("size", "reason"), [(KIB, None), (KIB + 1, Reason.BODY_TOO_LARGE)])
def test_body_is_counted_when_it_streams(size: int, reason: Reason | None) -> None:
    """The limit itself is accepted, one byte more is not."""
    found, _ = read(Exchange(body(b"x" * 1000, more=True), body(b"x" * (size - 1000))))
    assert reason_of(found) is reason


def test_no_more_is_read_when_a_body_is_too_large() -> None:
    """An endless body costs the limit and one piece."""
    exchange = Exchange(*[body(b"x" * 600, more=True)] * 50)
    found, _ = read(exchange)
    assert reason_of(found) is Reason.BODY_TOO_LARGE
    assert exchange.received == 2


def test_body_is_refused_when_its_pieces_are_tiny() -> None:
    """Each piece costs the same CPU time, whatever its size."""
    exchange = Exchange(*[body(b"x", more=True)] * 800)
    found, _ = read(exchange)
    assert isinstance(found, Rejection)
    assert (found.reason, found.unit) == (Reason.BODY_TOO_LARGE, "pieces")
    assert exchange.received == FREE_PIECES + 1


def test_body_is_incomplete_when_the_connection_ends_inside_it() -> None:
    """The client left, or its chunks are malformed: the same message either way."""
    exchange = Exchange(body(b"x", more=True))
    exchange.disconnect()
    assert reason_of(read(exchange)[0]) is Reason.BODY_INCOMPLETE


@pytest.mark.parametrize(
    ("settings", "due"),
    [
        (EdgeSettings(body_timeout_s=0.02), FAR),
        (EdgeSettings(rate_grace_s=0.02), FAR),
        (EdgeSettings(), Deadline(0.0)),
    ],
    ids=["absolute", "rate", "deadline"],
)
def test_body_times_out_when_it_does_not_come(settings: EdgeSettings, due: Deadline) -> None:
    """By the absolute limit, the least rate, or the call's own deadline."""
    found, _ = read(Exchange(body(b"x", more=True)), settings, due)
    assert reason_of(found) is Reason.BODY_TIMEOUT


def test_least_rate_is_asked_when_a_body_trickles() -> None:
    """A byte a second keeps no connection: what was held decides how long one may still wait."""

    async def scenario() -> tuple[Rejection | bytes, int]:
        clock = FakeClock()
        settings = EdgeSettings(rate_grace_s=3.0, min_rate_bytes_s=4)
        reader = BodyReader(settings, InFlight(settings), "t", clock, settings.max_body_bytes)
        exchange = Exchange()
        reading = asyncio.create_task(reader.read(exchange.receive, FAR))
        await settle_down()
        for second in range(1, 100):
            if reading.done():
                break
            exchange.feed(b"x", more=True)
            clock.now = 1000.0 + second
            await settle_down()
        return await reading, second

    found, seconds = asyncio.run(scenario())
    assert reason_of(found) is Reason.BODY_TIMEOUT
    # 3 s of grace, and a quarter of a second for each byte that came.
    assert seconds <= 6


def test_one_caller_is_refused_when_it_holds_its_share_of_bytes() -> None:
    """And the others still get theirs; beyond the sum nobody does."""
    flight = InFlight(SETTINGS)
    assert flight.take("a", 2 * KIB) is None
    assert reason_of(flight.take("a", 1)) is Reason.OVER_SHARE
    assert flight.take("b", KIB) is None
    assert reason_of(flight.take("b", 1)) is Reason.TOO_MANY_BYTES_IN_FLIGHT
    flight.give_back("a", 2 * KIB)
    assert flight.take("b", KIB) is None
    flight.give_back("b", 2 * KIB)
    assert flight.bytes_held == 0


@pytest.mark.parametrize(
    ("path", "media", "most"),
    [
        ("/v1/classify", b"image/jpeg", 8 * MIB),
        ("/v1/classify", b"Image/PNG; x=y", 8 * MIB),
        ("/v1/classify", b"application/json", MIB),
        ("/v1/embeddings", b"application/json", MIB),
        ("/v2/models/{model}/infer", b"application/octet-stream", MIB),
    ],
)
def test_body_may_be_larger_when_it_is_a_picture(path: str, media: bytes, most: int) -> None:
    """Half of what one caller may hold, said on the head and counted while it comes; whatever is parsed stays small."""
    settings = EdgeSettings()

    def refused(size: int) -> Rejection | None:
        found = head((b"content-type", media), (b"content-length", b"%d" % size))
        assert settings.most_bytes(found.media) == most
        return screen(found, ROUTES[path], settings)

    assert refused(most) is None
    over = refused(most + 1)
    assert over is not None and (over.reason, over.limit) == (Reason.BODY_TOO_LARGE, most)
    pieces = [body(bytes(most // 4), more=True)] * 4 + [body(b"x")]
    found, _ = read(Exchange(*pieces), settings, most_bytes=most)
    assert reason_of(found) is Reason.BODY_TOO_LARGE


def test_a_picture_is_never_larger_than_one_caller_may_hold_when_limits_are_small() -> None:
    """Whatever is chosen, and at least as large as any other body when nothing is."""
    assert EdgeSettings(max_bytes_per_caller=MIB).picture_bytes == MIB
    assert EdgeSettings(max_bytes_per_caller=4 * MIB).picture_bytes == 2 * MIB
    assert EdgeSettings(max_picture_bytes=KIB).picture_bytes == KIB


def test_one_caller_is_refused_when_it_has_many_requests_open() -> None:
    """Until one of them is answered."""
    flight = InFlight(EdgeSettings(max_open_per_caller=2))
    assert flight.open("a") is None
    assert flight.open("a") is None
    assert reason_of(flight.open("a")) is Reason.OVER_SHARE
    assert flight.open("b") is None
    flight.close("a")
    assert flight.open("a") is None
    for tenant in "aab":
        flight.close(tenant)
    assert flight.open_requests == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_body_bytes": 10},
        {"max_body_bytes": 100 * MIB},
        {"max_picture_bytes": 17 * MIB},
        {"max_bytes_per_caller": KIB},
        {"max_headers": 101},
        {"max_headers": 0},
        {"max_head_bytes": 10},
        {"max_target_bytes": 10**6},
        {"body_timeout_s": 0.0},
        {"rate_grace_s": -1.0},
        {"min_rate_bytes_s": -1},
        {"min_piece_bytes": -1},
        {"default_timeout_s": 400.0},
        {"max_open_per_caller": 0},
    ],
)
def test_settings_are_refused_when_out_of_range(wrong: dict[str, float]) -> None:
    """At load, not at the first request."""
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        EdgeSettings(**wrong)  # type: ignore[arg-type]
