"""Batches over a backend that does what it is told: who is told what and when, and who pays."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Sequence

import msgspec
import pytest
from tests.fakes import MINILM, FakeBackend, FakeClock, ended, settle_down

from wickguard import clock
from wickguard.backend import Job, Refusal, Task
from wickguard.guard.batch import Batches
from wickguard.guard.sharing import Part, limits_of
from wickguard.records import Company, Cost, Lane, Outcome, OutcomeKind

WHOLE = "c0+2"
DONE = Outcome(OutcomeKind.COMPLETED, Cost(0.03, 0.01, 300), b"result")
TOO_LONG = Refusal("too_many_tokens", "too long")


class Joined:
    """Payloads one after the other. parts: what the members get, if not their payloads."""

    def __init__(self, parts: Sequence[Part] | None = None) -> None:
        self.parts = parts

    def merge(self, payloads: Sequence[bytes]) -> bytes:
        """See Merger."""
        return b"".join(payloads)

    def split(self, payloads: Sequence[bytes], result: bytes) -> list[Part]:
        """See Merger."""
        return list(self.parts or [Part(payload) for payload in payloads])


class Played:
    """Three calls in one slot, c0 to c2, and what each has got. streams: those that take pieces."""

    def __init__(self, parts: Sequence[Part] | None = None, streams: str = "") -> None:
        self.backend = FakeBackend()
        self.batches = Batches(self.backend, {Task.EMBED: Joined(parts)})
        self.pieces = dict.fromkeys(streams.split(), b"")
        self.deaf: set[str] = set()
        together = Company("c0", 3)
        self.tasks = {
            job.call_id: asyncio.create_task(self.batches.execute(job, self._sink(job.call_id)))
            for job in (
                Job(f"c{number}", MINILM.name, b"x", Cost(0.25, 2.0, 1000), Lane.SHORT, False, 0.005, together)
                for number in range(3)
            )
        }

    def _sink(self, name: str) -> Callable[[bytes], bool] | None:
        def take(piece: bytes) -> bool:
            self.pieces[name] += piece
            return name not in self.deaf

        return take if name in self.pieces else None

    def say(self, call_id: str, piece: bytes) -> bool:
        """The backend hands a piece on."""
        sink = self.backend.sinks[call_id]
        assert sink is not None
        return sink(piece)

    async def end(self, call_id: str, outcome: Outcome) -> None:
        """A job ends."""
        self.backend.finish(call_id, outcome)
        await settle_down()

    async def outcomes(self) -> list[Outcome]:
        """How the three ended."""
        return [await task for task in self.tasks.values()]


def test_each_member_is_told_at_once_when_a_lost_job_is_run_again_one_by_one() -> None:
    """Nobody waits for somebody else's poison to be stopped a second time, and the breaker learns of each at once."""

    async def scenario() -> None:
        played = Played()
        await settle_down()
        await played.end(WHOLE, dataclasses.replace(ended(OutcomeKind.EXPIRED_CPU, 0.3), respawn_s=0.02))
        assert played.backend.running == ["c0"]
        await played.end("c0", dataclasses.replace(DONE, usage=Cost(0.01, 0.01, 1)))
        assert played.tasks["c0"].done()
        assert played.backend.running == ["c1"]
        await played.end("c1", ended(OutcomeKind.EXPIRED_CPU, 0.25))
        assert played.tasks["c1"].done()
        assert not played.tasks["c2"].done()
        await played.end("c2", ended(OutcomeKind.EXPIRED_CPU, 0.25))
        outcomes = await played.outcomes()
        # The lost job is paid for once.
        assert [round(outcome.usage.cpu_s, 6) for outcome in outcomes] == [0.01, 0.55, 0.25]
        assert [outcome.respawn_s for outcome in outcomes] == [0.0, 0.02, 0.0]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("works", "want"),
    [
        ((1.0, 2.0, 3.0), (0.005, 0.01, 0.015)),
        ((0.0, 5.0, 5.0), (0.0, 0.015, 0.015)),
        ((None, None, None), (0.01, 0.01, 0.01)),
        ((1.0, None, 3.0), (0.01, 0.01, 0.01)),
        ((1.0, float("nan"), 3.0), (0.01, 0.01, 0.01)),
        ((1.0, -1.0, 3.0), (0.01, 0.01, 0.01)),
        ((0.0, 0.0, 0.0), (0.01, 0.01, 0.01)),
    ],
)
def test_each_pays_for_what_it_was_the_cause_of_when_that_is_known(
    works: Sequence[float | None], want: Sequence[float]
) -> None:
    """Else by price; a number that can't be is no number. The parts are the whole."""

    async def scenario() -> None:
        played = Played([Part(b"r", work) for work in works])
        await settle_down()
        await played.end(WHOLE, DONE)
        outcomes = await played.outcomes()
        assert [outcome.usage.cpu_s for outcome in outcomes] == pytest.approx(list(want))
        assert sum(outcome.usage.cpu_s for outcome in outcomes) == pytest.approx(DONE.usage.cpu_s)

    asyncio.run(scenario())


def test_a_member_is_refused_alone_when_the_worker_refuses_it() -> None:
    """The others have their results from the same job; the refused one pays for finding out."""

    async def scenario() -> None:
        played = Played([Part(b"one", 10.0), Part(TOO_LONG, 1.0), Part(b"three", 10.0)])
        await settle_down()
        await played.end(WHOLE, DONE)
        one, two, three = await played.outcomes()
        assert (one.result, three.result) == (b"one", b"three")
        assert (two.kind, two.result) == (OutcomeKind.REFUSED_BY_WORKER, None)
        assert msgspec.json.decode(two.detail, type=Refusal) == TOO_LONG
        assert two.usage.cpu_s == pytest.approx(DONE.usage.cpu_s / 21)
        assert list(played.backend.jobs) == [WHOLE]

    asyncio.run(scenario())


def test_pieces_go_to_the_member_that_they_name_when_some_of_a_company_stream() -> None:
    """A piece of nobody is nobody's; a company in which nobody streams is not asked for pieces."""

    async def scenario() -> None:
        played = Played(streams="c0 c2")
        await settle_down()
        for piece in (b"\x00Once", b"\x02He", b"\x00 upon", b"\x01lost", b"\x09lost", b"", b"\x02llo"):
            assert played.say(WHOLE, piece)
        await played.end(WHOLE, DONE)
        assert {one.kind for one in await played.outcomes()} == {OutcomeKind.COMPLETED}
        assert played.pieces == {"c0": b"Once upon", "c2": b"Hello"}
        silent = Played()
        await settle_down()
        assert silent.backend.sinks[WHOLE] is None
        await silent.end(WHOLE, DONE)
        await silent.outcomes()

    asyncio.run(scenario())


def test_a_reader_who_takes_no_more_loses_its_own_answer_and_nobody_elses() -> None:
    """The job is stopped only when the last one has gone."""

    async def scenario() -> None:
        played = Played(streams="c0 c1")
        await settle_down()
        played.deaf.add("c0")
        assert played.say(WHOLE, b"\x00one")
        assert played.say(WHOLE, b"\x00two")
        assert played.say(WHOLE, b"\x01one")
        played.batches.abandon("c2")
        assert played.say(WHOLE, b"\x01two")
        played.deaf.add("c1")
        assert not played.say(WHOLE, b"\x01three")
        await played.end(WHOLE, DONE)
        assert {one.kind for one in await played.outcomes()} == {OutcomeKind.ABANDONED}
        assert played.pieces == {"c0": b"one", "c1": b"onetwothree"}

    asyncio.run(scenario())


def test_an_answer_goes_on_where_it_was_when_its_company_is_lost() -> None:
    """It is written again from the beginning, in other pieces: its reader has every byte once."""

    async def scenario() -> None:
        played = Played(streams="c0 c1 c2")
        await settle_down()
        for piece in (b"\x00Once", b"\x00 upon", b"\x01Hel"):
            played.say(WHOLE, piece)
        await played.end(WHOLE, ended(OutcomeKind.CRASHED))
        for piece in (b"On", b"ce up", b"on a", b" time"):
            assert played.say("c0", piece)
        await played.end("c0", DONE)
        assert played.say("c1", b"Hello")
        await played.end("c1", ended(OutcomeKind.CRASHED))
        assert played.say("c2", b"new")
        await played.end("c2", DONE)
        assert played.pieces == {"c0": b"Once upon a time", "c1": b"Hello", "c2": b"new"}

    asyncio.run(scenario())


@pytest.mark.parametrize("lost", [OutcomeKind.CRASHED, OutcomeKind.EXPIRED_WALL])
def test_nobody_runs_beyond_its_time_when_a_company_is_lost(monkeypatch: pytest.MonkeyPatch, lost: OutcomeKind) -> None:
    """Who has time left is run again in what is left of it; who has none is told, and pays only if time is what was short."""
    now = FakeClock()
    monkeypatch.setattr(clock, "now", now)

    async def scenario() -> None:
        played = Played()
        await settle_down()
        now.advance(1.5)
        await played.end(WHOLE, ended(lost, 0.3))
        assert played.backend.jobs["c0"].limits == Cost(0.25, 0.5, 1000)
        now.advance(0.6)
        await played.end("c0", DONE)
        first, *late = await played.outcomes()
        own = lost is OutcomeKind.EXPIRED_WALL
        assert first.kind is OutcomeKind.COMPLETED
        assert {(one.kind, one.retryable) for one in late} == {(OutcomeKind.EXPIRED_WALL, not own)}
        assert [one.usage.cpu_s for one in late] == pytest.approx([0.1, 0.1] if own else [0.0, 0.0])
        assert list(played.backend.jobs) == [WHOLE, "c0"]

    asyncio.run(scenario())


def test_who_left_pays_its_part_when_the_job_is_lost_without_it() -> None:
    """To leave before the verdict is not free."""

    async def scenario() -> None:
        played = Played()
        await settle_down()
        played.batches.abandon("c1")
        await played.end(WHOLE, ended(OutcomeKind.CRASHED, 0.3))
        await played.end("c0", DONE)
        await played.end("c2", DONE)
        outcomes = await played.outcomes()
        assert outcomes[1].kind is OutcomeKind.ABANDONED
        assert outcomes[1].usage.cpu_s == pytest.approx(0.1)
        assert list(played.backend.jobs) == [WHOLE, "c0", "c2"]

    asyncio.run(scenario())


@pytest.mark.parametrize(("shared_s", "cpu_s"), [(0.0, 0.28), (0.004, 0.256)])
def test_a_job_may_use_what_one_may_and_what_the_others_add_when_it_does_them_all(
    shared_s: float, cpu_s: float
) -> None:
    """In the time of the one that has least, and with the bytes of all."""
    jobs = [
        Job(f"c{number}", MINILM.name, b"x", Cost(0.25, wall_s, 1000), Lane.SHORT, False, 0.005, None, shared_s)
        for number, wall_s in enumerate((2.0, 1.0, 3.0))
    ]
    limits = limits_of(jobs)
    assert limits.cpu_s == pytest.approx(cpu_s)
    assert (limits.wall_s, limits.peak_bytes) == (1.0, 3000)
