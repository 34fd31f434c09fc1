"""Batches: calls that share a slot run as one job, and only the guilty one fails.

A Backend before another one. The gate lets alike calls that wait share a slot (control/gate.py); here they meet, are merged
into one job (guard/sharing.py), and the result is cut up again, the pieces of answers that stream as they come. A reader who
does not read, or leaves, loses its own answer and nobody else's. Nobody waits to be joined: a company is complete when it
starts. When the job ends in any other way than well, its members are run again one after the other, each under its own grant,
in the time that it has left, and told as soon as it has ended; answers that had begun go on where they were. What the lost job
has used is charged to the first that fails again. Promises what a Backend promises, for each call. It must not know processes,
nor what is in a payload.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping, Sequence

from wickguard import clock
from wickguard.backend import Backend, Job, ModelSpec, Sink, Task
from wickguard.guard.sharing import Merger, after, burdened, by_price, limits_of, outcomes_of, part_of
from wickguard.records import Cost, Outcome, OutcomeKind

# A member whose caller left between the grant and its start never comes: the others go without it.
GATHER_S = 0.005


class _Company:
    """Calls that meet. told_bytes: of each one's pieces, those that were handed on."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.jobs: list[Job] = []
        self.sinks: dict[str, Sink] = {}
        self.told_bytes: dict[str, int] = {}
        self.outcomes: dict[str, asyncio.Future[Outcome]] = {}
        self.gone: set[str] = set()
        self.complete = asyncio.Event()
        self.merged_id = ""
        self.began_at = clock.now()

    @property
    def empty(self) -> bool:
        """Whether nobody waits for it any more."""
        return len(self.gone) == len(self.jobs)

    def hand_on(self, piece: bytes) -> bool:
        """A piece of the job to the member that it belongs to. False when nobody is left who would want one."""
        call_id = self.jobs[piece[0]].call_id if piece and piece[0] < len(self.jobs) else ""
        sink = self.sinks.get(call_id)
        if sink is not None and call_id not in self.gone:
            if sink(piece[1:]):
                self.told_bytes[call_id] += len(piece) - 1
            else:
                self.gone.add(call_id)
        return not self.empty

    def rest(self, call_id: str) -> Sink | None:
        """A sink for the pieces of a member whose answer is begun again."""
        sink = self.sinks.get(call_id)
        return after(sink, self.told_bytes[call_id]) if sink is not None else None


class Batches:
    """See the module. mergers: for each task whose calls can share a job."""

    def __init__(self, inner: Backend, mergers: Mapping[Task, Merger]) -> None:
        self._inner = inner
        self._mergers = mergers
        self._companies: dict[str, _Company] = {}
        self._members: dict[str, _Company] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def models(self) -> dict[str, ModelSpec]:
        """See Backend."""
        return self._inner.models

    def ready(self, model: str) -> bool:
        """See Backend."""
        return self._inner.ready(model)

    async def execute(self, job: Job, sink: Sink | None = None) -> Outcome:
        """See Backend."""
        if job.company is None:
            return await self._inner.execute(job, sink)
        company = self._companies.get(job.company.id)
        if company is None:
            company = self._companies[job.company.id] = _Company(job.company.size)
            task = asyncio.get_running_loop().create_task(self._run(job.company.id, company))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        company.jobs.append(job)
        if sink is not None:
            company.sinks[job.call_id], company.told_bytes[job.call_id] = sink, 0
        outcome = company.outcomes[job.call_id] = asyncio.get_running_loop().create_future()
        self._members[job.call_id] = company
        if len(company.jobs) == company.size:
            company.complete.set()
        try:
            return await asyncio.shield(outcome)
        except asyncio.CancelledError:
            self.abandon(job.call_id)
            raise

    def abandon(self, call_id: str) -> None:
        """See Backend. The job of a company is stopped when the last of its callers has left."""
        company = self._members.get(call_id)
        if company is None:
            self._inner.abandon(call_id)
            return
        company.gone.add(call_id)
        if company.merged_id and company.empty:
            self._inner.abandon(company.merged_id)
        # Of those that run alone now, only this one is stopped.
        self._inner.abandon(call_id)

    async def _run(self, name: str, company: _Company) -> None:
        try:
            async with asyncio.timeout(GATHER_S):
                await company.complete.wait()
        except TimeoutError:
            pass
        # Whoever comes later is a company of its own.
        del self._companies[name]
        jobs = list(company.jobs)
        try:
            outcomes = await self._together(name, company, jobs)
        except Exception as error:  # the inner backend has broken its promise: every member is told
            outcomes = [Outcome(OutcomeKind.FAILED, Cost(0.0, 0.0, 0), detail=repr(error)) for _ in jobs]
        for job, outcome in zip(jobs, outcomes, strict=True):
            self._tell(company, job, outcome)

    def _tell(self, company: _Company, job: Job, outcome: Outcome) -> None:
        """A member has ended. A second time changes nothing."""
        if self._members.pop(job.call_id, None) is None:
            return
        if job.call_id in company.gone and outcome.kind is OutcomeKind.COMPLETED:
            outcome = dataclasses.replace(outcome, kind=OutcomeKind.ABANDONED, result=None)
        if not company.outcomes[job.call_id].done():
            company.outcomes[job.call_id].set_result(outcome)

    async def _together(self, name: str, company: _Company, jobs: Sequence[Job]) -> list[Outcome]:
        first = jobs[0]
        if len(jobs) == 1:
            return [await self._inner.execute(dataclasses.replace(first, company=None), company.rest(first.call_id))]
        payloads = [job.payload for job in jobs]
        merger = self._mergers[self._inner.models[first.model].task]
        company.merged_id = f"{name}+{len(jobs) - 1}"
        whole = await self._inner.execute(
            Job(company.merged_id, first.model, merger.merge(payloads), limits_of(jobs), first.lane),
            company.hand_on if company.sinks else None,
        )
        company.merged_id = ""
        if whole.kind is OutcomeKind.COMPLETED and whole.result is not None:
            return outcomes_of(whole, jobs, merger.split(payloads, whole.result))
        if company.empty:
            return [_left(whole, share) for share in by_price(jobs)]
        return await self._alone(company, jobs, whole)

    async def _alone(self, company: _Company, jobs: Sequence[Job], whole: Outcome) -> list[Outcome]:
        """Each under its own grant, and told as soon as it has ended."""
        outcomes: list[Outcome] = []
        lost: Outcome | None = whole
        for job, share in zip(jobs, by_price(jobs), strict=True):
            left_s = job.limits.wall_s - (clock.now() - company.began_at)
            if job.call_id in company.gone:
                outcome = _left(whole, share)
            elif left_s <= 0:
                outcome = _late(whole, share)
            else:
                limits = dataclasses.replace(job.limits, wall_s=left_s)
                again = dataclasses.replace(job, company=None, limits=limits)
                outcome = await self._inner.execute(again, company.rest(job.call_id))
                if lost is not None and outcome.kind is not OutcomeKind.COMPLETED and not outcome.retryable:
                    # One is enough to have ended the job; to wait for others to share the bill would delay the verdict on it.
                    outcome, lost = burdened(outcome, lost), None
            self._tell(company, job, outcome)
            outcomes.append(outcome)
        return outcomes


def _left(whole: Outcome, share: float) -> Outcome:
    """Of a member whose caller left: it pays its part of the job, as whoever connects and drops."""
    return dataclasses.replace(
        whole, kind=OutcomeKind.ABANDONED, usage=part_of(whole.usage, share), result=None, respawn_s=0.0,
        retryable=False, detail="its caller left",
    )  # fmt: skip


def _late(whole: Outcome, share: float) -> Outcome:
    """Of a member with no time left to be run again: the victim of another one, unless time is what the job ran out of."""
    own = whole.kind is OutcomeKind.EXPIRED_WALL
    usage = part_of(whole.usage, share if own else 0.0)
    return Outcome(
        OutcomeKind.EXPIRED_WALL, usage, detail="its time was over with the job that it shared", worker=whole.worker,
        retryable=whole.retryable or not own,
    )  # fmt: skip
