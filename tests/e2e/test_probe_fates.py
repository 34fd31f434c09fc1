"""What can become of a target in the middle of a case, and what the probe says of it.

A server that answers well until it gets an attack, and has a fate from then on. An attack is `dimensions` beyond a thousand, or
20 KiB with a long run of one letter in it; shorter runs are dear.
"""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from wickguard.probe.case import Profile
from wickguard.probe.cases import CATALOGUE
from wickguard.probe.engine import Options, probe
from wickguard.probe.events import CaseFinished, Ended, EndReason, Event, Found, Sampled, Verdict
from wickguard.probe.finding import Oracle
from wickguard.probe.rails import Limits
from wickguard.probe.target import Wanted

# It has no oracle of liveness of its own.
CASE = "N01.dimensions"
LIMITS = Limits(4000, 64 << 20, 60.0, 1.5, 0.5, 2, 0.4, canary_failures=3, recovery_s=1.5)


class Fate(StrEnum):
    """What happens after the attack."""

    DIES = "refuses connections"
    RESTARTS = "is another process, once"
    FLAPS = "is another process after each attack"
    BROKEN = "its proxy answers 503 to everybody"
    BUSY = "answers 503 and says when to come back, for good"


class Fated(ThreadingHTTPServer):
    """The server. attacks: how many it has seen."""

    daemon_threads = True

    def __init__(self, fate: Fate) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.fate = fate
        self.attacks = 0

    @property
    def process_start(self) -> int:
        """As in its metrics."""
        return {Fate.RESTARTS: min(1, self.attacks), Fate.FLAPS: self.attacks}.get(self.fate, 0) * 100

    def handle_error(self, request: object, client_address: object) -> None:
        """Peers may leave."""


class Handler(BaseHTTPRequestHandler):
    """Health and metrics are well as long as it listens at all."""

    server: Fated

    def do_GET(self) -> None:
        """Everything but the route."""
        page = f"process_start_time_seconds {1000 + self.server.process_start}\nprocess_cpu_seconds_total 1\n"
        self.answer(200, page.encode())

    def do_POST(self) -> None:
        """The route."""
        body = self.rfile.read(int(self.headers["content-length"]))
        run = re.search(rb"(.)\1{40}", body) is not None
        try:
            attacked = int(json.loads(body).get("dimensions", 0)) > 1000
        except (ValueError, TypeError, OverflowError):
            attacked = False
        self.server.attacks += attacked or (run and len(body) >= 20_480)
        time.sleep(1e-5 * len(body) if run and len(body) < 20_480 else 0.0)
        if self.server.attacks and self.server.fate is Fate.DIES:
            self.server.socket.close()
            self.connection.close()
            return
        down = self.server.attacks > 0 and self.server.fate in (Fate.BROKEN, Fate.BUSY)
        self.answer(503 if down else 200, b"{}", wait=self.server.fate is Fate.BUSY)

    def answer(self, status: int, body: bytes, *, wait: bool = False) -> None:
        """One answer; HTTP/1.0 closes after it."""
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        if wait:
            self.send_header("retry-after", "0")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@contextmanager
def serving(fate: Fate) -> Iterator[str]:
    """Its URL."""
    server = Fated(fate)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1/embeddings"
    finally:
        server.shutdown()
        server.socket.close()


def run(url: str, case: str = CASE, limits: Limits = LIMITS) -> list[Event]:
    """The events of one case."""

    async def collect() -> list[Event]:
        options = Options(Wanted(url, "openai", "m"), Profile.SHORT, 1, None, only=(case,), limits=limits)
        return [event async for event in probe(options, CATALOGUE)]

    return asyncio.run(collect())


@pytest.mark.parametrize(
    ("fate", "oracles", "verdict", "reason"),
    [
        (Fate.DIES, [Oracle.LIVENESS], Verdict.FINDING, EndReason.TARGET_DOWN),
        (Fate.FLAPS, [Oracle.LIVENESS], Verdict.FINDING, EndReason.COMPLETED),
        (Fate.RESTARTS, [], Verdict.UNCLEAR, EndReason.COMPLETED),
        (Fate.BROKEN, [Oracle.STATUS, Oracle.RECOVERY], Verdict.FINDING, EndReason.CANARY_SUFFERED),
        (Fate.BUSY, [], Verdict.UNCLEAR, EndReason.COMPLETED),
    ],
)
def test_fate_of_a_target_is_told_whatever_the_case_was_made_for(
    fate: Fate, oracles: list[Oracle], verdict: Verdict, reason: EndReason
) -> None:
    """A death, and a proxy without a server behind it, are findings of the case that did it; asking to wait is none."""
    with serving(fate) as url:
        events = run(url)
    ended = events[-1]
    assert isinstance(ended, Ended)
    done = [event for event in events if isinstance(event, CaseFinished) and event.case == CASE]
    found = [event.finding.oracle for event in events if isinstance(event, Found)]
    assert (found, [event.verdict for event in done], ended.reason) == (oracles, [verdict], reason), done


def test_worst_text_of_the_run_is_told_when_the_target_does_not_survive_it() -> None:
    """What the fuzzer holds back for a smaller reproducer is not lost with the target."""
    with serving(Fate.BROKEN) as url:
        events = run(url, "fuzz")
    ended = events[-1]
    assert isinstance(ended, Ended)
    assert ended.reason is EndReason.CANARY_SUFFERED
    assert Oracle.RECOVERY in {event.finding.oracle for event in events if isinstance(event, Found)}
    assert [event.verdict for event in events if isinstance(event, CaseFinished)] == [Verdict.FINDING]


def test_case_is_not_begun_when_it_holds_its_connections_beyond_the_end_of_the_run() -> None:
    """Slow heads are held for thirteen seconds, and this run has ten."""
    with serving(Fate.RESTARTS) as url:
        events = run(url, "P02", replace(LIMITS, seconds=10.0))
    ended = events[-1]
    assert isinstance(ended, Ended)
    assert ended.reason is EndReason.OUT_OF_TIME
    assert not [event for event in events if isinstance(event, Sampled)]
