"""Traces: what a case sends, as timed steps on numbered connections. A case is a trace, not a request.

Decides the vocabulary of misbehaviour: slow bodies, chunked pieces, heads sent as raw bytes, answers that nobody reads,
connections dropped in the middle. Promises that a trace is a value: the same seed and size make the same bytes. It must
not know sockets or targets.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

# In raw bytes, where the target's own Host line goes when they are sent, and its key.
RAW_HOST = b"Host: target.invalid\r\n"


class Reading(StrEnum):
    """What a client does with the answer: read it, never read it, or hang up as soon as its request is out."""

    ALL = "all"
    NOTHING = "nothing"
    HANG_UP = "hang_up"


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP/1.1 request. Host, Content-Length, the API key and the probe's own marker are added when it is sent,
    unless `headers` has them. `raw` replaces everything: exactly these bytes are written, RAW_HOST apart.
    """  # fmt: skip

    method: str = "POST"
    path: str = "/"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    raw: bytes | None = None

    @property
    def size_bytes(self) -> int:
        """Bytes of the body, or of the raw bytes."""
        return len(self.body if self.raw is None else self.raw)


@dataclass(frozen=True, slots=True)
class Pace:
    """How a body goes out: in pieces of `piece_bytes` with `gap_s` between them; `chunked` as transfer coding."""

    piece_bytes: int = 0
    gap_s: float = 0.0
    chunked: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """One request at `at_s` seconds after the trace began.

    connection: steps of one number share a connection and go out in order; 0 means a connection of its own.
    group: steps of one group are the same request in other clothes and must get the same verdict (EQUIVALENCE).
    label: how the step is called in evidence ("gzip", "/embed", "after the spray"). hold_s: how long an unread or
    unfinished connection is kept before it is given up, and how long after its last byte a client hangs up. measured:
    whether its latency counts as the trace's cost. complete: False when the request is left unfinished on purpose.
    """

    request: Request
    at_s: float = 0.0
    connection: int = 0
    pace: Pace = Pace()
    reading: Reading = Reading.ALL
    hold_s: float = 0.0
    group: str = ""
    label: str = ""
    measured: bool = True
    complete: bool = True


@dataclass(frozen=True, slots=True)
class Trace:
    """Steps in any order; they are sent by their times. payload_bytes: what the client pays for them."""

    steps: tuple[Step, ...]
    note: str = ""
    payload_bytes: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "payload_bytes", sum(step.request.size_bytes for step in self.steps))


def single(request: Request) -> Trace:
    """The trace that sends `request` once."""
    return Trace((Step(request),))
