"""`wickguard policy`: what is printed and with which code it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wickguard.cli import main
from wickguard.policy.json_schema import json_schema
from wickguard.policy.load import load
from wickguard.policy.schema import Policy
from wickguard.policy.template import template


def test_a_policy_is_written_once_when_it_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And never over one that is there."""
    path = tmp_path / "p.toml"
    assert main(["policy", "init", str(path)]) == 0
    assert load(path) == Policy()
    path.write_text("[edge]\n")
    assert main(["policy", "init", str(path)]) == 2
    assert "exists" in capsys.readouterr().err
    assert path.read_text() == "[edge]\n"
    assert main(["policy", "init", str(tmp_path / "no" / "p.toml")]) == 2
    assert "can't be written" in capsys.readouterr().err


def test_a_policy_is_printed_when_no_file_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """For pipes."""
    assert main(["policy", "init"]) == 0
    assert capsys.readouterr().out == template()


def test_a_good_policy_ends_with_0_when_it_is_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With what it amounts to on stdout and advice on stderr."""
    path = tmp_path / "p.toml"
    path.write_text("[quota]\ncapacity = 2\n[tenants.a]\nrate = 1.5\n")
    assert main(["policy", "check", str(path)]) == 0
    found = capsys.readouterr()
    assert "good. Keys that differ from the default: 2; tenants with a table: 1." in found.out
    assert "2 compute-seconds per second" in found.out
    assert "advice: tenants.a.rate is more than its share" in found.err


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[edge]\nmax_headers = 500\n", "p.toml:2: edge.max_headers must be 1 to 100, not 500"),
        ("[/egde]\n", "p.toml:1: "),
        ("[egde]\n", "p.toml:1: unknown section [egde]"),
    ],
)
def test_a_wrong_policy_ends_with_2_when_it_is_checked_or_shown(
    text: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line with file, line, key, the value seen and what is accepted; brackets are no markup."""
    path = tmp_path / "p.toml"
    path.write_text(text)
    for command in ("check", "show"):
        assert main(["policy", command, str(path)]) == 2
        found = capsys.readouterr()
        assert says in found.err
        assert found.out == ""


def test_every_key_is_shown_when_a_policy_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As a table, with a mark at what differs, and as JSON."""
    path = tmp_path / "p.toml"
    path.write_text('[edge]\nmax_headers = 5\n[audit]\npath = "[red]x"\n')
    assert main(["policy", "show", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines if line.lstrip().startswith("* ")] == ["max_headers", "path"]
    assert any('"[red]x"' in line for line in lines)
    assert main(["policy", "show", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["edge"]["max_headers"]["value"] == 64
    assert set(json_schema()["properties"]) - {"tenants"} == set(shown)


def test_the_schema_is_printed_when_an_editor_needs_it(capsys: pytest.CaptureFixture[str]) -> None:
    """The committed one."""
    assert main(["policy", "schema"]) == 0
    assert json.loads(capsys.readouterr().out) == json_schema()
