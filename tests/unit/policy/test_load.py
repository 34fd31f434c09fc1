"""Policies: every mistake names file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

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
        ('[edge]\n# c\nmax_body_bytes = "12 parsecs"\n', 3, "edge.max_body_bytes: not a size"),
        ('[edge]\nmax_headers = 5\nrate_grace_s = "fast"\n', 3, "Expected `float`"),
        ("[admission]\nefficiency = 0.5\nqueue_s = 1\n", 3, "at most queue_s"),
        ("[server]\n\nheader_timeout_s = 900\n", 3, "0.1 to 60"),
        ('[server]\ntls_cert = "a.pem"\n', 2, "go together"),
        ("[text]\nmax_inputs = 0\n", 2, "1 to 4096"),
        ("[audit]\nkeep = 0\n", 2, "keep must be"),
        ('[identity]\nanonymous = "perhaps"\n', 2, "loopback, never or always"),
        ('[price]\nslowdown = 4\nmax_bytes = "100G"\n', 3, "price.max_bytes must not exceed"),
    ],
)
def test_error_names_file_and_line_when_a_policy_is_wrong(text: str, line: int, says: str) -> None:
    """And what would be accepted."""
    with pytest.raises(ConfigError, match=says) as caught:
        parse(text, "p.toml")
    assert str(caught.value).startswith(f"p.toml:{line}: ")


def test_error_names_the_file_when_it_can_not_be_read(tmp_path: Path) -> None:
    """Missing, a folder, or no text."""
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for name in ("absent", ".", "binary"):
        with pytest.raises(ConfigError, match=str(tmp_path / name)):
            load(tmp_path / name)
