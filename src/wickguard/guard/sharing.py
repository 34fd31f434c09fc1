"""Sharing: one job for several calls: how it is made, what it may use, and what of it each call gets and pays.

Decides the limits of the job and the parts of the bill. Promises that the parts are the whole. It must not know what is in a
payload (a `Merger` does), nor who waits for what.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from wickguard.backend import Job, Refusal, Sink
from wickguard.records import Cost, Outcome, OutcomeKind

_ROOM = 2.0


@dataclass(frozen=True, slots=True)
class Part:
    """What a call gets of the job: its result, or why it is refused. work: what of the job it was the cause of, in the unit of
    the others; None when only prices say.
    """

    answer: bytes | Refusal
    work: float | None = None


class Merger(Protocol):
    """Makes one payload of several, and several results of one. A job that streams has the index of the call that a piece
    belongs to as the first byte of the piece.
    """

    def merge(self, payloads: Sequence[bytes]) -> bytes:
        """The payload of a job that does all of these."""
        ...

    def split(self, payloads: Sequence[bytes], result: bytes) -> list[Part]:
        """What each gets. Raises for a result that is none."""
        ...


def limits_of(jobs: Sequence[Job]) -> Cost:
    """What a job may use that does all of them.

    CPU time as the most generous grant, and what each is expected to add to it with some room: the sum of all grants would let
    one poison hold up seven others for seconds. The time on the wall is over when the first one's is.
    """
    most = max(job.limits.cpu_s for job in jobs)
    return Cost(
        most + _ROOM * sum(max(0.0, job.expected_s - job.shared_s) for job in jobs), min(job.limits.wall_s for job in jobs),
        sum(job.limits.peak_bytes for job in jobs),
    )  # fmt: skip


def by_price(jobs: Sequence[Job]) -> list[float]:
    """The share of each in the work, by what was expected. They add up to 1."""
    total = sum(job.expected_s for job in jobs)
    return [job.expected_s / total if total > 0 else 1 / len(jobs) for job in jobs]


def by_work(jobs: Sequence[Job], parts: Sequence[Part]) -> list[float]:
    """The share of each by what it was the cause of, where all of that is known."""
    works = [part.work for part in parts if part.work is not None and math.isfinite(part.work) and part.work >= 0]
    total = math.fsum(works)
    return [work / total for work in works] if len(works) == len(jobs) and total > 0 else by_price(jobs)


def part_of(usage: Cost, share: float) -> Cost:
    """A call's part of what the job used; everybody was there the whole time."""
    return Cost(usage.cpu_s * share, usage.wall_s, int(usage.peak_bytes * share))


def outcomes_of(whole: Outcome, jobs: Sequence[Job], parts: Sequence[Part]) -> list[Outcome]:
    """How each call ended whose job went well. Raises ValueError when there are not as many parts."""
    return [
        _outcome(dataclasses.replace(whole, usage=part_of(whole.usage, share)), part)
        for share, part in zip(by_work(jobs, parts), parts, strict=True)
    ]


def _outcome(own: Outcome, part: Part) -> Outcome:
    if isinstance(part.answer, bytes):
        return dataclasses.replace(own, result=part.answer)
    detail = msgspec.json.encode(part.answer).decode()
    return dataclasses.replace(own, kind=OutcomeKind.REFUSED_BY_WORKER, result=None, detail=detail)


def burdened(outcome: Outcome, lost: Outcome) -> Outcome:
    """The outcome of who has to pay for a lost job as well."""
    used = outcome.usage
    return dataclasses.replace(
        outcome, usage=Cost(used.cpu_s + lost.usage.cpu_s, used.wall_s, used.peak_bytes),
        respawn_s=outcome.respawn_s + lost.respawn_s,
    )  # fmt: skip


def after(sink: Sink, told_bytes: int) -> Sink:
    """A sink that leaves out so many bytes: an answer that is begun again goes on where it was.

    The same call writes the same, so the bytes that were handed on are the first of those that come again.
    """
    left = told_bytes

    def take(piece: bytes) -> bool:
        nonlocal left
        rest, left = piece[left:], max(0, left - len(piece))
        return sink(rest) if rest else True

    return take
