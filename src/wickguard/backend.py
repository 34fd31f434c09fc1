"""Backend: the narrow waist between the guard and whatever does the work.

The guard knows this protocol and nothing of processes; the worker pool implements it; so can an upstream server. It
promises: `execute` returns exactly one Outcome, only once the work has stopped (process idle or reaped), and never raises
for anything a request or a worker did. Cancelling `execute` is not a way to stop work: `abandon` is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import msgspec

from wickguard.records import Cost, Lane, Outcome


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What the guard may know of a model: its shape, for envelope and price. Counts unless named otherwise.

    token_expansion: most tokens one byte of input can become. special_tokens: added to every text.
    """

    name: str
    architecture: str
    layers: int
    hidden: int
    heads: int
    intermediate: int
    vocab: int
    max_tokens: int
    dimensions: int
    parameters: int
    weight_bytes: int
    token_expansion: float
    special_tokens: int


@dataclass(frozen=True, slots=True)
class Job:
    """One call as the backend sees it: which model, what to run, under which limits, in which lane.

    trial: it may be poison; its worker ends with it, whatever happens.
    """

    call_id: str
    model: str
    payload: bytes
    limits: Cost
    lane: Lane
    trial: bool = False


class EmbedPayload(msgspec.Struct, frozen=True, tag="embed", tag_field="task", forbid_unknown_fields=True):
    """What a worker is asked: `inputs` are all texts or all lists of token ids; `encoding` is how vectors are spelled."""

    inputs: list[str | list[int]]
    truncate: bool
    normalize: bool
    encoding: Literal["float", "base64"]


class EmbedResult(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a worker answers: `vectors` are JSON fragments ([0.1,...] or "base64"), `tokens` counts per input."""

    vectors: list[bytes]
    tokens: list[int]


class Refusal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why a worker refused its payload (Outcome.detail of REFUSED_BY_WORKER, as JSON); `reason` is a Reason value."""

    reason: str
    detail: str
    field: str | None = None
    limit: float | None = None
    seen: float | None = None


class Backend(Protocol):
    """Runs jobs. One instance serves all models of a server."""

    @property
    def models(self) -> dict[str, ModelSpec]:
        """The models that are loaded, by name."""
        ...

    async def execute(self, job: Job) -> Outcome:
        """Run `job`; return how it ended, after it has stopped."""
        ...

    def abandon(self, call_id: str) -> None:
        """Nobody waits for this call any more: stop it soon. Idempotent; unknown ids are ignored."""
        ...

    def ready(self, model: str) -> bool:
        """Whether a worker of `model` could start a call now."""
        ...
