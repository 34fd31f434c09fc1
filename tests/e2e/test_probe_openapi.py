"""`wickguard probe --dialect openapi` against a server that is known by its document alone."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator

import pytest
from tests.e2e.server import free_port
from tests.zoo.running import ROOT, Running

from wickguard.errors import ConfigError
from wickguard.probe.case import Profile
from wickguard.probe.cases import CATALOGUE
from wickguard.probe.engine import Options, probe
from wickguard.probe.events import CaseFinished, Ended, EndReason, Event, Found, LimitDerived, Started, Verdict
from wickguard.probe.rails import Limits
from wickguard.probe.target import Wanted

LIMITS = Limits(requests=3000, bytes=64 << 20, seconds=90.0, request_s=5.0, stop_s=0.5, repeats=2, storm_s=0.8)
# Of the catalogue, what is about documents and takes no long waits; and every sweep that the schemas ask for.
CASES = ("J01", "J07", "J11", "J16", "T09", "J17.batch", "T03", "T11")
SWEEPS = {
    "/v1/collections/notes/search": {
        "sweep:text_bytes", "sweep:inputs", "sweep:inputs x text_bytes", "sweep:items of query.vector",
        "sweep:entries of query.filters", "sweep:bytes of query.text", "sweep:value of top_k", "sweep:value of offset (query)",
    },
    "/v1/score": {"sweep:text_bytes", "sweep:inputs", "sweep:value of options.rounds"},
}  # fmt: skip


class Described(Running):
    """tests.e2e.described as a process."""

    def __init__(self) -> None:
        self.port = free_port()
        command = [sys.executable, "-m", "tests.e2e.described", "--port", str(self.port)]
        # It logs every malformed request with its stack.
        quiet = subprocess.DEVNULL
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=quiet, stderr=quiet)


@pytest.fixture(scope="module")
def server() -> Iterator[Described]:
    """One for all; at the end nothing that the probe has no business with may have been asked."""
    with Described() as found:
        yield found
        assert json.loads(found.get("/asked")[1]) == []


def run(server: Described, path: str, *cases: str) -> list[Event]:
    """The events of a run with a reduced budget."""

    async def collect() -> list[Event]:
        options = Options(
            Wanted(server.url + path, "openapi"), Profile.SHORT, 3, server.process.pid, only=cases, limits=LIMITS
        )
        return [event async for event in probe(options, CATALOGUE)]

    return asyncio.run(collect())


def test_cost_of_a_list_is_found_when_every_element_is_compared_with_every_other(server: Described) -> None:
    """Documents are objects with ids, dates and texts, beside a nested query; path and query of the URL are filled in."""
    path = "/v1/collections/notes/search"
    events = run(server, path, *SWEEPS[path])
    started, ended = events[0], events[-1]
    assert isinstance(started, Started)
    assert started.path == f"{path}?mode=exact"
    assert isinstance(ended, Ended)
    assert ended.reason is EndReason.COMPLETED
    slopes = {event.finding.feature for event in events if isinstance(event, Found) and event.finding.oracle == "slope"}
    assert slopes == {"inputs"}
    done = {event.case: event.verdict for event in events if isinstance(event, CaseFinished)}
    assert {case for case in SWEEPS[path] if done[case] is not Verdict.SKIPPED} == SWEEPS[path]


def test_nothing_is_found_when_a_route_bounds_what_it_takes(server: Described) -> None:
    """All sweeps and the cases of documents; the limits found are those of the code."""
    path = "/v1/score"
    events = run(server, path, *SWEEPS[path], *CASES)
    assert [event.finding for event in events if isinstance(event, Found)] == []
    done = {event.case: event.verdict for event in events if isinstance(event, CaseFinished)}
    assert {case for case in (*SWEEPS[path], *CASES) if done[case] is Verdict.SOUND} == {*SWEEPS[path], *CASES}
    limits = {event.feature: event.limit for event in events if isinstance(event, LimitDerived)}
    assert limits == {"bytes of one text": 2048, "inputs": 64, "value of options.rounds": 4}


def test_no_route_is_asked_when_only_a_base_of_several_is_given(server: Described) -> None:
    """The dialect is found out, and the error lists them; which of them does no harm, nobody can say from a document."""
    before = json.loads(server.get("/posts")[1])

    async def first() -> Event:
        return await anext(aiter(probe(Options(Wanted(server.url), dry_run=True), CATALOGUE)))

    with pytest.raises(ConfigError, match=r"one of its 2 routes: /v1/collections/notes/search, /v1/score$"):
        asyncio.run(first())
    assert {path: count for path, count in json.loads(server.get("/posts")[1]).items() if count} == {
        path: count for path, count in before.items() if count
    }
