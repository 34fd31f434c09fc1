"""`wickguard probe` as people run it, against a server of the zoo."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from xml.etree import ElementTree

from tests.e2e.server import WICKGUARD
from tests.zoo.running import Running


def test_every_report_is_written_and_nothing_is_sent_when_the_run_is_dry(tmp_path: Path) -> None:
    """All files of one run, each in its own format, with every case of the catalogue in the plan."""
    files = {kind: tmp_path / f"run.{kind}" for kind in ("jsonl", "html", "sarif", "junit")}
    arguments = [text for kind, path in files.items() for text in (f"--{kind}", str(path))]
    with Running("padding", sound=True) as server:
        command = [str(WICKGUARD), "probe", f"{server.url}/v1/embeddings", "--dry-run", "--profile", "deep", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in files["jsonl"].read_text().splitlines()]
    assert events[0]["event"] == "started"
    assert events[-1]["reason"] == "dry_run"
    planned = {event["case"] for event in events if event["event"] == "planned"}
    assert {"T03", "T11", "P27", "E03", "J01.deep", "sweep:text_bytes"} <= planned
    assert not [event for event in events if event["event"] == "sampled"]
    assert files["html"].read_text().startswith("<!doctype html>")
    log = json.loads(files["sarif"].read_text())
    assert {rule["id"] for rule in log["runs"][0]["tool"]["driver"]["rules"]} <= planned
    suite = ElementTree.fromstring(files["junit"].read_text())  # noqa: S314 -- our own
    assert int(str(suite.get("tests"))) == len(planned)
    assert suite.get("skipped") == suite.get("tests")
