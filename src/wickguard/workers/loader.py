"""Loader: the seam between the cage and whatever computes inside it.

A loader is named `module:function`, is called once in the zygote with a directory and a memory limit, and returns
something `Loaded`. It must start no thread and run no forward pass; its `run` is called only in workers, under a
grant. This module must not know any engine or any kind of payload.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Generator, Mapping
from typing import Protocol, cast

from wickguard.backend import Refusal
from wickguard.errors import ModelError
from wickguard.records import Cost

# Of what a worker says about a call in words.
DETAIL_CHARS = 2000


class Refused(Exception):  # noqa: N818 (it is an answer, not an error)
    """The input is not acceptable, for a reason only the worker could see. Fields as in backend.Refusal."""

    def __init__(
        self, reason: str, detail: str, *, field: str | None = None, limit: int | None = None, seen: int | None = None
    ) -> None:
        super().__init__(detail)
        self.reason, self.detail, self.field, self.limit, self.seen = reason, detail, field, limit, seen

    def spelled(self) -> Refusal:
        """As the guard reads it."""
        return Refusal(self.reason, self.detail[:DETAIL_CHARS], self.field, self.limit, self.seen)


class Allocator(Protocol):
    """What an engine's allocator offers to the cage. All numbers are bytes."""

    def attach(self, address: int) -> None:
        """Keep the counters in the shared page at `address` from now on."""
        ...

    def current(self) -> int:
        """Allocated now."""
        ...

    def reset_peak(self) -> None:
        """Forget the highest mark."""
        ...

    def set_limit(self, nbytes: int | None) -> None:
        """Die by SIGABRT rather than hold more than this in all (None: no limit)."""
        ...


class Loaded(Protocol):
    """A loaded model. allocator is None when nothing counts allocations; then the kernel's numbers stand in."""

    @property
    def spec(self) -> Mapping[str, object]:
        """The fields of backend.ModelSpec except `name`."""
        ...

    @property
    def allocator(self) -> Allocator | None:
        """The engine's allocator."""
        ...

    def run(self, payload: bytes, limits: Cost) -> bytes | Generator[bytes, None, bytes]:
        """One call: its result, or a generator of pieces for the caller that returns the result at its end.

        May raise Refused, MemoryError, or anything else (the call then failed), and so may the generator.
        """
        ...

    def tainted(self) -> bool:
        """Whether this process should run nothing more, e.g. after a panic."""
        ...


Load = Callable[[str, int | None], Loaded]


def resolve(name: str) -> Load:
    """The loader called `name` ("module:function"). Raises ModelError when there is none."""
    module, _, attribute = name.partition(":")
    try:
        return cast(Load, getattr(importlib.import_module(module), attribute))
    except (ImportError, AttributeError) as error:
        raise ModelError(f"loader {name}: {error}") from error
