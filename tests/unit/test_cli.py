"""The command line: every mistake ends with exit code 2 and says what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from wickguard.cli import main
from wickguard.guard.identity import load_keys


def test_a_key_is_printed_once_when_it_is_added(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Alone on stdout, so that a script can take it."""
    path = tmp_path / "keys"
    assert main(["keys", "add", str(path), "alice"]) == 0
    key = capsys.readouterr().out.strip()
    assert key.startswith("wg-")
    assert key not in path.read_text()
    assert [tenant for tenant, _ in load_keys(path).values()] == ["alice"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["keys", "add", "{}/keys", "two words"], "a tenant's name is"),
        (["keys", "add", "{}/no/keys", "a"], "can't be written"),
        (["serve", "{}/absent.toml"], "can't be read"),
        (["serve", "{}/bad.toml"], "bad.toml:2: unknown key edge.max_haeders"),
        (["serve", "--model", "{}/nowhere"], "neither a directory nor a hub id"),
        (["serve", "--model", "{}"], "lacks config.json"),
        (["serve", "--keys", "{}/nokeys"], "wickguard keys add"),
    ],
)
def test_a_mistake_ends_with_2_and_what_to_do_when_the_operator_makes_one(
    arguments: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line on stderr, no traceback."""
    (tmp_path / "bad.toml").write_text("[edge]\nmax_haeders = 5\n")
    assert main([argument.format(tmp_path) for argument in arguments]) == 2
    found = capsys.readouterr()
    assert says in found.err.replace("\n", " ")
    assert "Traceback" not in found.err
    assert found.out == ""


@pytest.mark.parametrize(
    "arguments", [[], ["sreve"], ["serve", "--port", "0"], ["serve", "--port", "x"], ["serve", "--nope"], ["keys"]]
)
def test_usage_is_shown_when_the_arguments_are_wrong(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """As argparse does it: exit code 2."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err
