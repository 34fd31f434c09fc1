"""Company: which of the calls that wait come along in a slot, to run as one job.

Decides how much they may add. Of some calls a part is done once for all who run together (answers that are written together
read the weights once); what a call adds is the rest. The others may add work up to a bound in seconds, so that nobody waits
long for somebody else's call; or as much as is done once for the call whose slot it is: then it takes at most about twice its
time, and less than one after the other would. Where little is done once, few come along. Nobody comes along who would make
one of them late. Pure; it must not know quotas, memory or why calls are alike.
"""

from __future__ import annotations

from collections.abc import Iterable

from wickguard.control.applicant import Applicant
from wickguard.control.fair_queue import Ticket


class Companions:
    """One slot being filled. most: calls, the leader included. batch_s: seconds of work that small calls may be together."""

    def __init__(self, now: float, leader: Applicant, most: int, batch_s: float) -> None:
        ticket = leader.ticket
        self._now = now
        self._batch = ticket.batch
        self._places = most - 1 if ticket.batch else 0
        self._room_s = max(batch_s - ticket.price_s, _shared_s(ticket))
        self._wall_s, self._added_s, self._due_at = leader.wall_s, 0.0, ticket.deadline_at

    @property
    def full(self) -> bool:
        """Whether there is no place left."""
        return self._places <= 0

    def takes(self, applicant: Applicant) -> bool:
        """Whether this call may come along; one that is late already may be told so."""
        ticket = applicant.ticket
        late = self._now + applicant.wall_s > ticket.deadline_at
        added_s = ticket.price_s - _shared_s(ticket)
        done_at = self._now + max(self._wall_s, applicant.wall_s) + self._added_s + added_s
        return (
            not self.full
            and ticket.batch == self._batch
            and added_s <= self._room_s
            and (late or done_at <= min(self._due_at, ticket.deadline_at))
        )

    def add(self, applicant: Applicant) -> None:
        """It does."""
        ticket = applicant.ticket
        added_s = ticket.price_s - _shared_s(ticket)
        self._places -= 1
        self._room_s -= added_s
        self._added_s += added_s
        self._wall_s = max(self._wall_s, applicant.wall_s)
        self._due_at = min(self._due_at, ticket.deadline_at)


def run_s(applicants: Iterable[Applicant]) -> float:
    """How long a slot is taken by calls that run together, by price or by wall time, whichever is over first: one call may use
    several cores, or wait for something.
    """
    once_s = each_s = 0.0
    for one in applicants:
        alone_s = min(one.ticket.price_s, one.wall_s)
        shared_s = min(_shared_s(one.ticket), alone_s)
        once_s = max(once_s, shared_s)
        each_s += alone_s - shared_s
    return once_s + each_s


def _shared_s(ticket: Ticket) -> float:
    return min(ticket.shared_s, ticket.price_s)
