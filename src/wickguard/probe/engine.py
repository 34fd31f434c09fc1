"""The engine: a probe run as an async generator of events. Console, files and reports listen; none is known here.

Decides the order of a run: ownership, discovery, plan, cases, fuzz, limits. Promises that the last event is always
`Ended`, whatever goes wrong before it, that nothing is sent before ownership is proven, and that every budget holds. It must
not know who listens.
"""

from __future__ import annotations

import asyncio
import platform
import traceback
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from wickguard import __version__
from wickguard.clock import now, utc
from wickguard.probe.case import Case, Profile
from wickguard.probe.events import CaseFinished, Ended, EndReason, Event, Found, Started, Verdict
from wickguard.probe.finding import Severity
from wickguard.probe.fuzz import Fuzzer
from wickguard.probe.limits import LimitFinder
from wickguard.probe.observe import Observer
from wickguard.probe.plan import Row, make_plan
from wickguard.probe.printable import printable
from wickguard.probe.process import ProcessTree
from wickguard.probe.rails import LIMITS, Allowance, Limits, prove_ownership
from wickguard.probe.runner import Runner
from wickguard.probe.sweep import PREFIX
from wickguard.probe.target import Target, Wanted, discover, parse_url
from wickguard.probe.wellbeing import RunOver, Wellbeing

# The most that one case may take: measured, repeated, confirmed.
_CASE_S = {Profile.SHORT: 8.0, Profile.STANDARD: 30.0, Profile.DEEP: 300.0}
_WARM_UP = 5
# Of an error that ends a run: so many frames, the last one first, and so much of its message.
_FRAMES, _MESSAGE = 4, 200


@dataclass(frozen=True, slots=True)
class Options:
    """What the operator asked for. only: ids of cases to run, empty for all. limits: None for the profile's own."""

    wanted: Wanted
    profile: Profile = Profile.SHORT
    seed: int = 0
    pid: int | None = None
    dry_run: bool = False
    only: tuple[str, ...] = ()
    limits: Limits | None = None


async def probe(options: Options, catalogue: tuple[Case, ...]) -> AsyncIterator[Event]:
    """Run; the events as they happen. Raises ConfigError before the first event, when the target can't be probed."""
    limits = options.limits or LIMITS[options.profile]
    address, _ = parse_url(options.wanted.url)
    await prove_ownership(address, options.wanted.timeout_s)
    tree = ProcessTree(options.pid) if options.pid is not None else None
    target = await discover(options.wanted)
    run = _Run(options, limits, target, tree)
    async for event in run.events(catalogue):
        yield event


class _Run:
    def __init__(self, options: Options, limits: Limits, target: Target, tree: ProcessTree | None) -> None:
        self._options = options
        self._target = target
        self._allowance = Allowance(limits, now())
        self._observer = Observer(target, self._allowance, tree)
        self._wellbeing = Wellbeing(self._observer)
        self._runner = Runner(self._observer, self._wellbeing, options.seed, _CASE_S[options.profile])
        self._limits = limits
        self._worst: Severity | None = None
        self._finished: set[str] = set()

    async def events(self, catalogue: tuple[Case, ...]) -> AsyncIterator[Event]:
        """The run."""
        yield self._started()
        plan: list[Row] = []
        reason, detail = EndReason.DRY_RUN if self._options.dry_run else EndReason.COMPLETED, ""
        try:
            plan = self._plan(catalogue)
            for row in plan:
                yield row.planned
            if not self._options.dry_run:
                async for event in self._run(plan):
                    self._note(event)
                    yield event
        except RunOver as over:
            reason, detail = over.reason, over.detail
        except asyncio.CancelledError:
            # Ctrl-C: what was found so far is still told, and nothing more is sent.
            reason = EndReason.INTERRUPTED
        except Exception as error:
            # A defect of the probe, or a target that found one: what was found so far is still told.
            reason, detail = EndReason.FAILED, _where(error)
        for event in self._left_out(plan, reason):
            yield event
        yield Ended(
            at_s=self._at(),
            reason=reason,
            requests=self._allowance.requests,
            bytes=self._allowance.bytes,
            seconds=self._at(),
            worst=self._worst,
            detail=detail,
        )

    def _plan(self, catalogue: tuple[Case, ...]) -> list[Row]:
        plan = make_plan(self._target.spelling, catalogue, self._options.profile, self._limits, self._options.seed)
        return [row for row in plan if not self._options.only or row.case.id in self._options.only]

    async def _run(self, plan: list[Row]) -> AsyncIterator[Event]:
        await self._wellbeing.warm_up(_WARM_UP)
        finder = LimitFinder(self._observer)
        for row in plan:
            if not row.planned.skip:
                async for event in self._runner.run(row.case):
                    finder.note(event)
                    yield event
                if row.case.id.startswith(PREFIX):
                    async for limit in finder.find(row.case):
                        yield limit
        if not self._options.only or "fuzz" in self._options.only:
            async for event in Fuzzer(self._observer, self._wellbeing, self._options.seed, self._options.profile).run():
                yield event

    def _note(self, event: Event) -> None:
        if isinstance(event, CaseFinished):
            self._finished.add(event.case)
        if isinstance(event, Found) and (self._worst is None or event.finding.severity.rank > self._worst.rank):
            self._worst = event.finding.severity

    def _left_out(self, plan: list[Row], reason: EndReason) -> list[Event]:
        why = {row.case.id: row.planned.skip or f"the run ended: {reason}" for row in plan}
        return [
            CaseFinished(self._at(), case, Verdict.SKIPPED, text)
            for case, text in why.items()
            if case not in self._finished
        ]

    def _at(self) -> float:
        return round(now() - self._allowance.began, 3)

    def _started(self) -> Started:
        spelling = self._target.spelling
        return Started(
            at_s=0.0,
            target=self._target.url,
            dialect=spelling.dialect,
            path=spelling.path,
            model=spelling.model,
            profile=str(self._options.profile),
            seed=self._options.seed,
            version=__version__,
            began=datetime.fromtimestamp(utc(), UTC).isoformat(timespec="seconds"),
            host=f"{platform.system()} {platform.machine()}",
            aliases=spelling.aliases,
            limits=spelling.limits,
            channels=self._observer.channels,
        )


def _where(error: Exception) -> str:
    """An error and where it happened, in a line for whoever mends it."""
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    places = ", from ".join(f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in reversed(frames))
    message = printable(str(error)[:_MESSAGE])
    return f"{type(error).__name__}: {message} at {places}; please report it"
