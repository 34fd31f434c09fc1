"""Observing: one trace sent at a target, and everything that can be read while and after it.

Decides how a trace's steps are put on connections and timed, and from which channel its cost is read. Promises that every
observation counts against the allowance, and that what can't be read is None. It must not know what would be wrong.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from wickguard.clock import now
from wickguard.probe.canary import Canary, Window, watched
from wickguard.probe.channels import Counters, Told, parse_metrics, told
from wickguard.probe.process import ProcessTree
from wickguard.probe.rails import Allowance
from wickguard.probe.target import Target
from wickguard.probe.trace import Request, Step, Trace
from wickguard.probe.wire import Answer, Connection, send

_SAMPLE_S = 0.05
_OVERTIME_S = 3.0
# Bytes around a body: request line and headers.
_HEAD_BYTES = 250


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of the target before a trace, at its highest during it, and when it was over."""

    before: int
    peak: int
    after: int


@dataclass(slots=True)
class Observation:
    """What was seen of one trace.

    latency_s: of the slowest measured step. cpu_s: CPU-seconds; exact says that the answers told it themselves (else it is
    the process tree's, with whatever else ran). alive: the same process still answers.
    """

    trace: Trace
    answers: tuple[Answer, ...]
    latency_s: float
    cpu_s: float | None = None
    exact: bool = False
    memory: Memory | None = None
    peak_told: int | None = None
    tokens: int | None = None
    window: Window = field(default_factory=Window)
    alive: bool = True

    @property
    def measured(self) -> list[tuple[Step, Answer]]:
        """The steps that count, with their answers."""
        return [pair for pair in zip(self.trace.steps, self.answers, strict=True) if pair[0].measured]

    @property
    def status(self) -> int:
        """The commonest status of the measured steps; 0 when most got no answer."""
        counts = Counter(answer.status for _, answer in self.measured)
        return counts.most_common(1)[0][0] if counts else 0

    @property
    def accepted(self) -> bool:
        """Whether all measured steps were answered with success."""
        return all(answer.ok for _, answer in self.measured)

    @property
    def timed_out(self) -> bool:
        """Whether a measured step got no answer in time."""
        return any(answer.error == "timeout" for _, answer in self.measured)

    @property
    def response_bytes(self) -> int:
        """Bytes of all answers' bodies."""
        return sum(answer.response_bytes for answer in self.answers)


class Observer:
    """Sends traces and reads costs. One per run."""

    def __init__(self, target: Target, allowance: Allowance, tree: ProcessTree | None) -> None:
        self.target = target
        self.allowance = allowance
        self.tree = tree
        self._began: float | None = None
        benign = target.spelling.request(("the river was quiet",))
        self._benign = benign

    @property
    def channels(self) -> tuple[str, ...]:
        """Which costs can be read besides latency."""
        found = ["process tree"] if self.tree is not None else []
        return (*found, *(["/metrics"] if self.target.metrics else []))

    async def control(self) -> Answer:
        """One ordinary request on a connection of its own: the canary."""
        return await self.ask(self._benign)

    async def ask(self, request: Request, timeout_s: float | None = None, body: list[bytes] | None = None) -> Answer:
        """Any request, on a connection of its own. body: takes the pieces of the answer's body."""
        self.allowance.spend(1, request.size_bytes + _HEAD_BYTES)
        return await send(self.target.address, request, self.target.key, timeout_s or self._patience_s, body)

    @property
    def _patience_s(self) -> float:
        """How long a request may take: what the limits say, and not long beyond the end of the run."""
        allowance = self.allowance
        return min(allowance.limits.request_s, allowance.left_s(now()) + _OVERTIME_S)

    @contextlib.asynccontextmanager
    async def watch(self, canary: Canary | None = None) -> AsyncIterator[Window]:
        """The health watch, and the canaries."""
        # Without the key: health is for everybody.
        connection, step = Connection(self.target.address, None), Step(Request("GET", self.target.health))

        async def health() -> Answer:
            self.allowance.spend(1, _HEAD_BYTES)
            answer = await connection.exchange(step, self._patience_s)
            if answer.status == 0 and answer.error != "timeout":
                # A server may close a warm connection whenever it likes; once more on a new one.
                connection.close()
                answer = await connection.exchange(step, self._patience_s)
            return answer

        try:
            async with watched(health, canary, self._patience_s) as window:
                yield window
        finally:
            connection.close()

    async def observe(self, trace: Trace, memory: bool = False, watch: bool = True) -> Observation:
        """Send `trace` and read what it cost. memory: also sample it meanwhile, where there is a channel."""
        before = await self._read() if memory or self.tree is not None else None
        peak = _Peak(before.memory_bytes if before else None)
        sampling = asyncio.create_task(self._sample(peak)) if memory and before is not None else None
        try:
            async with contextlib.AsyncExitStack() as stack:
                window = await stack.enter_async_context(self.watch()) if watch else Window()
                answers = await self.send(trace)
        finally:
            if sampling is not None:
                sampling.cancel()
                await asyncio.gather(sampling, return_exceptions=True)
        after = await self._read() if before is not None else None
        return self._put_together(trace, answers, window, before, after, peak.value)

    async def send(self, trace: Trace) -> tuple[Answer, ...]:
        """Send the steps by their times; steps of one connection follow one another."""
        started = now()
        self.allowance.spend(len(trace.steps), trace.payload_bytes + _HEAD_BYTES * len(trace.steps))
        answers: list[Answer | None] = [None] * len(trace.steps)
        chains: dict[int, list[int]] = {}
        for index, step in sorted(enumerate(trace.steps), key=lambda pair: pair[1].at_s):
            chains.setdefault(step.connection or -1 - index, []).append(index)
        await asyncio.gather(*(self._chain(trace, chain, started, answers) for chain in chains.values()))
        return tuple(answer or Answer(error="unsent") for answer in answers)

    async def _chain(self, trace: Trace, chain: list[int], started: float, answers: list[Answer | None]) -> None:
        connection = Connection(self.target.address, self.target.key)
        try:
            for index in chain:
                step = trace.steps[index]
                await asyncio.sleep(max(0.0, started + step.at_s - now()))
                answers[index] = await connection.exchange(step, self._patience_s)
        finally:
            connection.close()

    async def _read(self) -> Counters | None:
        """CPU and memory of the target now, from the process tree or from /metrics."""
        if self.tree is not None:
            usage = self.tree.read()
            return Counters(usage.cpu_s, usage.memory_bytes, None)
        if not self.target.metrics:
            return None
        answer = await self._metrics()
        return parse_metrics(answer) if answer is not None else None

    async def _metrics(self) -> str | None:
        pieces: list[bytes] = []
        answer = await self.ask(Request("GET", "/metrics"), body=pieces)
        return b"".join(pieces).decode("utf-8", "replace") if answer.ok else None

    async def _sample(self, peak: _Peak) -> None:
        while True:
            await asyncio.sleep(_SAMPLE_S)
            found = await self._read()
            if found is not None and found.memory_bytes is not None:
                peak.value = max(peak.value or 0, found.memory_bytes)

    def _put_together(
        self, trace: Trace, answers: tuple[Answer, ...], window: Window, before: Counters | None, after: Counters | None,
        peak: int | None,
    ) -> Observation:  # fmt: skip
        said = [told(answer) for step, answer in zip(trace.steps, answers, strict=True) if step.measured]
        cpu_s, exact = _cpu(said, before, after)
        memory = None
        if before and after and before.memory_bytes is not None and after.memory_bytes is not None:
            highest = max(peak or 0, before.memory_bytes, after.memory_bytes)
            memory = Memory(before.memory_bytes, highest, after.memory_bytes)
        measured = [answer.latency_s for step, answer in zip(trace.steps, answers, strict=True) if step.measured]
        return Observation(
            trace=trace,
            answers=answers,
            latency_s=max(measured, default=0.0),
            cpu_s=cpu_s,
            exact=exact,
            memory=memory,
            peak_told=max((item.memory_bytes for item in said if item.memory_bytes is not None), default=None),
            tokens=sum(item.tokens for item in said if item.tokens is not None) or None,
            window=window,
            alive=self._is_alive(after),
        )

    def _is_alive(self, counters: Counters | None) -> bool:
        if self.tree is not None:
            return self.tree.alive
        if counters is None or counters.began is None:
            return True
        first, self._began = self._began, counters.began
        return first is None or abs(first - counters.began) < 1.0


@dataclass(slots=True)
class _Peak:
    value: int | None


def _cpu(said: list[Told], before: Counters | None, after: Counters | None) -> tuple[float | None, bool]:
    told_s = [item.cpu_s for item in said if item.cpu_s is not None]
    if told_s and len(told_s) == len(said):
        return sum(told_s), True
    if before and after and before.cpu_s is not None and after.cpu_s is not None:
        return max(0.0, after.cpu_s - before.cpu_s), False
    return None, False
