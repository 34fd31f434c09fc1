"""Identity: keys, forwarded addresses, and prefixes."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.fakes import head

from wickguard.errors import ConfigError
from wickguard.guard.identity import Identity, IdentitySettings, add_key, load_keys, prefix_of
from wickguard.records import Caller, Pool
from wickguard.rejection import Reason, Rejection


@pytest.fixture
def keys(tmp_path: Path) -> tuple[str, str]:
    """A key file with one key of tenant alice: (path, key)."""
    path = tmp_path / "keys"
    return str(path), add_key(path, "alice")


def bearer(key: str) -> tuple[bytes, bytes]:
    """An Authorization header."""
    return b"authorization", f"Bearer {key}".encode()


def test_a_key_names_its_tenant_when_it_is_known(keys: tuple[str, str]) -> None:
    """In either header; the scheme in any case."""
    identity = Identity(IdentitySettings(keys[0]))
    for header in (
        bearer(keys[1]),
        (b"x-api-key", keys[1].encode()),
        (b"authorization", b"bEARER " + keys[1].encode()),
    ):
        caller = identity.identify(head(header, peer="10.1.2.3"))
        assert isinstance(caller, Caller)
        assert (caller.tenant, caller.pool, caller.prefix) == ("key:alice", Pool.KEYED, "10.1.2.3")
        assert caller.key_id


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [bearer("wg-wrong")],
        [bearer("")],
        [(b"authorization", b"Bearer")],
        [(b"authorization", b"Basic dXNlcjpwYXNz")],
        [(b"authorization", b"\xff\xfe\x00")],
        [bearer("x" * 5000)],
        [(b"x-api-key", b"wg-\xf0\x9f")],
    ],
)
def test_nobody_is_served_when_a_key_file_exists_and_no_key_fits(
    keys: tuple[str, str], headers: list[tuple[bytes, bytes]]
) -> None:
    """Loopback too: with a key file only a key distinguishes callers."""
    found = Identity(IdentitySettings(keys[0])).identify(head(*headers, peer="127.0.0.1"))
    assert isinstance(found, Rejection)
    assert found.reason is Reason.UNAUTHENTICATED


def test_two_authorizations_are_refused_when_one_of_them_is_right(keys: tuple[str, str]) -> None:
    """Whoever stands before us may have believed the other one."""
    found = Identity(IdentitySettings(keys[0])).identify(head(bearer(keys[1]), bearer("wg-other")))
    assert isinstance(found, Rejection)


def test_loopback_is_anonymous_when_there_is_no_key_file() -> None:
    """Even with a key that some client always sends; but nobody from elsewhere."""
    identity = Identity(IdentitySettings())
    for headers in ([], [bearer("EMPTY")]):
        caller = identity.identify(head(*headers, peer="127.0.0.9"))
        assert caller == Caller("ip:127.0.0.9", Pool.ANONYMOUS, "127.0.0.9")
    stranger = identity.identify(head(peer="192.0.2.1"))
    assert isinstance(stranger, Rejection)
    assert stranger.reason is Reason.FORBIDDEN
    with_key = identity.identify(head(bearer("EMPTY"), peer="192.0.2.1"))
    assert isinstance(with_key, Rejection)


@pytest.mark.parametrize(("mode", "served"), [("always", True), ("never", False)])
def test_anonymous_follows_the_policy_when_it_is_set(keys: tuple[str, str], mode: str, served: bool) -> None:
    """always: everybody, also beside a key file; never: nobody."""
    identity = Identity(IdentitySettings(keys[0] if mode == "always" else "", anonymous=mode))
    assert isinstance(identity.identify(head(peer="127.0.0.1")), Caller) is served
    # A wrong key is wrong even where no key would do: it is a mistake, not a stranger.
    assert isinstance(identity.identify(head(bearer("wg-x"), peer="192.0.2.1")), Rejection)


@pytest.mark.parametrize(
    ("peer", "forwarded", "prefix"),
    [
        ("203.0.113.9", [b"1.2.3.4"], "203.0.113.9"),
        ("10.0.0.1", [b"1.2.3.4"], "1.2.3.4"),
        ("10.0.0.1", [b"6.6.6.6, 1.2.3.4"], "1.2.3.4"),
        ("10.0.0.1", [b"6.6.6.6", b"1.2.3.4, 10.0.0.2"], "1.2.3.4"),
        ("10.0.0.1", [b"10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", [b"2001:db8:1:2:3:4:5:6"], "2001:db8:1:2::/64"),
    ],
)
def test_forwarded_address_is_believed_only_when_our_proxy_saw_it(
    peer: str, forwarded: list[bytes], prefix: str
) -> None:
    """From the right, up to the first hop that is not ours; what stands left of it is hearsay."""
    identity = Identity(IdentitySettings(anonymous="always", trusted_proxies=("10.0.0.0/8",)))
    caller = identity.identify(head(*[(b"x-forwarded-for", value) for value in forwarded], peer=peer))
    assert isinstance(caller, Caller)
    assert caller.prefix == prefix


@pytest.mark.parametrize("value", [b"", b"x", b"1.2.3.4:80", b"1.2.3", b"\xff", b"1.2.3.4,", b"1.1.1.1," * 40])
def test_forwarded_address_is_refused_when_it_is_none(value: bytes) -> None:
    """A proxy that is trusted and sends nonsense is misconfigured: say so, don't guess."""
    identity = Identity(IdentitySettings(anonymous="always", trusted_proxies=("10.0.0.0/8",)))
    found = identity.identify(head((b"x-forwarded-for", value), peer="10.0.0.1"))
    assert isinstance(found, Rejection)
    assert found.reason is Reason.MALFORMED


@pytest.mark.parametrize(
    ("address", "prefix"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8:0:0:ffff::1", "2001:db8::/64"),
        ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::nonsense", "unknown"),
        ("", "unknown"),
    ],
)
def test_prefix_stands_for_one_subscriber_when_addresses_are_cheap(address: str, prefix: str) -> None:
    """An IPv6 subscriber has a /64 at least (RFC 6177); each address of it is the same caller."""
    assert prefix_of(address) == prefix


def test_the_file_holds_no_key_when_one_was_added(tmp_path: Path) -> None:
    """Only its hash; and nobody else may read even that."""
    path = tmp_path / "keys"
    first, second = add_key(path, "a"), add_key(path, "b")
    text = path.read_text()
    assert first not in text
    assert second not in text
    assert path.stat().st_mode & 0o077 == 0
    assert {tenant for tenant, _ in load_keys(path).values()} == {"a", "b"}


@pytest.mark.parametrize("tenant", ["", "a b", "a\nb", "a" * 65, "a/b", "#x"])
def test_tenant_is_refused_when_its_name_could_confuse(tmp_path: Path, tenant: str) -> None:
    """It becomes a word of a line of a file."""
    with pytest.raises(ConfigError, match="tenant"):
        add_key(tmp_path / "keys", tenant)


@pytest.mark.parametrize("line", ["alice", "alice k1 abc", "alice k1 " + "g" * 64, "a b c d", "\x00"])
def test_key_file_error_names_the_line_when_one_is_wrong(tmp_path: Path, line: str) -> None:
    """Comments and empty lines count."""
    path = tmp_path / "keys"
    path.write_text(f"# keys\n\n{line}\n")
    with pytest.raises(ConfigError, match=r"keys:3: "):
        load_keys(path)


def test_key_file_error_says_what_to_do_when_it_can_not_be_read(tmp_path: Path) -> None:
    """Missing, or no text at all."""
    with pytest.raises(ConfigError, match="wickguard keys add"):
        load_keys(tmp_path / "absent")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(ConfigError, match=r"binary:1: .*wickguard keys add"):
        load_keys(tmp_path / "binary")
    with pytest.raises(ConfigError, match="can't be written"):
        add_key(tmp_path / "no" / "such" / "folder", "a")


@pytest.mark.parametrize("wrong", [{"anonymous": "yes"}, {"trusted_proxies": ("10.0.0.1/8",)}])
def test_settings_are_refused_when_they_mean_nothing(wrong: dict[str, str]) -> None:
    """A network with host bits set is a mistake, not a network."""
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        IdentitySettings(**wrong)  # type: ignore[arg-type]
