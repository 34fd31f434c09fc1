"""The fuzzer: which structure of a text costs most for its bytes.

Decides by three stages: a dictionary of known structures, each beside ordinary words of the same length; in profile `deep`
only, an evolutionary search that starts from the dearest of the dictionary; and a sweep of the worst over sizes, as any case.
Promises that the same seed tries the same texts in the same order (what wins depends on what was measured), that what is
accused was measured again, that the target is left alone when ordinary requests suffer, and that a finding's reproducer is the
smallest text that keeps 80 % of the effect. It must not know tokenizers.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator

import msgspec

from wickguard.clock import now
from wickguard.modality.text import synthesize
from wickguard.probe.case import ANY_DIALECT, Case, Expect, Intake, Profile, Risk, Spelling, geometric
from wickguard.probe.events import Event, Found
from wickguard.probe.finding import Oracle, Reproducer, Severity, Taxonomy
from wickguard.probe.genome import Genome
from wickguard.probe.observe import Observer
from wickguard.probe.runner import Runner
from wickguard.probe.search import READINGS, Search
from wickguard.probe.trace import Trace, single
from wickguard.probe.wellbeing import RunOver, Wellbeing
from wickguard.units import KIB

BUDGET_BYTES = 4 * KIB
# A structure is worth a sweep when it costs this many times what words do; a finding needs the case's own bound.
_WORTH = 1.5
# What a text may cost over words of as many bytes, its tokens taken into account; and when nobody counts them: words have
# four to six bytes a token, and a text of signs that are tokens each costs that many times as much.
_COUNTED, _UNCOUNTED = 4.0, 8.0
# Of the effect, what the smallest reproducer has to keep.
KEEP = 0.8
_SHRINKS = 5
_SLOW_S = 0.3
_CASE_S = 10.0
_LARGEST = 256 * KIB
_GUARD_EVERY = 20
_EXCERPT = 80


class Fuzzer:
    """One per run."""

    def __init__(self, observer: Observer, wellbeing: Wellbeing, seed: int, profile: Profile) -> None:
        self._observer = observer
        self._wellbeing = wellbeing
        self._seed = seed
        self._profile = profile
        self._sent = 0
        self._tokens_per_byte = 0.0
        self._smallest: tuple[Genome, int, float] | None = None

    async def run(self) -> AsyncIterator[Event]:
        """All stages; the worst structure goes through the same measuring and confirming as any case."""
        budget_bytes = await self._budget() if Intake.TEXT in self._observer.target.spelling.takes else 0
        if not budget_bytes:
            return
        search = Search(self._cost, self._may_go_on, random.Random(f"{self._seed}:fuzz"), budget_bytes)
        elites = await search.dictionary()
        if self._profile is Profile.DEEP and elites:
            elites = await search.evolve(elites)
        if not elites or search.value(elites[0]) < _WORTH:
            return
        async for event in self._accuse(elites[0]):
            yield event

    async def _accuse(self, best: Genome) -> AsyncIterator[Event]:
        """The worst structure as a case; what is found waits for its smallest reproducer, but is told whatever happens."""
        runner = Runner(self._observer, self._wellbeing, self._seed, _CASE_S)
        held: list[Event] = []
        try:
            async for event in runner.run(_case(best, counted=self._tokens_per_byte > 0)):
                if held or isinstance(event, Found):
                    held.append(event)
                else:
                    yield event
            findings = [event.finding for event in held if isinstance(event, Found)]
            sizes = [finding.reproducer.size for finding in findings if finding.reproducer]
            if sizes:
                self._smallest = await self._minimise(best, max(sizes))
        except (RunOver, asyncio.CancelledError):
            for event in held:
                yield event
            raise
        for event in held:
            yield self._with_reproducer(event) if isinstance(event, Found) else event

    async def _budget(self) -> int:
        """Halved until ordinary words of so many bytes are accepted; 0 when they never are."""
        budget_bytes = BUDGET_BYTES
        while budget_bytes >= 64:
            if await self._cost(synthesize([budget_bytes])[0]) is not None:
                return budget_bytes
            budget_bytes //= 2
        return 0

    def _may_go_on(self) -> bool:
        return self._observer.allowance.exceeded(now()) is None

    async def _cost(self, text: str) -> float | None:
        """Seconds of one text beyond what its tokens explain, None when it is refused: that costs nobody much (EARLY looks at
        the rest).

        Raises RunOver when the target no longer serves anybody, and when the budget is used up.
        """
        self._wellbeing.check_allowance()
        seen = await self._observer.observe(single(self._observer.target.spelling.request([text])), watch=False)
        self._sent += 1
        broken = not seen.accepted and (seen.status == 0 or seen.status >= 500)
        if broken or self._sent % _GUARD_EVERY == 0:
            await self._wellbeing.guard("a text of the fuzzer")
        if not seen.accepted:
            return None
        cost_s = seen.cpu_s if seen.exact and seen.cpu_s is not None else seen.latency_s
        size_bytes = len(text.encode())
        if not self._tokens_per_byte:
            # The first text is ordinary words.
            self._tokens_per_byte = (seen.tokens or 0) / size_bytes
        # What the target counts as tokens it can charge: else every sign that is a token of its own would hide what is worse.
        counted = (seen.tokens or 0) / (self._tokens_per_byte * size_bytes) if self._tokens_per_byte else 1.0
        return cost_s / max(1.0, counted)

    def _with_reproducer(self, event: Found) -> Found:
        finding = event.finding
        if finding.reproducer is None or self._smallest is None:
            return event
        genome, size, effect = self._smallest
        text = genome.text(size)
        request = self._observer.target.spelling.request([text])
        reproducer = Reproducer(
            recipe=f"{genome.describe()}, {size} bytes",
            path=request.path,
            size=size,
            request_bytes=request.size_bytes,
            digest=hashlib.sha256(request.body).hexdigest(),
            excerpt=text[:_EXCERPT].encode("unicode_escape").decode("ascii")[:_EXCERPT],
            effect=round(effect, 2),
        )
        return Found(event.at_s, msgspec.structs.replace(finding, reproducer=reproducer))

    async def _minimise(self, genome: Genome, size: int) -> tuple[Genome, int, float]:
        """Fewer genes, then fewer bytes, as long as 80 % of the effect stays (delta debugging, greedily); and what stayed."""
        effect = await self._effect(genome, size)
        wanted, kept = KEEP * effect, effect
        index = 0
        while index < len(genome.genes):
            rest = genome.without(index)
            less = await self._effect(rest, size) if rest is not None else 0.0
            if rest is not None and less >= wanted:
                genome, kept = rest, less
            else:
                index += 1
        low, high = 1, size
        for _ in range(_SHRINKS):
            middle = (low + high) // 2
            if middle in (low, high):
                break
            less = await self._effect(genome, middle)
            if less >= wanted:
                high, kept = middle, less
            else:
                low = middle
        return genome, high, kept

    async def _effect(self, genome: Genome, size: int) -> float:
        """Its cost over that of ordinary words of the same length, the least of three each; 0 when it is refused."""
        first = await self._cost(genome.text(size))
        # What is slow is measured well enough at once.
        more = 0 if first is None or first > _SLOW_S else READINGS - 1
        costs = [first, *[await self._cost(genome.text(size)) for _ in range(more)]]
        words = [await self._cost(synthesize([size])[0]) for _ in range(READINGS)]
        known, control = [cost for cost in costs if cost is not None], [cost for cost in words if cost is not None]
        return min(known) / max(min(control), 1e-4) if known and control else 0.0


def _case(genome: Genome, *, counted: bool) -> Case:
    """counted: the target says how many tokens a text has, so that what they explain is taken out of its cost."""

    def attack(target: Spelling, size: int, chance: random.Random) -> Trace:
        return single(target.request([genome.text(size)]))

    def words(target: Spelling, size: int, chance: random.Random) -> Trace:
        return single(target.request(synthesize([size])))

    return Case(
        id="fuzz",
        title=f"A text of {genome.describe()} costs more than its bytes",
        risk=Risk.LIGHT,
        dialects=ANY_DIALECT,
        feature="bytes of one text",
        sizes=geometric(256, _LARGEST, 11),
        attack=attack,
        twin=words,
        oracles=frozenset({Oracle.TWIN, Oracle.SLOPE, Oracle.STALL, Oracle.LIVENESS}),
        taxonomy=Taxonomy(atlas=("AML.T0043.001", "AML.T0034.001"), cwe=(405, 407)),
        severity=Severity.WARNING,
        expect=Expect(exponent=1.6, twin_ratio=_COUNTED if counted else _UNCOUNTED),
        remedy="bound the work per byte: longest word, normalisation, and tokens before they are computed",
    )
