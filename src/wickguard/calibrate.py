"""Calibrate: measures what the calls of a model cost here, in the cage, and finds or makes the cost file that says so.

Decides where prices come from: a file that holds for these weights, this engine and this machine; else a sweep, whose result is
kept for the next start; else, when the operator does not want one or it fails, the analytic price at the measured speed.
Promises that a file of something else is refused, never used, and that a sweep ends when its time is over. It must not know
requests.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wickguard import clock
from wickguard.backend import Job, ModelSpec, Task
from wickguard.cost import generation_sweep, image_sweep, series_sweep, store, text_sweep
from wickguard.cost.calibration import LEAST_CALLS, CalibrationSettings, Point, Run, Sweep, conclude, plan
from wickguard.cost.quote import Priced, cost_model, priced_analytically
from wickguard.errors import ConfigError, ModelError
from wickguard.guard.warmup import warm_up
from wickguard.modality.text import TokenWeights
from wickguard.models import FILES, OPTIONAL_FILES, ModelSource
from wickguard.policy.schema import Policy
from wickguard.records import Cost, Lane, OutcomeKind
from wickguard.workers.pool import Pool
from wickguard.workers.settings import ZygoteSpec
from wickguard.workers.spawn import COMPUTE_THREADS

# Calls whose CPU time tells the machine's speed.
_WARMUP_CALLS = 5
# A machine this much faster or slower than when it was calibrated has other prices.
_SPEED_CHANGE = 1.4

Tell = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class Prices:
    """How the models of a server are priced and measured. notes: what the operator should know."""

    priced: dict[str, Priced]
    weights: dict[str, TokenWeights]
    notes: list[str]


@dataclass(frozen=True, slots=True)
class Subject:
    """A model to be priced: its shape, the speed of one core with it, and what identifies it."""

    spec: ModelSpec
    flops_per_s: float
    identity: store.Identity


async def find_prices(
    pool: Pool, sources: Sequence[ModelSource], policy: Policy, files: Sequence[Path] = (), tell: Tell = lambda *_: None
) -> Prices:
    """The prices of all models of `pool`. `files`: cost files to use instead of those in the state directory.

    `tell` is called with a model's name and how much of its sweep is done (0 to 1). Raises ConfigError for a file that does
    not hold here, ModelError when a model can't compute.
    """
    found = Prices({}, {}, [])
    given = {store.model_of(path): path for path in files}
    if unknown := set(given) - {source.name for source in sources}:
        raise ConfigError(f"no model {', '.join(sorted(unknown))} is served, but a cost file for it was given")
    for source in sources:
        subject = await _subject(pool, source)
        speed = subject.flops_per_s
        model = cost_model(subject.spec, speed)
        path = given.get(source.name) or store.default_path(
            policy.calibration.cost_dir, source.name, subject.identity, os.environ
        )
        if source.name in given or path.exists():
            content = store.load(path, subject.identity)
            found.notes.extend(_changed(content, speed, path))
        else:
            # Until it is measured, or when it can't be.
            found.priced[source.name] = priced_analytically(subject.spec, speed)
            if not policy.price.calibrate:
                continue
            try:
                content = await calibrate(pool, subject, policy, tell)
            except ModelError as error:
                found.notes.append(f"{error}; {source.name} is priced by formula meanwhile")
                continue
            found.notes.append(f"{source.name}: {summary(content)}; {_keep(path, content)}")
        calibrated = content.calibrated(model)
        found.priced[source.name] = Priced(model, calibrated.curve)
        if calibrated.learned:
            found.weights[source.name] = TokenWeights(**calibrated.learned)
    return found


async def calibrate(pool: Pool, subject: Subject, policy: Policy, tell: Tell = lambda *_: None) -> store.CostFile:
    """Sweep a model and return its cost file. Raises ModelError when a call fails or too few of them ran."""
    spec = subject.spec
    model = cost_model(spec, subject.flops_per_s)
    sweep = _sweep_of(subject, policy)
    runs = await _run(pool, spec.name, sweep, policy, tell)
    # Seconds of arithmetic in pure Python: the loop must hear its workers meanwhile.
    calibrated = await asyncio.to_thread(conclude, model, sweep, runs)
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(clock.utc()))
    return store.file_of(spec.name, subject.identity, at, subject.flops_per_s, (model, calibrated))


async def calibrate_alone(
    source: ModelSource, policy: Policy, out: Path | None, tell: Tell
) -> tuple[Path, store.CostFile]:
    """Start the workers of one model, calibrate it, and write its file to `out` or to the usual place.

    Raises ConfigError, ModelError or WorkerError.
    """
    pool = Pool([ZygoteSpec(name=source.name, path=str(source.path))], policy.workers)
    await pool.start()
    try:
        subject = await _subject(pool, source)
        content = await calibrate(pool, subject, policy, tell)
    finally:
        await pool.close()
    path = out or store.default_path(policy.calibration.cost_dir, source.name, subject.identity, os.environ)
    store.save(path, content)
    return path, content


def summary(content: store.CostFile) -> str:
    """One line on how good a calibration is."""
    quality = content.quality
    return (
        f"{quality.calls} calls measured, median error {quality.error:.1%}, {quality.covered:.1%} within their reservation, "
        f"one call repeated varied by {quality.noise:.1%}"
    )


async def measure_speed(pool: Pool, spec: ModelSpec) -> float:
    """Floating-point operations per second of one core, from a few calls of known size in the cage. Raises ModelError."""
    payload, flops = warm_up(spec)
    limits = Cost(cpu_s=60.0, wall_s=120.0, peak_bytes=pool.settings.max_grant_bytes)
    seconds: list[float] = []
    for number in range(_WARMUP_CALLS):
        outcome = await pool.execute(Job(f"warm-up-{number}", spec.name, payload, limits, Lane.SHORT))
        if outcome.kind is not OutcomeKind.COMPLETED:
            raise ModelError(f"{spec.name} can't compute: its first call ended as {outcome.kind} ({outcome.detail})")
        seconds.append(outcome.usage.cpu_s)
    return flops / max(1e-6, statistics.median(seconds))


def identify(source: ModelSource) -> store.Identity:
    """What a calibration of this model holds for, here."""
    digest = hashlib.sha256()
    for name in (*FILES, *OPTIONAL_FILES):
        path = source.path / name
        if path.is_file():
            with path.open("rb") as file:
                digest.update(name.encode() + hashlib.file_digest(file, "sha256").digest())
    return store.Identity(f"sha256:{digest.hexdigest()}", engine_build(), COMPUTE_THREADS, cpu_model())


def engine_build() -> str:
    """Version and digest of the compiled engine, which only workers may import."""
    spec = importlib.util.find_spec("wickguard_engine")
    if spec is None or spec.origin is None:
        return "none"
    digest = hashlib.sha256()
    for path in sorted(Path(spec.origin).parent.glob("*.so")):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return f"{importlib.metadata.version('wickguard-engine')}+{digest.hexdigest()[:16]}"


def cpu_model() -> str:
    """The processor's name and architecture."""
    name = platform.processor()
    path = Path("/proc/cpuinfo")
    if path.exists():
        wanted = ("model name", "cpu family", "model", "stepping")
        seen: dict[str, str] = {}
        for line in path.read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() in wanted:
                seen.setdefault(key.strip(), value.strip())
        name = " ".join([seen.get("model name", name), *(f"{key} {seen[key]}" for key in wanted[1:] if key in seen)])
    return f"{name} ({platform.machine()})"


async def _subject(pool: Pool, source: ModelSource) -> Subject:
    spec = pool.models[source.name]
    return Subject(spec, await measure_speed(pool, spec), await asyncio.to_thread(identify, source))


def _sweep_of(subject: Subject, policy: Policy) -> Sweep[Any]:
    spec, speed, settings = subject.spec, subject.flops_per_s, policy.calibration
    match spec.task:
        case Task.GENERATE:
            return generation_sweep.sweep_of(spec, policy.generation, speed, settings)
        case Task.CLASSIFY:
            return image_sweep.sweep_of(spec, policy.image, policy.edge.picture_bytes, policy.edge.max_body_bytes)
        case Task.FORECAST:
            return series_sweep.sweep_of(spec, policy.series, speed, settings)
        case _:
            return text_sweep.sweep_of(spec, policy.text, speed, settings)


async def _run(pool: Pool, name: str, sweep: Sweep[Any], policy: Policy, tell: Tell) -> list[Run[Any]]:
    settings = policy.calibration
    limits = Cost(policy.price.max_cpu_s, 4 * policy.price.max_cpu_s, policy.price.max_bytes)
    points, runs = plan(sweep, settings), list[Run[Any]]()
    begin = clock.now()

    async def keep_busy(slot: int) -> None:
        number = 0
        while _goes_on(spent := clock.now() - begin, len(runs), settings):
            point: Point[Any] = next(points)
            number += 1
            job = Job(f"calibration-{slot}-{number}", name, point.payload, limits, Lane.SHORT)
            outcome = await pool.execute(job)
            if outcome.retryable:
                continue
            if outcome.kind is not OutcomeKind.COMPLETED or outcome.result is None:
                raise ModelError(f"{name} could not be calibrated: a call ended as {outcome.kind} ({outcome.detail})")
            runs.append(Run(point, outcome.usage, outcome.result))
            tell(name, min(1.0, spent / settings.seconds))

    # As busy as the server will be: calls on all cores share caches and memory.
    tasks = [asyncio.create_task(keep_busy(slot)) for slot in range(pool.settings.calls(Lane.SHORT))]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    tell(name, 1.0)
    return runs


def _goes_on(spent_s: float, calls: int, settings: CalibrationSettings) -> bool:
    """Whether a sweep should: on a machine so busy that hardly any call has run, for twice its time."""
    return spent_s < settings.seconds * (1 if calls >= LEAST_CALLS else 2)


def _keep(path: Path, content: store.CostFile) -> str:
    """Save a calibration for the next start; who can't write serves all the same, and measures again next time."""
    try:
        store.save(path, content)
    except ConfigError as error:
        return f"not kept for the next start ({error}); set [calibration] cost_dir to a directory that can be written"
    return f"kept in {path}"


def _changed(content: store.CostFile, speed: float, path: Path) -> list[str]:
    change = max(speed / content.flops_per_s, content.flops_per_s / speed)
    if change < _SPEED_CHANGE:
        return []
    return [
        f"{content.model}: this machine computes {speed / content.flops_per_s:.2f} times as fast as when it was measured on "
        f"{content.measured_at}; if that lasts, delete {path} or run `wickguard calibrate`"
    ]
