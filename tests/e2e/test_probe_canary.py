"""The rail: when ordinary requests suffer, the target is left alone, and the run is over when they go on suffering."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

from tests.e2e.server import free_port
from tests.zoo.running import ROOT, Running

from wickguard.probe.case import Profile
from wickguard.probe.cases import CATALOGUE
from wickguard.probe.engine import Options, probe
from wickguard.probe.events import CaseFinished, Ended, EndReason, Event, Found, Sampled, Verdict
from wickguard.probe.finding import Oracle, Severity
from wickguard.probe.rails import Limits
from wickguard.probe.target import Wanted

LIMITS = Limits(2000, 64 << 20, 60.0, 1.5, 0.5, 2, 0.4, canary_failures=3, recovery_s=2.0)


class Backlogged(Running):
    """tests.e2e.backlog as a process."""

    def __init__(self, *, sound: bool) -> None:
        self.port = free_port()
        command = [sys.executable, "-m", "tests.e2e.backlog", "--port", str(self.port), *["--sound"] * sound]
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL)


def run(*, sound: bool) -> list[Event]:
    """The events of one sweep and the case after it."""

    async def collect() -> list[Event]:
        wanted = Wanted(f"{server.url}/v1/embeddings", "openai")
        options = Options(wanted, Profile.SHORT, 1, server.process.pid, only=("sweep:text_bytes", "J16"), limits=LIMITS)
        return [event async for event in probe(options, CATALOGUE)]

    with Backlogged(sound=sound) as server:
        return asyncio.run(collect())


def test_run_is_over_when_ordinary_requests_go_on_suffering() -> None:
    """What did it is a finding, larger sizes and later cases are not sent, and the end says what happened."""
    events = run(sound=False)
    ended = events[-1]
    assert isinstance(ended, Ended)
    assert ended.reason is EndReason.CANARY_SUFFERED
    assert "sweep:text_bytes" in ended.detail
    assert ended.worst is Severity.ERROR
    found = [event.finding for event in events if isinstance(event, Found)]
    assert [(item.case, item.oracle, item.severity) for item in found] == [
        ("sweep:text_bytes", Oracle.RECOVERY, Severity.ERROR)
    ]
    assert found[0].measured == LIMITS.canary_failures
    done = {event.case: event for event in events if isinstance(event, CaseFinished)}
    assert done["sweep:text_bytes"].verdict is Verdict.FINDING
    assert done["J16"].verdict is Verdict.SKIPPED
    assert "canary_suffered" in done["J16"].reason
    # Nothing of the case was sent after the size that did it.
    sent = [event.size for event in events if isinstance(event, Sampled)]
    assert max(sent) == sent[-1] == found[0].reproducer.size if found[0].reproducer else False


def test_run_goes_on_when_nothing_is_left_behind() -> None:
    """The same sweep on the twin, to its end."""
    events = run(sound=True)
    ended = events[-1]
    assert isinstance(ended, Ended)
    assert ended.reason is EndReason.COMPLETED
    assert not [event for event in events if isinstance(event, Found)]


class Moved(BaseHTTPRequestHandler):
    """A server that answers until it was asked for its metrics, the last thing that discovery does, and 404 from then on."""

    moved = False

    def do_GET(self) -> None:
        """Health stays well."""
        if self.path == "/metrics":
            type(self).moved = True
        self._answer(200)

    def do_POST(self) -> None:
        """The route."""
        self.rfile.read(int(self.headers["content-length"]))
        self._answer(404 if self.moved else 200)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")


def test_nothing_is_attacked_and_nothing_found_when_ordinary_requests_fail_from_the_start() -> None:
    """What a server answers before anything was done to it is not its defect: a wrong path was once called an error."""

    async def collect() -> list[Event]:
        wanted = Wanted(f"http://127.0.0.1:{server.server_port}/v1/embeddings", "openai", "m")
        return [event async for event in probe(Options(wanted, limits=LIMITS), CATALOGUE)]

    with HTTPServer(("127.0.0.1", 0), Moved) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            events = asyncio.run(collect())
        finally:
            server.shutdown()
    ended = events[-1]
    assert isinstance(ended, Ended)
    assert ended.reason is EndReason.CANARY_SUFFERED
    assert "answered 404 before" in ended.detail
    assert not [event for event in events if isinstance(event, (Found, Sampled))]
    assert {event.verdict for event in events if isinstance(event, CaseFinished)} == {Verdict.SKIPPED}
