"""A loader whose model does whatever the payload says: the worst tenant imaginable, inside a real worker.

The payload is msgpack: {"do": name, ...arguments}. Every action runs in the real process tree, under the real confinement and
grant. It has no allocator of its own unless the payload's action writes the ledger page by hand.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import re
import resource
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping

import msgspec

from wickguard.records import Cost, OutcomeKind
from wickguard.workers.loader import Refused
from wickguard.workers.protocol import Reply, encode_frame

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long

SPEC: Mapping[str, object] = {
    "architecture": "misbehave",
    "layers": 1,
    "hidden": 1,
    "heads": 1,
    "intermediate": 1,
    "vocab": 1,
    "max_tokens": 1,
    "dimensions": 1,
    "parameters": 1,
    "weight_bytes": 1,
    "token_expansion": 1.0,
    "special_tokens": 0,
}


class Job(msgspec.Struct):
    """What to do."""

    do: str
    seconds: float = 0.0
    nbytes: int = 0
    number: int = 0
    text: str = ""
    arguments: tuple[int, ...] = ()
    jobs: tuple[bytes, ...] = ()


class Misbehaving:
    """One loaded 'model'."""

    spec = SPEC
    allocator = None

    def __init__(self) -> None:
        self.kept: list[bytearray] = []
        self.is_tainted = False

    def tainted(self) -> bool:
        """Whether a job asked for a 'panic'."""
        return self.is_tainted

    def run(self, payload: bytes, limits: Cost) -> bytes | Generator[bytes, None, bytes]:
        """Do it."""
        job = msgspec.msgpack.decode(payload, type=Job)
        action: Callable[[Job], bytes | Generator[bytes, None, bytes]] = getattr(self, f"do_{job.do}")
        return action(job)

    def do_each(self, job: Job) -> bytes:
        """Several jobs, one after the other: a batch."""
        return msgspec.msgpack.encode([self.run(one, Cost(0.0, 0.0, 0)) for one in job.jobs])

    def do_echo(self, job: Job) -> bytes:
        """Answer at once."""
        return job.text.encode()

    def do_stream(self, job: Job) -> Generator[bytes, None, bytes]:
        """Answer in `number` pieces of the text; fail at the end if `nbytes` is set."""
        for index in range(job.number):
            yield f"{job.text}{index}".encode()
        time.sleep(job.seconds)
        if job.nbytes:
            raise ValueError("after the last piece")
        return b"all"

    def do_large(self, job: Job) -> bytes:
        """Answer with many bytes."""
        return bytes(job.nbytes)

    def do_spin(self, job: Job) -> bytes:
        """Use CPU."""
        end = time.process_time() + job.seconds
        while time.process_time() < end:
            pass
        return b"spun"

    def do_stubborn(self, job: Job) -> bytes:
        """Use CPU after switching off the kernel's timers, as a taken-over process would."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        return self.do_spin(job)

    def do_patient(self, job: Job) -> bytes:
        """Sleep after switching off the kernel's timers."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        time.sleep(job.seconds)
        return b"slept"

    def do_sleep(self, job: Job) -> bytes:
        """Use wall time only."""
        time.sleep(job.seconds)
        return b"slept"

    def do_allocate(self, job: Job) -> bytes:
        """Take memory and touch it."""
        data = bytearray(job.nbytes)
        data[:: mmap.PAGESIZE] = b"x" * len(range(0, job.nbytes, mmap.PAGESIZE))
        return str(len(data)).encode()

    def do_leak(self, job: Job) -> bytes:
        """Take memory and keep it."""
        self.kept.append(bytearray(b"x") * job.nbytes)
        return b"leaked"

    def do_greedy(self, job: Job) -> bytes:
        """Lift the soft limit first, then take memory and hold on to it."""
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))
        self.kept.append(bytearray(b"x") * job.nbytes)
        time.sleep(job.seconds)
        return b"greedy"

    def do_raise(self, job: Job) -> bytes:
        """Fail."""
        raise ValueError(job.text)

    def do_refuse(self, job: Job) -> bytes:
        """Refuse."""
        raise Refused("too_many_tokens", job.text, field="input", limit=512, seen=job.number)

    def do_exit(self, job: Job) -> bytes:
        """End the process."""
        os._exit(job.number)

    def do_abort(self, job: Job) -> bytes:
        """SIGABRT, as a failed Rust allocation does."""
        os.abort()

    def do_segfault(self, job: Job) -> bytes:
        """Read address zero."""
        return ctypes.string_at(0)

    def do_taint(self, job: Job) -> bytes:
        """Answer, but ask to be replaced."""
        self.is_tainted = True
        return b"tainted"

    def do_garbage(self, job: Job) -> bytes:
        """Write bytes that are no frame to every socket this process has."""
        for fd in range(3, 64):
            with contextlib.suppress(OSError):
                os.write(fd, job.number.to_bytes(4, "little") + job.text.encode())
        time.sleep(job.seconds)
        return b"garbage"

    def do_lie(self, job: Job) -> bytes:
        """Use CPU, then answer by hand that there was none, and a peak of nbytes; never return."""
        self.do_spin(job)
        serial = 1  # the first call of a pool
        frame = encode_frame(Reply(serial, OutcomeKind.COMPLETED, b"lied", "", 0.0, 0.0, job.nbytes, ""), 1 << 20)
        for fd in range(3, 64):
            with contextlib.suppress(OSError):
                os.write(fd, frame)
        time.sleep(30)
        return b""

    def do_syscall(self, job: Job) -> bytes:
        """Make one system call by number; the answer is the errno, "0" when it succeeded."""
        ctypes.set_errno(0)
        result = _libc.syscall(ctypes.c_long(job.number), *(ctypes.c_long(word) for word in job.arguments))
        return b"0" if result >= 0 else str(ctypes.get_errno()).encode()

    def do_open(self, job: Job) -> bytes:
        """Open a file; number is the flags."""
        os.close(os.open(job.text, job.number))
        return b"opened"

    def do_thread(self, job: Job) -> bytes:
        """Start a thread."""
        thread = threading.Thread(target=lambda: None)
        thread.start()
        thread.join()
        return b"started"

    def do_limit(self, job: Job) -> bytes:
        """The limits in force outside a grant's clocks: soft and hard RLIMIT_DATA, files, processes."""
        limits = (resource.RLIMIT_DATA, resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC, resource.RLIMIT_CORE)
        return msgspec.msgpack.encode([resource.getrlimit(limit) for limit in limits])

    def do_hang_up(self, job: Job) -> bytes:
        """Close the job socket, but go on."""
        os.closerange(3, 64)
        time.sleep(job.seconds)
        return b"gone"


def load_slowly(path: str, memory_limit_bytes: int | None) -> Misbehaving:
    """A loader that takes a while."""
    time.sleep(0.3)
    return Misbehaving()


def load_nothing(path: str, memory_limit_bytes: int | None) -> Misbehaving:
    """A loader that says why it can't."""
    raise ValueError("header of model.safetensors is 12 bytes short")


def load_and_crash(path: str, memory_limit_bytes: int | None) -> Misbehaving:
    """A loader that takes its process down."""
    os.abort()


def load_with_thread(path: str, memory_limit_bytes: int | None) -> Misbehaving:
    """A loader that breaks the rule: it leaves a thread behind."""
    threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()
    return Misbehaving()


class Stillborn(Misbehaving):
    """A model whose workers die before hello: attaching the allocator ends the process."""

    @property
    def allocator(self) -> None:  # type: ignore[override]
        """Asked for first in the newborn worker."""
        os._exit(9)


def load_stillborn(path: str, memory_limit_bytes: int | None) -> Stillborn:
    """A loader whose model can't be attached."""
    return Stillborn()


class HandLedger:
    """An allocator that counts only what it is told, in the real page."""

    def __init__(self) -> None:
        self.words: ctypes.Array[ctypes.c_uint64] | None = None

    def attach(self, address: int) -> None:
        """Map the page's first words."""
        self.words = (ctypes.c_uint64 * 4).from_address(address)

    def put(self, index: int, value: int) -> None:
        """Write one word."""
        assert self.words is not None
        self.words[index] = value

    def current(self) -> int:
        """As the page says."""
        return int(self.words[0]) if self.words is not None else 0

    def reset_peak(self) -> None:
        """As an engine does."""
        self.put(1, self.current())

    def set_limit(self, nbytes: int | None) -> None:
        """As an engine does; 0 is no limit."""
        self.put(2, nbytes or 0)


class WithLedger(Misbehaving):
    """A model with a hand-kept ledger."""

    allocator = HandLedger()  # type: ignore[assignment]

    def do_breach(self, job: Job) -> bytes:
        """Say that 5 MiB were in use at most and that nbytes were refused, and abort as an allocator does."""
        self.allocator.put(1, self.allocator.current() + 5 * 1024 * 1024)
        self.allocator.put(3, job.nbytes)
        os.abort()

    def do_retain(self, job: Job) -> bytes:
        """Let the ledger grow for good."""
        self.allocator.put(0, self.allocator.current() + job.nbytes)
        return b"retained"


def load_with_ledger(path: str, memory_limit_bytes: int | None) -> WithLedger:
    """A loader with an allocator."""
    return WithLedger()


class Faulty(Misbehaving):
    """The engine's test build, with its planted faults, in place of a model."""

    def __init__(self) -> None:
        super().__init__()
        import wickguard_engine  # noqa: PLC0415 (only this loader may touch the engine, and only its test build)

        from wickguard.workers.prepare import EngineAllocator  # noqa: PLC0415

        if not wickguard_engine.build_info()["faults"]:
            raise RuntimeError("this is not the engine's test build")
        self._engine = wickguard_engine
        self.allocator = EngineAllocator()  # type: ignore[assignment]

    def tainted(self) -> bool:
        """As the real loader."""
        return bool(self._engine.panicked())

    def do_engine_leak(self, job: Job) -> bytes:
        """Keep nbytes for ever."""
        self._engine.faults.leak(job.nbytes)  # type: ignore[attr-defined]
        return b"leaked"

    def do_engine_panic(self, job: Job) -> bytes:
        """A Rust panic inside a call."""
        self._engine.faults.panic()  # type: ignore[attr-defined]
        return b"no panic"

    def do_engine_allocate(self, job: Job) -> bytes:
        """Allocate nbytes in Rust."""
        self._engine.faults.allocate(job.nbytes)  # type: ignore[attr-defined]
        return b"allocated"

    def do_engine_spin(self, job: Job) -> bytes:
        """Spin without the GIL."""
        self._engine.faults.spin(job.seconds)  # type: ignore[attr-defined]
        return b"spun"

    def do_engine_abort(self, job: Job) -> bytes:
        """std::process::abort."""
        self._engine.faults.abort()  # type: ignore[attr-defined]
        return b"no abort"

    def do_engine_segfault(self, job: Job) -> bytes:
        """Read a null pointer in Rust."""
        self._engine.faults.segfault()  # type: ignore[attr-defined]
        return b"no fault"


def load_faults(path: str, memory_limit_bytes: int | None) -> Faulty:
    """A loader of the engine's test build."""
    return Faulty()


def load_writer(path: str, memory_limit_bytes: int | None) -> object:
    """The real loader over the engine's test build; a job with a call whose prompt begins with "fault " and a name meets that
    fault after its tenth piece, or at its end.
    """
    from wickguard.workers import prepare  # noqa: PLC0415 (only such loaders may touch the engine)

    class Writer(prepare.EngineModel):
        def run(self, payload: bytes, limits: Cost) -> bytes | Generator[bytes, None, bytes]:
            found = re.search(rb"fault (\w+)", payload)
            if found is None:
                return super().run(payload, limits)
            fault = getattr(Faulty(), f"do_engine_{found[1].decode()}")
            ran = super().run(payload, limits)
            return self._strike(iter(()) if isinstance(ran, bytes) else ran, fault)

        @staticmethod
        def _strike(pieces: Iterator[bytes], fault: Callable[[Job], bytes]) -> Generator[bytes, None, bytes]:
            for count, piece in enumerate(pieces):
                yield piece
                if count == 9:
                    break
            return fault(Job("", seconds=90, nbytes=1 << 30))

    return Writer(prepare.load(path, memory_limit_bytes)._model)


def load(path: str, memory_limit_bytes: int | None) -> Misbehaving:
    """The loader."""
    return Misbehaving()
