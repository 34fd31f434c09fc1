"""Backtest of a log that a real server wrote: the same policy repeats it, another one says what it would have changed."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import httpx
from tests.e2e.server import MODEL, WICKGUARD, Server, add_key


def backtest(folder: Path, policy: str) -> Any:
    """What the command prints, as JSON."""
    (folder / "new.toml").write_text(policy)
    command = [WICKGUARD, "policy", "backtest", folder / "audit.jsonl", "--policy", folder / "new.toml", "--json"]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_a_log_is_repeated_and_retold_when_it_comes_from_a_real_server(tmp_path: Path) -> None:
    """Alice has five requests a minute and makes twelve, one after the other; with nine, four more would have gone through."""
    keys = tmp_path / "keys"
    alice, bob = add_key(keys, "alice"), add_key(keys, "bob")
    limited = f'[audit]\npath = "{tmp_path / "audit.jsonl"}"\n[tenants.alice]\nrequests_per_minute = {{}}\n'
    server = Server(tmp_path, limited.format(5), keys=keys)
    with server.running():
        statuses = []
        with httpx.Client(base_url=server.url, timeout=60) as client:
            for key in [alice] * 12 + [bob] * 6:
                body = {"model": MODEL, "input": ["the quiet river"] * 4}
                found = client.post("/v1/embeddings", json=body, headers={"authorization": f"Bearer {key}"})
                statuses.append(found.status_code)
        assert statuses[:6] == [200] * 5 + [429]
        assert statuses[12:] == [200] * 6
    refused = statuses.count(429)
    same = backtest(tmp_path, limited.format(5))["all"]
    assert (same["gained"], same["lost"]) == (0, 0)
    assert same["would"]["refused"] == same["was"]["refused"] == {"over_quota": refused}
    assert abs(same["would"]["spent_s"] - same["was"]["spent_s"]) < 1e-3
    wider = backtest(tmp_path, limited.format(9))
    assert wider["all"]["gained"] >= refused - 3
    assert wider["all"]["lost"] == 0
    assert [row["tenant"] for row in wider["rows"]] == ["key:alice", "key:bob"]
