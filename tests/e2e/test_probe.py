"""`wickguard probe` as people run it, against a server of the zoo."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest
from tests.e2e.server import WICKGUARD, Server
from tests.zoo import manifest
from tests.zoo.running import Running

from wickguard.probe.case import Profile
from wickguard.probe.cases import CATALOGUE
from wickguard.probe.command import UNFINISHED
from wickguard.probe.engine import Options, probe
from wickguard.probe.events import Ended, EndReason, Event, Found
from wickguard.probe.finding import Oracle, Severity
from wickguard.probe.target import Wanted


def test_every_report_is_written_and_nothing_is_sent_when_the_run_is_dry(tmp_path: Path) -> None:
    """All files of one run, each in its own format, with every case of the catalogue in the plan."""
    files = {kind: tmp_path / f"run.{kind}" for kind in ("jsonl", "html", "sarif", "junit")}
    for path in files.values():
        path.write_text("earlier\n" * 100_000)
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


def test_files_of_an_earlier_run_stay_as_they_were_when_the_target_cannot_be_reached(tmp_path: Path) -> None:
    """A policy that somebody serves with must not be emptied because a server was down."""
    files = {kind: tmp_path / f"run.{kind}" for kind in ("jsonl", "html", "sarif", "junit", "policy")}
    for path in files.values():
        path.write_text("earlier\n")
    with socket.socket() as nobody:
        # Bound and not listening: whoever connects is refused, and nobody else can take the port meanwhile.
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        command = [WICKGUARD, "probe", url, *(part for kind, path in files.items() for part in (f"--{kind}", path))]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2, done.stderr
    assert {path.read_text() for path in files.values()} == {"earlier\n"}


def test_what_was_found_so_far_is_told_when_somebody_interrupts(tmp_path: Path) -> None:
    """Ctrl-C in the middle of a sweep: a last event, an exit code of its own, and reports."""
    events, page = tmp_path / "run.jsonl", tmp_path / "run.html"
    with Running("padding", sound=True) as server:
        # What a shell starts in the background ignores interrupts, and so would all that these tests start.
        heeding = ["env", "--default-signal=INT", WICKGUARD]
        command = [*heeding, "probe", f"{server.url}/v1/embeddings", "--jsonl", events, "--html", page]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            assert server.settle(lambda: events.exists() and '"sampled"' in events.read_text(), 30)
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == UNFINISHED
        finally:
            process.kill()
            process.wait()
    told = [json.loads(line) for line in events.read_text().splitlines()]
    assert told[-1]["event"] == "ended"
    assert told[-1]["reason"] == "interrupted"
    assert "interrupted" in page.read_text()


# What does not depend on how quick the machine is today: answers, bytes, deaths.
NAMED = {
    "error_list": ("J11", Oracle.AMPLIFICATION),
    "second_route": ("J17.batch", Oracle.EQUIVALENCE),
    "retryable": ("T09", Oracle.STATUS),
    "deep_json": ("J01.deep", Oracle.LIVENESS),
    "unbounded_count": ("N01.dimensions", Oracle.AMPLIFICATION),
    "picture_bomb": ("I01", Oracle.MEMORY),
}


@pytest.mark.parametrize("sound", [False, True], ids=["defect", "twin"])
@pytest.mark.parametrize("name", NAMED)
def test_defect_is_named_and_its_twin_is_not_when_probed(name: str, sound: bool) -> None:
    """The engine against a real server, with the one case that is made for its defect."""
    case, oracle = NAMED[name]
    planted = manifest(name)

    async def run() -> list[Event]:
        wanted = Wanted(server.url + planted.path, planted.dialect)
        options = Options(
            wanted, Profile.DEEP if planted.may_crash else Profile.SHORT, 3, server.process.pid, only=(case,)
        )
        return [event async for event in probe(options, CATALOGUE)]

    with Running(name, sound=sound) as server:
        events = asyncio.run(run())
    found = {(event.finding.case, event.finding.oracle) for event in events if isinstance(event, Found)}
    assert ((case, oracle) in found) is not sound
    assert not (sound and found)
    ended = events[-1]
    assert isinstance(ended, Ended)
    assert ended.reason is EndReason.COMPLETED


@pytest.mark.slow
def test_nothing_above_a_note_is_found_when_wickguard_itself_is_probed(tmp_path: Path) -> None:
    """The whole short profile against the server that people start, within its three minutes."""

    async def run() -> list[Event]:
        wanted = Wanted(f"{server.url}/v1/embeddings", "openai")
        return [event async for event in probe(Options(wanted, Profile.SHORT, 0, server.process.pid), CATALOGUE)]

    server = Server(tmp_path)
    try:
        server.wait_ready()
        events = asyncio.run(run())
    finally:
        server.stop()
    found = [event.finding for event in events if isinstance(event, Found)]
    assert not [item for item in found if item.severity is not Severity.NOTE], found
    ended = events[-1]
    assert isinstance(ended, Ended)
    assert ended.seconds < 180
