"""The server of the end-to-end tests: one for the session, with keys of two tenants and an audit log."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

pytest.importorskip("wickguard_engine", reason="the engine is not built: run `make install`")

from tests.e2e.server import Server, add_key

Line = dict[str, object]


@dataclass(frozen=True, slots=True)
class Site:
    """A server, two tenants' keys, and its audit log."""

    server: Server
    alice: str
    bob: str
    audit: Path

    def lines(self) -> list[Line]:
        """Complete lines of the audit log."""
        text = self.audit.read_text() if self.audit.exists() else ""
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def wait_for_line(self, wanted: Callable[[Line], bool], timeout_s: float = 20.0) -> Line:
        """The first audit line that is wanted, once it is there."""
        give_up = time.monotonic() + timeout_s
        while time.monotonic() < give_up:
            for line in self.lines():
                if wanted(line):
                    return line
            time.sleep(0.05)
        raise AssertionError(f"no such audit line; the last ones: {self.lines()[-3:]}")


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A running server; at the end SIGTERM must end it with 0 and leave no process."""
    folder = tmp_path_factory.mktemp("site")
    keys = folder / "keys"
    alice, bob = add_key(keys, "alice"), add_key(keys, "bob")
    server = Server(folder, f'[audit]\npath = "{folder / "audit.jsonl"}"\n', keys=keys)
    with server.running():
        yield Site(server, alice, bob, folder / "audit.jsonl")
