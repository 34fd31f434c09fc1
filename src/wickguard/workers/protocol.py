"""Protocol: every message between the front, the arbiter, the zygotes and the workers.

Control messages (front <-> arbiter <-> zygote) are one SOCK_SEQPACKET packet each, at most CONTROL_BYTES. Job and
reply frames (front <-> worker) are a little-endian u32 length and that many bytes on a stream, under a bound that
each reader states. All are msgpack structs, tagged where a reader expects more than one. It promises that whatever is
not exactly what was agreed raises ProtocolError. It must not know sockets or processes.
"""

from __future__ import annotations

import struct

import msgspec

from wickguard.backend import ModelSpec
from wickguard.errors import ProtocolError
from wickguard.records import Lane, OutcomeKind
from wickguard.workers.death import Death, KillReason
from wickguard.workers.settings import WorkerSettings, ZygoteSpec
from wickguard.workers.tier import Tier

CONTROL_BYTES = 64 * 1024
_HEADER = struct.Struct("<I")
HEADER_BYTES = _HEADER.size


class Message(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Base of the control messages; the class name is the tag."""


class Configure(Message, frozen=True):
    """front -> arbiter, first of all: what to run. Workers are numbered from first_worker on."""

    models: tuple[ZygoteSpec, ...]
    settings: WorkerSettings
    first_worker: int = 1


class Arm(Message, frozen=True):
    """front -> arbiter: the worker runs call `serial`; these are the limits to poll.

    cpu_s: CPU-seconds from now; wall_at: monotonic seconds; memory_bytes: resident growth from now.
    """

    worker: int
    serial: int
    cpu_s: float
    wall_at: float
    memory_bytes: int


class Disarm(Message, frozen=True):
    """front -> arbiter: the call is over, the limits of the last Arm no longer apply."""

    worker: int


class Kill(Message, frozen=True):
    """front -> arbiter: SIGKILL this worker."""

    worker: int
    reason: KillReason


class Stop(Message, frozen=True):
    """front -> arbiter: ask call `serial` of this worker to end at its next checkpoint."""

    worker: int
    serial: int


class Hold(Message, frozen=True):
    """front -> arbiter: no new workers from now on (draining)."""


class Prepare(Message, frozen=True):
    """arbiter -> zygote, first of all: which model to load."""

    model: ZygoteSpec
    settings: WorkerSettings


class Fork(Message, frozen=True):
    """arbiter -> zygote: make one worker."""

    worker: int
    lane: Lane


class ModelLoaded(Message, frozen=True):
    """zygote -> arbiter -> front: the weights are in, workers can be forked."""

    spec: ModelSpec


class LoadFailed(Message, frozen=True):
    """zygote -> arbiter -> front: this model can't be served; nobody will try again."""

    model: str
    message: str


class WorkerForked(Message, frozen=True):
    """zygote -> arbiter with [front's end of the job socket, ledger memfd, pidfd]; -> front with the socket only."""

    worker: int
    model: str
    lane: Lane
    pid: int


class ForkFailed(Message, frozen=True):
    """zygote -> arbiter: the kernel refused a process or a descriptor (message: its words)."""

    worker: int
    message: str


class WorkerReaped(Message, frozen=True):
    """zygote -> arbiter: wait4 of a worker: raw status and CPU of its whole life."""

    worker: int
    status: int
    cpu_total_s: float


class DeathNote(Message, frozen=True):
    """arbiter -> front: a worker is gone and reaped.

    serial is the call it was armed for (0: none). cpu_total_s: CPU of its whole life, None when nobody could wait for it.
    peak_bytes: the last call's peak above its start, from the ledger page or the largest resident growth seen.
    """

    worker: int
    model: str
    death: Death
    serial: int
    signal: int
    exit_code: int
    cpu_total_s: float | None
    peak_bytes: int
    breach_bytes: int


class ZygoteDied(Message, frozen=True):
    """arbiter -> front: a zygote ended without saying that its model can't be loaded; it is started again in retry_in_s."""

    model: str
    signal: int
    exit_code: int
    retry_in_s: float


class ArbiterUp(Message, frozen=True):
    """arbiter -> front, once: whether zygotes and workers have a cgroup of their own, or why not."""

    cgroup: bool
    why_not: str


ToArbiter = Configure | Arm | Disarm | Kill | Stop | Hold
ToZygote = Prepare | Fork
FromZygote = ModelLoaded | LoadFailed | WorkerForked | ForkFailed | WorkerReaped
ToFront = ModelLoaded | LoadFailed | WorkerForked | DeathNote | ZygoteDied | ArbiterUp


class JobFrame(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """front -> worker: run this under these limits (seconds of CPU, seconds on the wall, bytes above now). last: then end."""

    serial: int
    cpu_s: float
    wall_s: float
    peak_bytes: int
    payload: bytes
    last: bool = False


class Hello(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag=True, array_like=True):
    """worker -> front, first frame: confined and idle. cpu_total_s: CPU spent on being born."""

    worker: int
    cpu_total_s: float
    tier: Tier


class Reply(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag=True, array_like=True):
    """worker -> front: how the call ended when the worker outlived it, and what it used.

    cpu_total_s: CPU of the process so far. retiring: why this worker takes no more calls ("" = it does).
    """

    serial: int
    kind: OutcomeKind
    result: bytes | None
    detail: str
    cpu_s: float
    cpu_total_s: float
    peak_bytes: int
    retiring: str


class Piece(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag=True, array_like=True):
    """worker -> front, any number of them before the reply of a call that streams: a part of its answer."""

    serial: int
    data: bytes


WorkerFrame = Hello | Piece | Reply


def encode_control(message: Message) -> bytes:
    """One packet. Raises ProtocolError over CONTROL_BYTES."""
    data = msgspec.msgpack.encode(message)
    if len(data) > CONTROL_BYTES:
        raise ProtocolError(f"{type(message).__name__} of {len(data)} bytes is over {CONTROL_BYTES}")
    return data


def encode_frame(frame: msgspec.Struct, limit_bytes: int) -> bytes:
    """A frame with its length in front. Raises ProtocolError over `limit_bytes`."""
    body = msgspec.msgpack.encode(frame)
    check_frame(len(body), limit_bytes)
    return _HEADER.pack(len(body)) + body


def frame_length(header: bytes | bytearray | memoryview, limit_bytes: int) -> int:
    """The length in a frame header. Raises ProtocolError over `limit_bytes`, before anything is allocated for it."""
    (length,) = _HEADER.unpack(header)
    check_frame(length, limit_bytes)
    return int(length)


def check_frame(length: int, limit_bytes: int) -> None:
    """Raises ProtocolError when a frame of `length` bytes is over the limit."""
    if length > limit_bytes:
        raise ProtocolError(f"frame of {length} bytes is over {limit_bytes}")
