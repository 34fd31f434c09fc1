"""Wellbeing: whether the target's ordinary requests still fare as before the run, and when it has to be left alone.

Decides that a canary suffers when it fails, or takes longer than the latency at which cases stop growing and several times
what it took before the run; a refusal by the target's own rate limit is no suffering, nor one that says when to come back.
Promises that nothing but canaries is sent once so many in a row have suffered, until one fares well again; a run that waits
for that in vain is over. It must not know cases.
"""

from __future__ import annotations

import asyncio
import statistics

from wickguard.clock import now
from wickguard.probe.events import EndReason
from wickguard.probe.observe import Observer
from wickguard.probe.trace import Request
from wickguard.probe.wire import Answer
from wickguard.units import format_seconds

# Times what an ordinary request took before the run.
_WORSE = 3.0
_GAP_S, _RECOVERY_GAP_S = 0.2, 0.5


class RunOver(Exception):  # noqa: N818 -- a fact, not an error
    """The run has to end now; nothing more may be sent."""

    def __init__(self, reason: EndReason, detail: str = "") -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class Wellbeing:
    """One per run."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._limits = observer.allowance.limits
        self._usual_s = 0.0

    @property
    def bound_s(self) -> float:
        """The longest that an ordinary request may take before it counts as suffering."""
        return max(self._limits.stop_s, _WORSE * self._usual_s)

    def check_allowance(self, needs_s: float = 0.0) -> None:
        """Raise RunOver when the budget is used up, or would be before what takes `needs_s` has ended."""
        reason = self._observer.allowance.exceeded(now() + needs_s)
        if reason is not None:
            raise RunOver(reason)

    async def warm_up(self, count: int) -> None:
        """So many ordinary requests; what they take is the measure of all later ones.

        Raises RunOver when all of them fail: what is answered so before anything was done to it is no finding.
        """
        answers = [await self._observer.control() for _ in range(count)]
        if all(not answer.ok and self.suffers(answer) for answer in answers):
            said = answers[-1].status or answers[-1].error
            raise RunOver(
                EndReason.CANARY_SUFFERED,
                f"{count} ordinary requests were answered {said} before anything else was sent: nothing can be measured",
            )
        self._usual_s = statistics.median([answer.latency_s for answer in answers if answer.ok] or [0.0])

    def suffers(self, canary: Answer) -> bool:
        """Whether this ordinary request failed or was far too slow."""
        if canary.ok:
            return canary.latency_s > self.bound_s
        return not canary.asks_to_wait

    async def well(self) -> bool:
        """Whether one of the next ordinary requests does not suffer; False after the limit's number of them in a row."""
        for _ in range(self._limits.canary_failures):
            if not self.suffers(await self._observer.control()):
                return True
            await asyncio.sleep(_GAP_S)
        return False

    async def lives(self) -> bool:
        """Whether anything still answers: health, while ordinary requests suffer."""
        health = Request("GET", self._observer.target.health)
        return (await self._observer.ask(health, min(2.0, self._limits.request_s))).status != 0

    async def recover(self, after: str) -> None:
        """Return when ordinary requests fare well again. Raises RunOver when they don't in time. after: what was sent."""
        until = now() + self._limits.recovery_s
        while now() < until:
            answer = await self._observer.control()
            if answer.ok and not self.suffers(answer):
                return
            await asyncio.sleep(_RECOVERY_GAP_S)
        waited = format_seconds(self._limits.recovery_s)
        if not await self.lives():
            raise RunOver(EndReason.TARGET_DOWN, f"the target did not come back within {waited} after {after}")
        raise RunOver(
            EndReason.CANARY_SUFFERED,
            f"ordinary requests failed or took over {format_seconds(self.bound_s)} for {waited} after {after}, "
            "while the target still answers: it was left alone",
        )

    async def guard(self, after: str) -> None:
        """Nothing when all is well; else wait until it is. Raises RunOver."""
        if not await self.well():
            await self.recover(after)
