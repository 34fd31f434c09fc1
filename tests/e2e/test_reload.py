"""SIGHUP: the running server takes a policy over under load, and refuses one that is wrong."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path

import httpx
from tests.e2e.server import MODEL, Server

TAKEN = 'wickguard_policy_reloads_total{result="taken over"}'
REFUSED = 'wickguard_policy_reloads_total{result="refused"}'


def reload(server: Server, path: Path, text: str, sample: str) -> None:
    """Write a policy, send the signal, and return when it was counted."""
    before = server.metric(sample)
    path.write_text(text)
    server.process.send_signal(signal.SIGHUP)
    give_up = time.monotonic() + 20
    while server.metric(sample) == before:
        assert time.monotonic() < give_up
        time.sleep(0.01)


def test_no_request_is_lost_when_the_policy_is_reloaded_under_load(tmp_path: Path) -> None:
    """Ten reloads while four clients call; then the new limit holds, a wrong one is refused, and the process ends well."""
    server = Server(tmp_path)
    path = tmp_path / "policy.toml"
    statuses: list[int] = []
    over = threading.Event()

    def call() -> None:
        with httpx.Client(timeout=60) as client:
            while not over.is_set():
                found = client.post(server.url + "/v1/embeddings", json={"model": MODEL, "input": ["a river"] * 4})
                statuses.append(found.status_code)

    def ask() -> int:
        return httpx.post(
            server.url + "/v1/embeddings", json={"model": MODEL, "input": ["a"] * 5}, timeout=60
        ).status_code

    try:
        server.wait_ready()
        clients = [threading.Thread(target=call) for _ in range(4)]
        for client in clients:
            client.start()
        for number in range(10):
            seen = len(statuses)
            reload(server, path, f"[text]\nmax_inputs = {4 + number % 2}\n[quota]\nburst_s = {10 + number}\n", TAKEN)
            while len(statuses) <= seen and any(client.is_alive() for client in clients):
                time.sleep(0.002)
        over.set()
        for client in clients:
            client.join()
        assert len(statuses) >= 10
        assert set(statuses) == {200}
        assert ask() == 200
        reload(server, path, "[text]\nmax_inputs = 4\n", TAKEN)
        assert ask() == 413
        reload(server, path, "[text]\nmax_inputs = 64\n[server]\nbacklog = 5\n", REFUSED)
        assert ask() == 413
        server.close()
        log = server.log.read_text()
        assert "text.max_inputs: 5 -> 4" in log
        assert "server.backlog: 1024 -> 5" in log
    finally:
        over.set()
        server.process.kill()
        server.process.wait()
