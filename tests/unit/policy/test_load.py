"""Policies: every mistake names file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from wickguard.control.terms import TenantSettings
from wickguard.errors import ConfigError
from wickguard.policy.load import load, parse
from wickguard.policy.schema import Policy
from wickguard.units import MIB


def test_every_key_has_a_default_when_the_policy_is_empty() -> None:
    """An empty file is the safe policy."""
    assert parse("", "p.toml") == Policy()


def test_settings_are_taken_when_the_policy_has_them() -> None:
    """Sizes may be written with a unit where bytes are counted."""
    found = parse(
        '[edge]\nmax_body_bytes = "512k"\nmax_bytes_in_flight = "32M"\n[admission]\nqueue_s = 7\n'
        '[identity]\ntrusted_proxies = ["10.0.0.0/8"]\n[server]\nmemory_budget_bytes = "2G"\n',
        "p.toml",
    )
    assert (found.edge.max_body_bytes, found.edge.max_bytes_in_flight) == (MIB // 2, 32 * MIB)
    assert (found.admission.queue_s, found.identity.trusted_proxies) == (7.0, ("10.0.0.0/8",))


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("[edge]\n\nmax_body_bytes = \n", 3, "not valid TOML"),
        ("[edge]\nx = 1\n[edge]\n", 3, "not valid TOML"),
        ("[edge", 1, "not valid TOML"),
        ("\n[egde]\nmax_headers = 5\n", 2, r"unknown section \[egde\]; known: server, edge"),
        ("# top\nloose = 1\n", 2, "unknown section"),
        ("[edge]\nmax_headers = 5\nmax_haeders = 6\n", 3, "unknown key edge.max_haeders; known: .*max_headers"),
        (
            '[edge]\n# c\nmax_body_bytes = "12 parsecs"\n',
            3,
            "edge.max_body_bytes must be 1k to 1G: not a size: '12 parsecs'",
        ),
        ('[edge]\nmax_body_bytes = "{2}"\n', 2, r"not a size: '\{2\}'"),
        ('[edge]\nmax_body_bytes = "2G"\n', 2, "edge.max_body_bytes must be 1k to 1G, not 2G"),
        (
            '[edge]\nmax_headers = 5\nrate_grace_s = "fast {}"\n',
            3,
            "edge.rate_grace_s must be 0 to 3600, not 'fast {}'",
        ),
        ("[edge]\nrate_grace_s = nan\n", 2, "edge.rate_grace_s must be 0 to 3600, not nan"),
        ("[workers]\nspares = true\n", 2, "workers.spares must be 1 to 64, not True"),
        ("[workers]\nidle_class = 1\n", 2, "workers.idle_class must be true or false, not 1"),
        ("[audit]\npath = 1\n", 2, "audit.path must be text in quotes, not 1"),
        ("[identity]\ntrusted_proxies = [\n  1,\n]\n", 2, "identity.trusted_proxies must be a list of texts"),
        (
            '[identity]\ntrusted_proxies = ["10.0.0.0/40"]\n',
            2,
            r"identity.trusted_proxies must be networks, .*, not '10.0.0.0/40'",
        ),
        (
            "[admission]\nefficiency = 0.5\nqueue_s = 1\n",
            3,
            "admission.tenant_queue_s must be at most admission.queue_s, not 5",
        ),
        ("[server]\n\nheader_timeout_s = 900\n", 3, "server.header_timeout_s must be 0.1 to 60, not 900"),
        ('server = { backlog = 1, drain_s = "x" }\n', 1, "server.drain_s must be"),
        ("server.backlog = 7\nserver.drain_s = -1\n", 2, "server.drain_s must be 0 to 3600, not -1"),
        ('[server]\nmemory_budget_bytes = "1M"\n', 2, "server.memory_budget_bytes must be 0 or at least 64M, not 1M"),
        ('[server]\ntls_cert = "a.pem"\n', 2, "server.tls_cert and server.tls_key go together"),
        ("[text]\nmax_inputs = 0\n", 2, "text.max_inputs must be 1 to 4096, not 0"),
        ("[audit]\nkeep = 0\n", 2, "audit.keep must be"),
        (
            '[identity]\nanonymous = "perhaps"\n',
            2,
            "identity.anonymous must be loopback, never or always, not 'perhaps'",
        ),
        ("[quota]\nalarmed_share = 0.3\n", 2, "quota.alarmed_share must be at most quota.anonymous_share, not 0.3"),
        ('[price]\nslowdown = 4\nmax_bytes = "100G"\n', 3, "price.max_bytes must be at most workers.max_grant_bytes"),
        ("[tenants]\nalice = 3\n", 2, r"tenants.alice must be a table: write \[tenants.NAME\]"),
        ('[tenants."two words"]\nrate = 1\n', 1, "a name is 1 to 64 letters"),
        ("[tenants.a]\nrate = 1\n[tenants.b]\nrate = -1\n", 4, "tenants.b.rate must be 0 to 65536, not -1"),
        ('[tenants."a.b"]\n\ntrust = "old"\n', 3, "tenants.a.b.trust must be established or new, not 'old'"),
        ("[tenants.a]\nwieght = 1\n", 2, "unknown key tenants.a.wieght; known: rate, weight"),
    ],
)
def test_error_names_file_and_line_when_a_policy_is_wrong(text: str, line: int, says: str) -> None:
    """And what would be accepted."""
    with pytest.raises(ConfigError, match=says) as caught:
        parse(text, "p.toml")
    assert str(caught.value).startswith(f"p.toml:{line}: ")


def test_tenants_are_taken_when_the_policy_names_them() -> None:
    """Each with its own table; who is not named has the defaults."""
    found = parse('[tenants.alice]\nweight = 2\n[tenants."b.c@d"]\ntrust = "new"\n', "p.toml")
    assert {name: (tenant.weight, tenant.trust) for name, tenant in found.tenants.items()} == {
        "alice": (2.0, "established"),
        "b.c@d": (1.0, "new"),
    }
    assert found.tenant("alice").weight == 2
    assert found.tenant("nobody") == TenantSettings()


def test_error_names_the_file_when_it_can_not_be_read(tmp_path: Path) -> None:
    """Missing, a folder, or no text."""
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for name in ("absent", ".", "binary"):
        with pytest.raises(ConfigError, match=str(tmp_path / name)):
            load(tmp_path / name)
