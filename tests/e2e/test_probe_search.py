"""The evolutionary search against a live server whose defect no sweep and no structure of the dictionary reaches.

The filter of the zoo's `regex` is quadratic in a run of whitespace that does not end the text: whitespace alone is cheap, and
so is everything else alone. (The catalogue has a case for it, which is not run here.)
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re

from tests.zoo.running import Running
from tests.zoo.service import MODEL

from wickguard.modality.text import synthesize
from wickguard.probe.case import Profile
from wickguard.probe.cases import CATALOGUE
from wickguard.probe.engine import Options, probe
from wickguard.probe.events import Ended, EndReason, Event, Found
from wickguard.probe.finding import Oracle, Reproducer
from wickguard.probe.fuzz import KEEP
from wickguard.probe.genome import Gene, Genome
from wickguard.probe.rails import Limits
from wickguard.probe.target import Wanted

ROUTE = "/v1/embeddings"
LIMITS = Limits(requests=2500, bytes=64 << 20, seconds=90.0, request_s=10.0, stop_s=1.0, repeats=2, storm_s=0.4)


def run(server: Running, profile: Profile, *cases: str) -> list[Event]:
    """The events of a run with a reduced budget."""

    async def collect() -> list[Event]:
        options = Options(
            Wanted(server.url + ROUTE, "openai"), profile, 1, server.process.pid, only=cases, limits=LIMITS
        )
        return [event async for event in probe(options, CATALOGUE)]

    events = asyncio.run(collect())
    ended = events[-1]
    assert isinstance(ended, Ended)
    assert ended.reason is EndReason.COMPLETED
    return events


def findings(events: list[Event]) -> dict[Oracle, Reproducer]:
    """Oracle -> reproducer of each finding of the fuzzer."""
    found = [event.finding for event in events if isinstance(event, Found) and event.finding.case == "fuzz"]
    return {item.oracle: item.reproducer for item in found if item.reproducer is not None}


def read(recipe: str) -> Genome:
    """The genome that a recipe describes."""
    genes = recipe.rpartition(",")[0].split(" + ")
    return Genome(
        tuple(Gene(atom, int(weight)) for weight, atom in (re.split(" x ", gene, maxsplit=1) for gene in genes))
    )


def body(text: str) -> dict[str, object]:
    """What is asked."""
    return {"model": MODEL, "input": [text]}


def effect(server: Running, genome: Genome | None, size: int) -> float:
    """CPU-seconds of a text over those of ordinary words of the same bytes, measured here and not by the probe."""
    if genome is None:
        return 0.0
    return server.cost(ROUTE, body(genome.text(size)))[1] / server.cost(ROUTE, body(synthesize([size])[0]))[1]


def test_dictionary_and_sweeps_find_nothing_when_the_defect_needs_two_structures() -> None:
    """Else the search would prove nothing."""
    with Running("regex", sound=False) as server:
        events = run(server, Profile.SHORT, "sweep:text_bytes", "sweep:inputs", "fuzz")
    assert not [event for event in events if isinstance(event, Found)]


def test_search_finds_the_smallest_reproducer_that_keeps_the_effect_when_it_is_asked_for() -> None:
    """The reproducer is what its digest says, each part of it is needed, and it costs what was reported."""
    with Running("regex", sound=False) as server:
        found = findings(run(server, Profile.DEEP, "fuzz"))
        assert {Oracle.SLOPE, Oracle.TWIN} <= set(found)
        assert len({reproducer.recipe for reproducer in found.values()}) == 1
        reproducer = found[Oracle.TWIN]
        genome = read(reproducer.recipe)
        sent = json.dumps(body(genome.text(reproducer.size)), ensure_ascii=False, separators=(",", ":")).encode()
        assert hashlib.sha256(sent).hexdigest() == reproducer.digest
        whole = effect(server, genome, reproducer.size)
        parts = [effect(server, genome.without(index), reproducer.size) for index in range(len(genome.genes))]
    assert reproducer.effect is not None
    assert whole > 4
    assert len(genome.genes) >= 2
    # Measured again, so with some slack above the share that the probe allows.
    assert all(part < (KEEP + 0.15) * whole for part in parts)


def test_search_finds_nothing_when_the_server_is_sound() -> None:
    """The same search, the twin."""
    with Running("regex", sound=True) as server:
        events = run(server, Profile.DEEP, "sweep:text_bytes", "fuzz")
    assert not [event for event in events if isinstance(event, Found)]
