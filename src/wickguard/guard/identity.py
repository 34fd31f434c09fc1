"""Identity: who is calling, from the key in the head or the address it came from.

Decides the tenant that is charged and the pool that caps it. Keys are compared by SHA-256 of 256 random bits: the file
holds no secret that could be used, and a lookup by hash leaks nothing worth timing. X-Forwarded-For is believed only for
as many hops as the operator trusts. Promises microseconds, no I/O, and that nothing in a body can change who is charged.
It must not know prices or routes.
"""

from __future__ import annotations

import hashlib
import ipaddress
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from wickguard.errors import ConfigError, SettingError
from wickguard.guard.head import Head
from wickguard.records import Caller, Pool
from wickguard.rejection import Reason, Rejection
from wickguard.setting import check

KEY_PREFIX = "wg-"
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class IdentitySettings:
    """Who is calling.

    keys: file of hashed keys, made with `wickguard keys add`; "" for none.
    anonymous: who is served without a key; with a key file, loopback means never, because then a key is what distinguishes
        callers.
    trusted_proxies: networks whose X-Forwarded-For is believed.
    """

    keys: str = ""
    anonymous: Literal["loopback", "never", "always"] = "loopback"
    trusted_proxies: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check(self)
        for text in self.trusted_proxies:
            try:
                ipaddress.ip_network(text)
            except ValueError as error:
                raise SettingError(
                    '{} must be networks, e.g. "10.0.0.0/8"', "trusted_proxies", seen=repr(text)
                ) from error


def load_keys(path: Path) -> dict[str, tuple[str, str]]:
    """SHA-256 (hex) -> (tenant, key id), from lines `tenant key-id sha256`. Raises ConfigError with file and line."""
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise ConfigError(
            f"the key file {path} can't be read: {error.strerror}; make one with `wickguard keys add {path} TENANT`"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}:1: this is not a key file; make one with `wickguard keys add`") from error
    keys: dict[str, tuple[str, str]] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        parts = line.split()
        if len(parts) != 3 or len(parts[2]) != 64 or not all(c in "0123456789abcdef" for c in parts[2]):
            raise ConfigError(f"{path}:{number}: expected `tenant key-id sha256-in-hex`")
        keys[parts[2]] = (parts[0], parts[1])
    return keys


def add_key(path: Path, tenant: str) -> str:
    """Make a key for `tenant`, append its hash to `path` (created with mode 0600), return the key. Shown only once."""
    if not tenant or len(tenant) > 64 or not all(c.isalnum() or c in "-_.@" for c in tenant):
        raise ConfigError("a tenant's name is 1 to 64 letters, digits, or - _ . @")
    key = KEY_PREFIX + secrets.token_urlsafe(32)
    line = f"{tenant} {secrets.token_hex(4)} {hashlib.sha256(key.encode()).hexdigest()}\n"
    try:
        path.touch(mode=0o600, exist_ok=True)
        with path.open("a") as file:
            file.write(line)
    except OSError as error:
        raise ConfigError(f"the key file {path} can't be written: {error.strerror}") from error
    return key


def prefix_of(address: str) -> str:
    """The address prefix that stands for one subscriber: an IPv4 address, the /64 of an IPv6 one (RFC 6177)."""
    if ":" in address:
        try:
            packed = socket.inet_pton(socket.AF_INET6, address.split("%")[0])
        except OSError:
            return "unknown"
        if packed[:12] == b"\0" * 10 + b"\xff\xff":
            return socket.inet_ntop(socket.AF_INET, packed[12:])
        return socket.inet_ntop(socket.AF_INET6, packed[:8] + b"\0" * 8) + "/64"
    return address or "unknown"


class Identity:
    """Finds the caller of a head."""

    def __init__(self, settings: IdentitySettings) -> None:
        self._settings = settings
        self._keys = load_keys(Path(settings.keys)) if settings.keys else {}
        self._proxies: tuple[Network, ...] = tuple(ipaddress.ip_network(text) for text in settings.trusted_proxies)

    @property
    def keys(self) -> int:
        """Keys that are known."""
        return len(self._keys)

    def identify(self, head: Head) -> Caller | Rejection:
        """The caller, or 401/403."""
        address = self._address(head)
        if isinstance(address, Rejection):
            return address
        key = _key(head)
        if key is not None:
            return self._by_key(key, address)
        if self._anonymous_allowed(address):
            prefix = prefix_of(address)
            return Caller(f"ip:{prefix}", Pool.ANONYMOUS, prefix)
        if self._settings.keys:
            return Rejection(Reason.UNAUTHENTICATED, "", accepted="Authorization: Bearer <key>")
        return Rejection(
            Reason.FORBIDDEN, "without API keys only loopback callers are served; start the server with --keys FILE"
        )

    def _by_key(self, key: bytes, address: str) -> Caller | Rejection:
        found = self._keys.get(hashlib.sha256(key).hexdigest()) if len(key) <= 256 else None
        if found is not None:
            tenant, key_id = found
            return Caller(f"key:{tenant}", Pool.KEYED, prefix_of(address), key_id)
        if not self._settings.keys and self._anonymous_allowed(address):
            # Clients of other servers send some key always ("EMPTY"); without a key file it means nothing.
            prefix = prefix_of(address)
            return Caller(f"ip:{prefix}", Pool.ANONYMOUS, prefix)
        return Rejection(Reason.UNAUTHENTICATED, "this key is not known", accepted="Authorization: Bearer <key>")

    def _anonymous_allowed(self, address: str) -> bool:
        mode = self._settings.anonymous
        if mode == "always":
            return True
        return mode == "loopback" and not self._settings.keys and _is_loopback(address)

    def _address(self, head: Head) -> str | Rejection:
        if not self._proxies or not self._trusted(head.peer):
            return head.peer
        hops = [hop.strip() for value in head.values(b"x-forwarded-for") for hop in value.decode("latin-1").split(",")]
        if len(hops) > 32:
            return Rejection(Reason.MALFORMED, "too many hops", "X-Forwarded-For", limit=32, seen=len(hops))
        # From the right: the first hop that is not ours was seen by our own proxy; anything left of it is hearsay.
        for hop in reversed(hops):
            if not _is_address(hop):
                return Rejection(Reason.MALFORMED, "not an address", "X-Forwarded-For")
            if not self._trusted(hop):
                return hop
        return hops[0] if hops else head.peer

    def _trusted(self, address: str) -> bool:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._proxies if network.version == parsed.version)


def _key(head: Head) -> bytes | None:
    found = head.values(b"authorization")
    if found:
        # Two are as good as none: whoever stands before us may have believed the other one.
        scheme, _, key = found[0].partition(b" ") if len(found) == 1 else (b"", b"", b"")
        return key.strip() if scheme.lower() == b"bearer" else b""
    return head.one(b"x-api-key")


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_loopback(address: str) -> bool:
    return address.startswith("127.") or address in ("::1", "::ffff:127.0.0.1")
