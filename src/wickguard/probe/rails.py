"""Safety rails: whom the probe may touch, how much it may send, and when it has to stop.

Decides that a target is the operator's own (loopback, or it serves a token that only this operator's probe makes), and
that requests, bytes and seconds stay inside a budget. Promises that nothing is sent before ownership is proven, and that a
budget once exceeded stays exceeded. Pure but for the two functions that say so. It must not know cases.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path

from wickguard.errors import ConfigError
from wickguard.probe.case import Case, Profile, Risk
from wickguard.probe.events import EndReason
from wickguard.probe.trace import Request
from wickguard.probe.wire import Address, send
from wickguard.units import GIB

TOKEN_PATH = "/.well-known/wickguard-probe"  # noqa: S105 -- a path
_SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that a run may do. request_s: time-out of one request. stop_s: a case stops growing beyond this latency.

    repeats: of each size. storm_s: how long a case is repeated beside a canary. canary_failures: that many ordinary requests
    in a row that suffer end a case; the run then waits `recovery_s` for one that does not, and is over when none comes.
    """

    requests: int
    bytes: int
    seconds: float
    request_s: float
    stop_s: float
    repeats: int
    storm_s: float
    canary_failures: int = 3
    recovery_s: float = 15.0

    def __post_init__(self) -> None:
        if min(self.requests, self.bytes, self.repeats, self.canary_failures) < 1 or self.recovery_s <= 0:
            raise ConfigError("requests, bytes, repeats and canary_failures must be at least 1, and recovery_s above 0")
        if not 0 < self.stop_s <= self.request_s <= self.seconds or self.storm_s < 0:
            raise ConfigError("must be 0 < stop_s <= request_s <= seconds and storm_s >= 0")


LIMITS: dict[Profile, Limits] = {
    Profile.SHORT: Limits(20_000, GIB, 165.0, 10.0, 1.5, 3, 1.6),
    Profile.STANDARD: Limits(100_000, 8 * GIB, 900.0, 20.0, 3.0, 4, 4.0),
    Profile.DEEP: Limits(1_000_000, 64 * GIB, 6 * 3600.0, 60.0, 10.0, 5, 8.0),
}

# The most dangerous class that a profile runs: what may end a process is asked for with `deep`.
HIGHEST_RISK: dict[Profile, Risk] = {
    Profile.SHORT: Risk.LIGHT,
    Profile.STANDARD: Risk.HEAVY,
    Profile.DEEP: Risk.CRASH,
}


class Allowance:
    """What of a budget is left. `began` and `now` are clock readings."""

    def __init__(self, limits: Limits, began: float) -> None:
        self.limits = limits
        self.began = began
        self.requests = 0
        self.bytes = 0

    def spend(self, requests: int, sent_bytes: int) -> None:
        """Count what was sent."""
        self.requests += requests
        self.bytes += sent_bytes

    def exceeded(self, now: float) -> EndReason | None:
        """Which limit is reached, None when none is."""
        if self.requests >= self.limits.requests:
            return EndReason.OUT_OF_REQUESTS
        if self.bytes >= self.limits.bytes:
            return EndReason.OUT_OF_BYTES
        if now - self.began >= self.limits.seconds:
            return EndReason.OUT_OF_TIME
        return None

    def left_s(self, now: float) -> float:
        """Seconds until the run has to end."""
        return max(0.0, self.limits.seconds - (now - self.began))


def refuse_case(case: Case, profile: Profile, dialect: str) -> str:
    """Why a case is not run under a profile against a dialect; "" when it is."""
    if dialect not in case.dialects:
        return f"not for the dialect {dialect}"
    highest = HIGHEST_RISK[profile]
    order = list(Risk)
    if order.index(case.risk) > order.index(highest):
        least = next(name for name, risk in HIGHEST_RISK.items() if order.index(risk) >= order.index(case.risk))
        return f"risk class {case.risk}: runs with --profile {least}"
    if case.profile.rank > profile.rank:
        return f"runs with --profile {case.profile}"
    return ""


def token(secret: bytes, authority: str) -> str:
    """What the target at `authority` (host:port) has to serve: made from this operator's secret, useless elsewhere."""
    return hmac.new(secret, authority.lower().encode(), hashlib.sha256).hexdigest()


def loopback(addresses: list[str]) -> bool:
    """Whether all of them are this machine's own."""
    return bool(addresses) and all(ipaddress.ip_address(address.split("%")[0]).is_loopback for address in addresses)


def resolve(address: Address) -> list[str]:
    """The IP addresses of a host, by the system's resolver. Raises ConfigError."""
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        # UnicodeError: an empty label, or one that is too long.
        why = getattr(error, "strerror", None) or error
        raise ConfigError(f"{address.host} can't be resolved ({why}): check the host") from error
    return sorted({str(entry[4][0]) for entry in found})


def secret(path: Path | None = None) -> bytes:
    """This operator's secret, made at the first call. Default: ~/.config/wickguard/probe-secret, readable by its owner."""
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    path = path or home / "wickguard" / "probe-secret"
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(secrets.token_hex(_SECRET_BYTES))
        return bytes.fromhex(path.read_text().strip())
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"the probe's secret {path} can't be used ({error}); remove it to have a new one made"
        ) from error


async def prove_ownership(address: Address, timeout_s: float) -> str:
    """Ask for the proof; returns how it was given. Raises ConfigError, and says which token has to be served where.

    One GET is all that a target which is not ours ever sees.
    """
    if loopback(resolve(address)):
        return "loopback"
    wanted = token(secret(), address.authority)
    url = f"{'https' if address.tls else 'http'}://{address.authority}{TOKEN_PATH}"
    if not await serves(address, wanted, timeout_s):
        raise ConfigError(
            f"{address.authority} is not this machine, so prove that it is yours: serve the text\n  {wanted}\n"
            f"at {url} and run the probe again"
        )
    return "token"


async def serves(address: Address, wanted: str, timeout_s: float) -> bool:
    """Whether the target serves this token itself: what another place serves, to which it sends us on, proves nothing."""
    answer = await send(address, Request("GET", TOKEN_PATH), None, timeout_s)
    whole = answer.status == 200 and answer.ok and answer.response_bytes == len(answer.head)
    return whole and hmac.compare_digest(answer.head.strip(), wanted.encode())
