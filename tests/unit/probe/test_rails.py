"""Rails: whose target it is, how much may be sent, which cases are opt-in."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.probe.tiny import saying

from wickguard.errors import ConfigError
from wickguard.probe.case import ANY_DIALECT, Case, Profile, Risk
from wickguard.probe.events import EndReason
from wickguard.probe.finding import Oracle, Taxonomy
from wickguard.probe.rails import LIMITS, TOKEN_PATH, Allowance, Limits, loopback, refuse_case, secret, serves, token
from wickguard.probe.trace import Trace

CASE = Case(
    "X1", "x", Risk.LIGHT, ANY_DIALECT, "n", (1,), lambda target, size, chance: Trace(()), None,
    frozenset({Oracle.STATUS}), Taxonomy(),
)  # fmt: skip


def test_only_loopback_needs_no_token_when_all_addresses_are_local() -> None:
    """One address elsewhere is enough to ask for proof."""
    assert loopback(["127.0.0.1", "::1"])
    assert not loopback(["127.0.0.1", "192.168.1.4"])
    assert not loopback([])


def test_token_is_of_one_operator_and_one_target_when_it_is_made() -> None:
    """Nobody's token proves anything for another target or another operator."""
    assert token(b"a", "h:80") == token(b"a", "H:80")
    assert len({token(b"a", "h:80"), token(b"b", "h:80"), token(b"a", "h:81")}) == 3


WANTED = "ab" * 32


@pytest.mark.parametrize(
    ("answer", "proven"),
    [
        (f"HTTP/1.1 200 OK\r\nContent-Length: 65\r\n\r\n{WANTED}\n", True),
        (f"HTTP/1.0 200 OK\r\n\r\n{WANTED}", True),
        (f"HTTP/1.1 200 OK\r\nContent-Length: 64\r\n\r\n{'cd' * 32}", False),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", False),
        (f"HTTP/1.1 404 Not Found\r\nContent-Length: 64\r\n\r\n{WANTED}", False),
        (f"HTTP/1.1 302 Found\r\nLocation: /proof\r\nContent-Length: 64\r\n\r\n{WANTED}", False),
        (f"HTTP/1.1 200 OK\r\nContent-Length: 65\r\n\r\n{WANTED}", False),
        (f"HTTP/1.1 200 OK\r\nContent-Length: 8256\r\n\r\n{WANTED}{' ' * 8192}", False),
        ("", False),
    ],
    ids=["served", "till the end", "another", "empty", "not found", "elsewhere", "broken off", "more", "nothing"],
)
def test_ownership_is_proven_when_the_target_itself_serves_the_token_and_nothing_else(
    answer: str, proven: bool
) -> None:
    """One GET, of that one path and without a key, is all that it sees."""

    async def ask() -> tuple[bool, list[bytes]]:
        async with saying(answer.encode()) as (address, read):
            return await serves(address, WANTED, 5.0), read

    found, seen = asyncio.run(ask())
    assert found is proven
    assert len(seen) == 1
    assert seen[0].startswith(f"GET {TOKEN_PATH} HTTP/1.1\r\n".encode())
    assert b"uthorization" not in seen[0]


def test_secret_is_kept_private_when_it_is_made(tmp_path: Path) -> None:
    """The first call makes it, readable by its owner alone; the second reads it."""
    path = tmp_path / "w" / "secret"
    assert secret(path) == secret(path)
    assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("requests", "sent", "seconds", "reason"),
    [
        (10, 0, 0.0, EndReason.OUT_OF_REQUESTS),
        (0, 100, 0.0, EndReason.OUT_OF_BYTES),
        (0, 0, 50.0, EndReason.OUT_OF_TIME),
        (9, 99, 49.0, None),
    ],
)
def test_allowance_names_what_is_used_up_when_it_is(
    requests: int, sent: int, seconds: float, reason: EndReason | None
) -> None:
    """Each of the three limits ends a run by its own name."""
    allowance = Allowance(Limits(10, 100, 50.0, 5.0, 1.0, 3, 1.0), began=0.0)
    allowance.spend(requests, sent)
    assert allowance.exceeded(seconds) is reason


def test_dangerous_cases_run_only_when_they_are_asked_for() -> None:
    """What may end a process runs in no profile but deep."""
    crash = replace(CASE, risk=Risk.CRASH)
    assert "deep" in refuse_case(crash, Profile.SHORT, "tei")
    assert "deep" in refuse_case(crash, Profile.STANDARD, "tei")
    assert refuse_case(crash, Profile.DEEP, "tei") == ""
    assert "standard" in refuse_case(replace(CASE, risk=Risk.HEAVY), Profile.SHORT, "tei")


def test_short_ends_within_three_minutes_when_its_limits_hold() -> None:
    """The profile's own time leaves room for discovery."""
    assert LIMITS[Profile.SHORT].seconds + LIMITS[Profile.SHORT].request_s < 180


def test_limits_refuse_when_they_contradict_each_other() -> None:
    """A request may not take longer than the run."""
    with pytest.raises(ConfigError):
        Limits(10, 10, 5.0, 6.0, 1.0, 3, 1.0)
