"""Worker: runs one call at a time, inside the cage, until it retires or is stopped.

`live` takes over a freshly forked process and never returns: it confines itself, says hello, then reads a job, arms
its grant, runs it, disarms and replies. It promises that no request byte is read before the confinement is complete,
that CPU is accounted from reply to reply, and that it retires (exit 0) rather than carry anything suspicious into the
next call. It must not know who asks, or why.
"""

from __future__ import annotations

import gc
import os
import socket
import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import NoReturn

import msgspec

from wickguard.errors import ProtocolError
from wickguard.records import Cost, Lane, OutcomeKind
from wickguard.workers import kernel, seccomp
from wickguard.workers.confine import Birth, confine
from wickguard.workers.death import EXIT_CONFINEMENT, EXIT_PROTOCOL, EXIT_RETIRED
from wickguard.workers.grant import Grants, stack_bytes
from wickguard.workers.ledger import LedgerPage
from wickguard.workers.loader import DETAIL_CHARS, Loaded, Refused
from wickguard.workers.protocol import HEADER_BYTES, Hello, JobFrame, Piece, Reply, encode_frame, frame_length
from wickguard.workers.settings import WorkerSettings
from wickguard.workers.tier import Tier

_FRAME_OVERHEAD = 256


class Ending(msgspec.Struct, frozen=True):
    """How one call ended, before its use is added."""

    kind: OutcomeKind
    result: bytes | None = None
    detail: str = ""
    retiring: str = ""


@dataclass(frozen=True, slots=True)
class Nest:
    """What all workers of a zygote have in common, made before any fork so that a birth is short."""

    loaded: Loaded
    settings: WorkerSettings
    filter: bytes | None
    stack_bytes: int
    decoder: msgspec.msgpack.Decoder[JobFrame]


def make_nest(loaded: Loaded, settings: WorkerSettings) -> Nest:
    """Everything a newborn can inherit: the compiled filter, decoders and encoders that have been used once."""
    machine = kernel.machine()
    decoder = msgspec.msgpack.Decoder(JobFrame)
    decoder.decode(encode_frame(JobFrame(0, 0.0, 0.0, 0, b""), 1000)[HEADER_BYTES:])
    encode_frame(Hello(0, 0.0, Tier()), 10_000)
    compiled = seccomp.template(machine) if seccomp.supported(machine) else None
    return Nest(loaded, settings, compiled, stack_bytes(), decoder)


@dataclass(frozen=True, slots=True)
class Cradle:
    """What the zygote hands to a newborn: its number, lane, ends and the model."""

    worker: int
    lane: Lane
    parent_pid: int
    end: socket.socket
    page_fd: int
    nest: Nest


def live(cradle: Cradle) -> NoReturn:
    """Become the worker. Ends the process."""
    code = EXIT_CONFINEMENT
    try:
        page = LedgerPage(cradle.page_fd)
        nest = cradle.nest
        allocator = nest.loaded.allocator
        if allocator is not None:
            allocator.attach(page.address)
        grants = Grants(allocator, page, nest.settings.max_grant_bytes, nest.stack_bytes)
        birth = Birth(cradle.parent_pid, cradle.lane, (cradle.end.fileno(), grants.descriptor), nest.filter)
        tier = confine(birth, nest.settings, ledger=allocator is not None)
        page.mark_born()
        code = EXIT_PROTOCOL
        gc.enable()
        calls = Calls(cradle, grants)
        calls.send(Hello(cradle.worker, time.process_time(), tier))
        calls.serve()
        code = EXIT_RETIRED
    except (EOFError, ConnectionError):
        code = EXIT_RETIRED  # the front has closed the socket: nobody needs this worker
    finally:
        os._exit(code)


class Calls:
    """The loop of a confined worker."""

    def __init__(self, cradle: Cradle, grants: Grants) -> None:
        self._end = cradle.end
        self._loaded = cradle.nest.loaded
        self._settings = cradle.nest.settings
        self._grants = grants
        self._decoder = cradle.nest.decoder
        self._baseline_bytes = grants.current_bytes()
        self._baseline_resident = grants.resident_bytes()
        self._cpu_s = time.process_time()
        self._done = 0

    def serve(self) -> None:
        """Read, run, reply, until it is time to retire. Raises EOFError when the front has gone."""
        retiring = ""
        while not retiring:
            job = self._decoder.decode(self._receive())
            reply = self._run(job)
            retiring = reply.retiring
            self.send(reply)

    def send(self, frame: Hello | Piece | Reply) -> None:
        """One frame to the front."""
        self._end.sendall(encode_frame(frame, self._settings.max_result_bytes + DETAIL_CHARS * 4 + _FRAME_OVERHEAD))

    def _run(self, job: JobFrame) -> Reply:
        limits = Cost(cpu_s=job.cpu_s, wall_s=job.wall_s, peak_bytes=job.peak_bytes)
        self._grants.begin(limits, job.serial)
        ending = self._call(job, limits)
        peak_bytes = self._grants.end()
        self._done += 1
        total = time.process_time()
        used, self._cpu_s = total - self._cpu_s, total
        retiring = ending.retiring or ("trial" if job.last else self._reason_to_retire())
        return Reply(job.serial, ending.kind, ending.result, ending.detail, used, total, peak_bytes, retiring)

    def _call(self, job: JobFrame, limits: Cost) -> Ending:
        """Run and name the ending. A SystemExit passes: that worker ends, and the call has crashed."""
        try:
            result = self._loaded.run(job.payload, limits)
            if not isinstance(result, bytes):
                result = self._stream(job.serial, result)
        except Refused as refused:
            return Ending(OutcomeKind.REFUSED_BY_WORKER, detail=msgspec.json.encode(refused.spelled()).decode())
        except MemoryError as error:
            return Ending(OutcomeKind.OUT_OF_MEMORY, detail=_text(error), retiring="memory")
        except Exception as error:  # whatever a model raises is its call's failure, and no one else's
            return Ending(OutcomeKind.FAILED, detail=_text(error))
        if len(result) > self._settings.max_result_bytes:
            detail = f"result of {len(result)} bytes is over {self._settings.max_result_bytes}"
            return Ending(OutcomeKind.FAILED, detail=detail)
        return Ending(OutcomeKind.COMPLETED, result)

    def _stream(self, serial: int, pieces: Generator[bytes, None, bytes]) -> bytes:
        """Hand the pieces on as they come; the result comes last. Blocks while the front takes no more."""
        while True:
            try:
                piece = next(pieces)
            except StopIteration as end:
                result: bytes = end.value
                return result
            self.send(Piece(serial, piece))

    def _reason_to_retire(self) -> str:
        """Why no further call should run here ("" = it may)."""
        settings = self._settings
        if settings.recycle_always:
            return "policy"
        if self._loaded.tainted():
            return "panic"
        if self._done >= settings.recycle_calls:
            return "calls"
        if self._grants.current_bytes() - self._baseline_bytes > settings.recycle_retained_bytes:
            return "retained"
        if self._grants.resident_bytes() - self._baseline_resident > settings.recycle_rss_bytes:
            return "resident"
        return ""

    def _receive(self) -> bytearray:
        length = frame_length(self._exactly(HEADER_BYTES), self._settings.max_job_bytes + _FRAME_OVERHEAD)
        return self._exactly(length)

    def _exactly(self, size: int) -> bytearray:
        data = bytearray(size)
        view, have = memoryview(data), 0
        while have < size:
            got = self._end.recv_into(view[have:])
            if got == 0:
                if have:
                    raise ProtocolError("job frame cut off")
                raise EOFError
            have += got
        return data


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:DETAIL_CHARS]
