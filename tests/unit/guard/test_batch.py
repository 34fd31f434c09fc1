"""Batches over a backend that does what it is told: who is told when, and who pays."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence

from tests.fakes import FakeBackend, ended, settle_down

from wickguard.backend import Job
from wickguard.guard.batch import Batches
from wickguard.records import Company, Cost, Lane, Outcome, OutcomeKind

WHOLE = "c0+2"


class Joined:
    """Payloads one after the other."""

    def merge(self, payloads: Sequence[bytes]) -> bytes:
        """See Merger."""
        return b"".join(payloads)

    def split(self, payloads: Sequence[bytes], result: bytes) -> list[bytes]:
        """See Merger."""
        return list(payloads)


def company() -> list[Job]:
    """Three calls in one slot."""
    together = Company("c0", 3)
    return [
        Job(f"c{number}", "m", b"x", Cost(0.25, 2.0, 1000), Lane.SHORT, expected_s=0.005, company=together)
        for number in range(3)
    ]


def done() -> Outcome:
    """It went well."""
    return Outcome(OutcomeKind.COMPLETED, Cost(0.01, 0.01, 1), b"result")


def test_each_member_is_told_at_once_when_a_lost_job_is_run_again_one_by_one() -> None:
    """Nobody waits for somebody else's poison to be stopped a second time, and the breaker learns of each at once."""

    async def scenario() -> None:
        backend = FakeBackend()
        batches = Batches(backend, Joined())
        tasks = [asyncio.create_task(batches.execute(one)) for one in company()]
        await settle_down()
        lost = dataclasses.replace(ended(OutcomeKind.EXPIRED_CPU, 0.3), respawn_s=0.02)
        backend.finish(WHOLE, lost)
        await settle_down()
        assert backend.running == ["c0"]
        backend.finish("c0", done())
        await settle_down()
        assert tasks[0].done()
        assert backend.running == ["c1"]
        backend.finish("c1", ended(OutcomeKind.EXPIRED_CPU, 0.25))
        await settle_down()
        assert tasks[1].done()
        assert not tasks[2].done()
        backend.finish("c2", ended(OutcomeKind.EXPIRED_CPU, 0.25))
        outcomes = await asyncio.gather(*tasks)
        # The lost job is paid for once.
        assert [round(outcome.usage.cpu_s, 6) for outcome in outcomes] == [0.01, 0.55, 0.25]
        assert [outcome.respawn_s for outcome in outcomes] == [0.0, 0.02, 0.0]

    asyncio.run(scenario())
