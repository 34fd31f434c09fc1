"""Batches: calls that share a slot run as one job, and only the guilty one fails.

A Backend before another one. The gate lets alike calls that wait share a slot (control/gate.py); here they meet, are merged
into one job under the sum of their grants, and the result is cut up again. Nobody waits to be joined: a company is complete
when it starts. When the job ends in any other way than well, its members are run again one after the other, each under its own
grant; what the lost job has used is charged to those that fail again. Promises what a Backend promises, for each call. It must
not know processes, nor what is in a payload: a `Merger` does.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from typing import Protocol

from wickguard.backend import Backend, Job, ModelSpec
from wickguard.records import Cost, Outcome, OutcomeKind

# A member whose caller left between the grant and its start never comes: the others go without it.
GATHER_S = 0.005
_ROOM = 2.0


class Merger(Protocol):
    """Makes one payload of several, and several results of one."""

    def merge(self, payloads: Sequence[bytes]) -> bytes:
        """The payload of a job that does all of these."""
        ...

    def split(self, payloads: Sequence[bytes], result: bytes) -> list[bytes]:
        """The result of each."""
        ...


class _Company:
    """Calls that meet."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.jobs: list[Job] = []
        self.outcomes: dict[str, asyncio.Future[Outcome]] = {}
        self.gone: set[str] = set()
        self.complete = asyncio.Event()
        self.merged_id = ""


class Batches:
    """See the module."""

    def __init__(self, inner: Backend, merger: Merger) -> None:
        self._inner = inner
        self._merger = merger
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

    async def execute(self, job: Job) -> Outcome:
        """See Backend."""
        if job.company is None:
            return await self._inner.execute(job)
        company = self._companies.get(job.company.id)
        if company is None:
            company = self._companies[job.company.id] = _Company(job.company.size)
            task = asyncio.get_running_loop().create_task(self._run(job.company.id, company))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        company.jobs.append(job)
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
        if company.merged_id and len(company.gone) == len(company.jobs):
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
            if job.call_id in company.gone and outcome.kind is OutcomeKind.COMPLETED:
                outcome = dataclasses.replace(outcome, kind=OutcomeKind.ABANDONED, result=None)  # noqa: PLW2901
            del self._members[job.call_id]
            if not company.outcomes[job.call_id].done():
                company.outcomes[job.call_id].set_result(outcome)

    async def _together(self, name: str, company: _Company, jobs: Sequence[Job]) -> list[Outcome]:
        if len(jobs) == 1:
            return [await self._inner.execute(dataclasses.replace(jobs[0], company=None))]
        payloads = [job.payload for job in jobs]
        company.merged_id = f"{name}+{len(jobs) - 1}"
        first = jobs[0]
        whole = await self._inner.execute(
            Job(company.merged_id, first.model, self._merger.merge(payloads), _sum(jobs), first.lane)
        )
        company.merged_id = ""
        if whole.kind is OutcomeKind.COMPLETED and whole.result is not None:
            results = self._merger.split(payloads, whole.result)
            return [
                dataclasses.replace(whole, usage=_part(whole.usage, share), result=result)
                for share, result in zip(_shares(jobs), results, strict=True)
            ]
        if len(company.gone) == len(jobs):
            return [
                dataclasses.replace(whole, kind=OutcomeKind.ABANDONED, usage=_part(whole.usage, share))
                for share in _shares(jobs)
            ]
        return await self._alone(company, jobs, whole)

    async def _alone(self, company: _Company, jobs: Sequence[Job], whole: Outcome) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for job in jobs:
            if job.call_id in company.gone:
                outcomes.append(Outcome(OutcomeKind.ABANDONED, Cost(0.0, 0.0, 0), detail="its caller left"))
            else:
                outcomes.append(await self._inner.execute(dataclasses.replace(job, company=None)))
        guilty = [index for index, outcome in enumerate(outcomes) if outcome.kind is not OutcomeKind.COMPLETED]
        for index in guilty:
            used, lost = outcomes[index].usage, whole.usage.cpu_s / len(guilty)
            outcomes[index] = dataclasses.replace(
                outcomes[index], usage=Cost(used.cpu_s + lost, used.wall_s, used.peak_bytes),
                respawn_s=outcomes[index].respawn_s + whole.respawn_s / len(guilty),
            )  # fmt: skip
        return outcomes


def _sum(jobs: Sequence[Job]) -> Cost:
    """What a job may use that does all of them.

    CPU time as the most generous grant, and what the others are expected to use with some room: the sum of all grants would let
    one poison hold up seven others for seconds. The time on the wall is over when the first one's is.
    """
    most = max(job.limits.cpu_s for job in jobs)
    return Cost(
        most + _ROOM * sum(job.expected_s for job in jobs), min(job.limits.wall_s for job in jobs),
        sum(job.limits.peak_bytes for job in jobs),
    )  # fmt: skip


def _shares(jobs: Sequence[Job]) -> list[float]:
    total = sum(job.expected_s for job in jobs)
    return [job.expected_s / total if total > 0 else 1 / len(jobs) for job in jobs]


def _part(usage: Cost, share: float) -> Cost:
    """A member's part of what the job used; everybody was there the whole time."""
    return Cost(usage.cpu_s * share, usage.wall_s, int(usage.peak_bytes * share))
