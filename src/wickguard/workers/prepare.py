"""Prepare: the loader for wickguard's own engine.

Decides by a model's task which module of workers/tasks runs its jobs. It promises that whatever the engine says about an input
becomes Refused, and about memory MemoryError. It must not know HTTP, dialects, limits, or what a job looks like.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import wickguard_engine as engine

from wickguard.errors import ModelError
from wickguard.records import Cost
from wickguard.units import format_bytes
from wickguard.workers.loader import Refused
from wickguard.workers.tasks import classify, embed, forecast

# "input 0 has 602 tokens with the special ones; the limit is 512", "... has more than 512 tokens ..." (counting stops there)
_INDEX = re.compile(r"(input|series) (\d+)[ :]")
_TOO_MANY = re.compile(r"\btokens with the special ones; the limit is (\d+)")

# Per task: what a model's spec says beyond the common numbers, and how a job is run.
_TASKS: dict[str, tuple[Callable[[Any], dict[str, object]], Callable[[Any, bytes], bytes]]] = {
    "embed": (embed.describe, embed.run),
    "classify": (classify.describe, classify.run),
    "forecast": (forecast.describe, forecast.run),
}


class EngineAllocator:
    """The engine's allocator as the cage wants it (loader.Allocator)."""

    def attach(self, address: int) -> None:
        """See loader.Allocator."""
        engine.attach_ledger(address)

    def current(self) -> int:
        """See loader.Allocator."""
        return engine.ledger().current

    def reset_peak(self) -> None:
        """See loader.Allocator."""
        engine.reset_peak()

    def set_limit(self, nbytes: int | None) -> None:
        """See loader.Allocator."""
        engine.set_limit(nbytes)


class EngineModel:
    """A model of the engine (loader.Loaded)."""

    def __init__(self, model: Any) -> None:
        describe, self._run = _TASKS[model.spec.task]
        self._model = model
        self.allocator = EngineAllocator()
        numbers = {name: getattr(model.spec, name) or 0 for name in _NUMBERS}
        self.spec: Mapping[str, object] = {
            "task": model.spec.task, "architecture": model.spec.architecture, **numbers, **describe(model)
        }  # fmt: skip

    def tainted(self) -> bool:
        """Whether the engine has caught a panic in this process."""
        return engine.panicked()

    def run(self, payload: bytes, limits: Cost) -> bytes:
        """One job. Raises Refused for an input the model can't take, MemoryError, or engine.EngineError."""
        try:
            return self._run(self._model, payload)
        except engine.BadShape as error:
            raise _refused(str(error)) from error
        except engine.OutOfMemory as error:
            raise MemoryError(str(error)) from error


def _refused(message: str) -> Refused:
    """The engine's words about an input; too many tokens is a reason of its own, with the limit.

    How many there are in all nobody knows: the engine stops counting at the limit.
    """
    index = _INDEX.match(message)
    field = f"{index[1]}[{index[2]}]" if index else "input"
    limit = _TOO_MANY.search(message)
    if limit is None:
        return Refused("out_of_envelope", message, field=field)
    return Refused("too_many_tokens", message, field=field, limit=int(limit[1]))


_NUMBERS = (
    "layers",
    "hidden",
    "heads",
    "intermediate",
    "vocab",
    "max_tokens",
    "dimensions",
    "parameters",
    "weight_bytes",
    "token_expansion",
    "special_tokens",
)


def load(path: str, memory_limit_bytes: int | None) -> EngineModel:
    """The loader. Raises ModelError with the engine's message."""
    try:
        model = engine.load(path, memory_limit=memory_limit_bytes)
    except engine.OutOfMemory as error:
        limit = format_bytes(memory_limit_bytes or 0)
        raise ModelError(f"needs more memory than the {limit} it may use: {error}") from error
    except engine.EngineError as error:
        raise ModelError(str(error)) from error
    if model.spec.task not in _TASKS:
        raise ModelError(f"its task is {model.spec.task}; this server does {', '.join(_TASKS)}")
    return EngineModel(model)
