"""Calibration as operators meet it: one command, a file, and servers that use it or refuse it."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest
from tests.e2e.server import MODEL, WICKGUARD, Server

POLICY = "[calibration]\nseconds = 4\ndearest_s = 0.02\n"


class Calibrating(Server):
    """A server that measures first."""

    calibrates = True


@pytest.fixture(scope="module")
def cost_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made by the command, in seconds: small calls only."""
    folder = tmp_path_factory.mktemp("costs")
    policy, path = folder / "policy.toml", folder / "costs.json"
    policy.write_text(POLICY)
    command = [WICKGUARD, "calibrate", policy, "--out", path]
    made = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert made.stdout.strip() == str(path)
    assert "calls measured" in made.stderr
    return path


def test_the_server_prices_by_the_file_when_it_is_given_one(tmp_path: Path, cost_file: Path) -> None:
    """It starts without measuring anything, and serves."""
    server = Server(tmp_path, arguments=("--cost-file", str(cost_file)))
    with server.running():
        assert "calls measured" not in server.log.read_text()


def test_the_server_ends_at_once_when_it_is_stopped_while_it_measures(tmp_path: Path) -> None:
    """Nobody is served yet, so nothing has to be finished; no process is left and no half of a file."""
    server = Calibrating(tmp_path, f'[calibration]\nseconds = 300\ncost_dir = "{tmp_path / "costs"}"\n')
    try:
        # Front, arbiter, zygote, and a worker that has begun to compute.
        while max((process.cpu_s for process in list(server.tree().values())[3:]), default=0.0) < 0.2:
            assert server.process.poll() is None
            time.sleep(0.05)
        server.close()
    finally:
        server.process.kill()
        server.process.wait()
    assert not (tmp_path / "costs").exists()
    assert "Traceback" not in server.log.read_text()


def test_the_server_does_not_start_when_the_file_is_of_another_machine(tmp_path: Path, cost_file: Path) -> None:
    """One line that says what to do, and exit code 2."""
    document = json.loads(cost_file.read_text())
    assert document["model"] == MODEL
    document["identity"]["engine"] = "9.9.9+beef"
    path = tmp_path / "elsewhere.json"
    path.write_text(json.dumps(document))
    server = Server(tmp_path, arguments=("--cost-file", str(path)))
    try:
        assert server.process.wait(60) == 2
    finally:
        server.process.kill()
        server.process.wait()
    said = server.log.read_text()
    assert "another engine build" in said
    assert "wickguard calibrate" in said
    assert "Traceback" not in said
