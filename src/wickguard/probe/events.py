"""Events of a probe run: facts about the past, one frozen record each, in the order in which they happened.

Decides what a run is made of for everyone who listens: console, JSON lines, reports, policy file. Promises that the events
alone are enough to write every report (a run is its events), and that each is one JSON object with its kind in `event`.
It must not know who listens.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from wickguard.probe.finding import Finding, Oracle, Severity, Taxonomy
from wickguard.probe.fit import Fit


class Arm(StrEnum):
    """What a sample was taken of: the attack, its benign twin, the concurrent canary, or the health endpoint."""

    ATTACK = "attack"
    TWIN = "twin"
    CANARY = "canary"
    HEALTH = "health"


class Verdict(StrEnum):
    """How a case ended. `unclear`: measured, but too noisily to say; `skipped`: not run, the reason says why."""

    SOUND = "sound"
    FINDING = "finding"
    UNCLEAR = "unclear"
    SKIPPED = "skipped"


class EndReason(StrEnum):
    """Why the run is over. `failed`: the probe itself has a defect; the detail says where."""

    COMPLETED = "completed"
    DRY_RUN = "dry_run"
    OUT_OF_REQUESTS = "out_of_requests"
    OUT_OF_BYTES = "out_of_bytes"
    OUT_OF_TIME = "out_of_time"
    CANARY_SUFFERED = "canary_suffered"
    TARGET_DOWN = "target_down"
    INTERRUPTED = "interrupted"
    FAILED = "failed"

    @property
    def unfinished(self) -> bool:
        """Whether something cut the run off; a budget that is used up is an end like any other."""
        return self in (EndReason.CANARY_SUFFERED, EndReason.TARGET_DOWN, EndReason.INTERRUPTED, EndReason.FAILED)


class _Event(msgspec.Struct, frozen=True, tag_field="event", omit_defaults=True):
    """Every event has `at_s`: seconds since the run began."""

    at_s: float


class Started(_Event, frozen=True, tag="started"):
    """The run began. limits: what the target says of itself (max_inputs, max_bytes, max_tokens), where it does.

    channels: which costs can be read besides latency. began: UTC, ISO 8601.
    """

    target: str
    dialect: str
    path: str
    model: str
    profile: str
    seed: int
    version: str
    began: str
    host: str = ""
    aliases: tuple[str, ...] = ()
    limits: dict[str, int] = {}
    channels: tuple[str, ...] = ()


class Planned(_Event, frozen=True, tag="planned"):
    """A case that will run, or will not (`skip` says why). requests, bytes: the most that it will send."""

    case: str
    title: str
    risk: str
    requests: int
    bytes: int
    feature: str = ""
    sizes: tuple[int, ...] = ()
    oracles: tuple[Oracle, ...] = ()
    taxonomy: Taxonomy = Taxonomy()
    skip: str = ""


class Sampled(_Event, frozen=True, tag="sampled"):
    """One measured trace or canary request.

    status: 0 when the connection failed. latency_s: first byte sent to last byte received, or to the failure.
    cpu_s, memory_bytes: where the target tells. request_bytes, response_bytes: on the wire, bodies only.
    """

    case: str
    arm: Arm
    size: int
    status: int
    latency_s: float
    request_bytes: int = 0
    response_bytes: int = 0
    cpu_s: float | None = None
    memory_bytes: int | None = None
    tokens: int | None = None
    label: str = ""


class Point(msgspec.Struct, frozen=True):
    """One size of a curve: the robust value of its repeats, and the spread (lowest and highest repeat)."""

    size: float
    value: float
    low: float
    high: float


class CurveFitted(_Event, frozen=True, tag="curve_fitted"):
    """What a feature costs. channel: latency_s, cpu_s or memory_bytes. points: what the fit was made from, by size.

    twin: the same for the benign twin, when there is one. fixed: features that were held, in words ("inputs=1").
    """

    case: str
    feature: str
    channel: str
    fit: Fit
    points: tuple[Point, ...]
    twin: tuple[Point, ...] = ()
    fixed: str = ""


class LimitDerived(_Event, frozen=True, tag="limit_derived"):
    """A limit that follows from the curve: the largest size inside deadline, memory and 0.8 of the first cliff."""

    feature: str
    limit: int
    reason: str


class CaseFinished(_Event, frozen=True, tag="case_finished"):
    """A case is over. reason: one sentence, for `unclear` and `skipped`, and why it stopped early. sizes: those reached."""

    case: str
    verdict: Verdict
    reason: str = ""
    requests: int = 0
    bytes: int = 0
    seconds: float = 0.0
    sizes: tuple[int, ...] = ()


class Found(_Event, frozen=True, tag="found"):
    """A finding, confirmed."""

    finding: Finding


class Ended(_Event, frozen=True, tag="ended"):
    """The run is over. worst: the highest severity found, None when there is no finding."""

    reason: EndReason
    requests: int
    bytes: int
    seconds: float
    worst: Severity | None = None
    detail: str = ""


Event = Started | Planned | Sampled | CurveFitted | LimitDerived | CaseFinished | Found | Ended
