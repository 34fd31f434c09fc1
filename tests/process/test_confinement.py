"""Each mechanism of the cage, proven by trying the forbidden thing from inside a real worker.

A refused call comes back with the errno; a call that no computation makes ends the process (SIGSYS).
"""

from __future__ import annotations

import asyncio
import errno
import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from tests.process.cage import ROOT, cage, status

from wickguard.records import Cost, Lane, OutcomeKind
from wickguard.units import MIB
from wickguard.workers import landlock, seccomp
from wickguard.workers.events import WorkerBorn, WorkerDied

NUMBERS = seccomp._ARCHITECTURES[platform.machine()].numbers if seccomp.supported(platform.machine()) else {}
OTHER_NUMBERS = {"openat": 257, "clone": 56, "memfd_create": 319, "kill": 62} if platform.machine() == "x86_64" else {}
PRIVATE, SHARED, ANONYMOUS, GROWSDOWN, HUGETLB = 0x02, 0x01, 0x20, 0x100, 0x40000
READ_WRITE, EXECUTE = 3, 4
needs_x86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="system call numbers of x86-64")


def errno_of(number: int, *arguments: int) -> int:
    """Make one system call in a fresh worker; the errno it answers."""

    async def scenario() -> int:
        async with cage() as c:
            outcome = await c.run("syscall", number=number, arguments=arguments)
            assert outcome.kind is OutcomeKind.COMPLETED, outcome
            assert outcome.result is not None
            return int(outcome.result)

    return asyncio.run(scenario())


def oom_score(pid: int) -> int:
    """How much the kernel prefers to kill this process when memory runs out."""
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


def test_tier_names_what_is_in_force_when_a_pool_has_started() -> None:
    """The tier says what this kernel has, Landlock included, and lists nothing that is not active."""

    async def scenario() -> None:
        async with cage() as c:
            tier = c.pool.tier
            assert tier.timers
            assert tier.data_limit
            assert tier.no_new_privs
            assert tier.capabilities_dropped
            assert tier.seccomp is seccomp.supported(platform.machine())
            assert tier.landlock_abi == landlock.kernel_abi()
            assert ("landlock" in dict(tier.missing)) is (landlock.kernel_abi() == 0)
            assert "ledger" not in tier.active()
            assert tier.cgroup is not ("cgroup" in dict(tier.missing))
            assert str(tier).startswith("timers, ")

    asyncio.run(scenario())


def test_worker_has_no_privileges_when_seen_from_outside() -> None:
    """The kernel's own view: no capability in any set, no-new-privileges, a seccomp filter, one thread, few descriptors."""

    async def scenario() -> None:
        async with cage() as c:
            for born in c.seen(WorkerBorn):
                for field in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
                    assert int(status(born.pid, field), 16) == 0, field
                assert status(born.pid, "NoNewPrivs") == "1"
                assert status(born.pid, "Seccomp") == "2"
                assert status(born.pid, "Threads") == "1"
                assert oom_score(born.pid) >= 800
                links = sorted(os.readlink(f"/proc/{born.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{born.pid}/fd"))
                assert sum(link.startswith("socket:") for link in links) == 1
                assert len(links) == 5, links  # three /dev/null, the job socket, its own statm

    asyncio.run(scenario())


def test_long_lane_yields_when_the_core_is_contended() -> None:
    """Long workers have the chosen niceness or the idle class; short ones run at normal priority."""

    async def scenario(*, idle_class: bool) -> None:
        async with cage(idle_class=idle_class, long_nice=7) as c:
            for born in c.seen(WorkerBorn):
                long = born.lane is Lane.LONG
                assert os.getpriority(os.PRIO_PROCESS, born.pid) == (7 if long else os.getpriority(os.PRIO_PROCESS, 0))
                idle = os.sched_getscheduler(born.pid) == os.SCHED_IDLE
                assert idle is (long and idle_class)

    asyncio.run(scenario(idle_class=False))
    asyncio.run(scenario(idle_class=True))


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_WRONLY | os.O_CREAT, os.O_RDONLY | os.O_DIRECTORY])
def test_open_fails_when_a_worker_tries(flags: int) -> None:
    """No file can be opened, not even to read one that everybody may read."""

    async def scenario() -> None:
        async with cage() as c:
            outcome = await c.run("open", text="/tmp", number=flags)
            assert outcome.kind is OutcomeKind.FAILED
            assert outcome.detail.startswith("PermissionError")

    asyncio.run(scenario())


def test_thread_fails_when_a_worker_starts_one() -> None:
    """clone is refused, and the worker lives on."""

    async def scenario() -> None:
        async with cage() as c:
            outcome = await c.run("thread")
            assert outcome.kind is OutcomeKind.FAILED
            assert "thread" in outcome.detail
            assert (await c.run("echo")).worker == outcome.worker

    asyncio.run(scenario())


@needs_x86
@pytest.mark.parametrize(
    "name", ["execve", "fork", "ptrace", "socket", "connect", "bpf", "io_uring_setup", "mount", "unshare"]
)
def test_worker_is_killed_when_it_makes_a_call_no_computation_makes(name: str) -> None:
    """SIGSYS: an attempt is an attack, not an error."""

    async def scenario() -> None:
        async with cage() as c:
            outcome = await c.run("syscall", number=NUMBERS[name], arguments=(0, 0, 0))
            assert (outcome.kind, outcome.retryable) == (OutcomeKind.CRASHED, False)
            assert c.seen(WorkerDied)[0].signal == signal.SIGSYS

    asyncio.run(scenario())


@needs_x86
def test_worker_is_killed_when_it_uses_the_x32_numbers() -> None:
    """The other system-call table of the same CPU is no way around the filter."""

    async def scenario() -> None:
        async with cage() as c:
            outcome = await c.run("syscall", number=0x40000000 + NUMBERS["getpid"])
            assert outcome.kind is OutcomeKind.CRASHED
            assert c.seen(WorkerDied)[0].signal == signal.SIGSYS

    asyncio.run(scenario())


@needs_x86
@pytest.mark.parametrize("name", sorted(OTHER_NUMBERS))
def test_call_fails_when_it_is_not_on_the_list(name: str) -> None:
    """Whatever the filter does not know is refused."""
    assert errno_of(OTHER_NUMBERS[name], 0, 0, 0) == errno.EPERM


@needs_x86
@pytest.mark.parametrize(
    ("protection", "flags"),
    [
        (READ_WRITE, SHARED | ANONYMOUS),
        (READ_WRITE, PRIVATE | ANONYMOUS | GROWSDOWN),
        (READ_WRITE, PRIVATE | ANONYMOUS | HUGETLB),
        (READ_WRITE | EXECUTE, PRIVATE | ANONYMOUS),
    ],
)
def test_mapping_fails_when_the_memory_limit_would_not_count_it(protection: int, flags: int) -> None:
    """Shared, stack-like and huge-page mappings escape RLIMIT_DATA, executable ones are an attack's next step."""
    assert errno_of(NUMBERS["mmap"], 0, MIB, protection, flags, -1, 0) == errno.EPERM


@needs_x86
def test_mapping_succeeds_when_it_is_private_and_small() -> None:
    """The same call with ordinary flags works, so the refusals above are the filter's."""
    assert errno_of(NUMBERS["mmap"], 0, MIB, READ_WRITE, PRIVATE | ANONYMOUS, -1, 0) == 0


@needs_x86
def test_mapping_fails_when_it_is_over_the_grant() -> None:
    """RLIMIT_DATA answers ENOMEM to raw system calls as well."""
    assert errno_of(NUMBERS["mmap"], 0, 100 * MIB, READ_WRITE, PRIVATE | ANONYMOUS, -1, 0) == errno.ENOMEM


@needs_x86
def test_mprotect_fails_when_it_would_make_code() -> None:
    """Memory that was written can't be executed."""
    assert errno_of(NUMBERS["mprotect"], 0, 4096, EXECUTE) == errno.EPERM


@needs_x86
def test_limits_of_others_are_out_of_reach_when_a_worker_asks() -> None:
    """prlimit64 works on the caller only."""
    assert errno_of(NUMBERS["prlimit64"], 1, 2, 0, 0) == errno.EPERM
    assert errno_of(NUMBERS["prlimit64"], 0, 2, 0, 0) == 0


@needs_x86
def test_worker_is_killed_when_it_signals_somebody_else() -> None:
    """tgkill reaches only the worker itself, which abort() needs."""

    async def scenario() -> None:
        async with cage() as c:
            victim = c.zygote_pid()
            outcome = await c.run("syscall", number=NUMBERS["tgkill"], arguments=(victim, victim, signal.SIGKILL))
            assert outcome.kind is OutcomeKind.CRASHED
            await c.full()
            assert c.zygote_pid() == victim

    asyncio.run(scenario())


def test_resource_limits_hold_when_a_worker_looks() -> None:
    """RLIMIT_DATA is the grant above what was there, under a hard limit that can't be raised; no processes, no core files."""

    async def scenario() -> None:
        async with cage(max_grant_bytes=256 * MIB) as c:
            soft_hard = []
            for peak_bytes in (16 * MIB, 48 * MIB):
                outcome = await c.run("limit", Cost(1.0, 5.0, peak_bytes))
                assert outcome.result is not None
                data, files, processes, core = msgspec.msgpack.decode(outcome.result)
                assert files == [16, 16]
                assert processes == [0, 0]
                assert core == [0, 0]
                soft_hard.append(data)
            (small, hard), (large, same_hard) = soft_hard
            assert abs((large - small) - 32 * MIB) < MIB
            assert hard == same_hard
            assert large < hard

    asyncio.run(scenario())


def test_worker_is_stopped_when_it_switches_off_its_cpu_timer() -> None:
    """The arbiter's poll stands behind ITIMER_PROF."""

    async def scenario() -> None:
        async with cage() as c:
            outcome = await c.run("stubborn", Cost(0.2, 20.0, MIB), seconds=30)
            assert outcome.kind is OutcomeKind.EXPIRED_CPU
            assert c.seen(WorkerDied)[0].signal == signal.SIGKILL
            assert 0.2 <= outcome.usage.cpu_s < 0.6

    asyncio.run(scenario())


def test_worker_is_stopped_when_it_switches_off_its_wall_timer() -> None:
    """The arbiter's poll stands behind ITIMER_REAL."""

    async def scenario() -> None:
        async with cage() as c:
            outcome = await c.run("patient", Cost(1.0, 0.2, MIB), seconds=30)
            assert outcome.kind is OutcomeKind.EXPIRED_WALL
            assert c.seen(WorkerDied)[0].signal == signal.SIGKILL

    asyncio.run(scenario())


def test_worker_is_stopped_when_it_lifts_its_memory_limit() -> None:
    """The arbiter's poll of resident memory stands behind RLIMIT_DATA, and the peak is reported."""

    async def scenario() -> None:
        async with cage() as c:
            outcome = await c.run("greedy", Cost(5.0, 20.0, 16 * MIB), nbytes=300 * MIB, seconds=10)
            assert outcome.kind is OutcomeKind.OUT_OF_MEMORY
            assert outcome.usage.peak_bytes > 16 * MIB

    asyncio.run(scenario())


def test_no_limit_is_left_when_the_next_call_comes() -> None:
    """A worker that idles longer than its last grant's wall time is not stopped by it."""

    async def scenario() -> None:
        async with cage() as c:
            first = await c.run("echo", Cost(0.5, 0.1, MIB))
            await asyncio.sleep(0.2)
            assert (await c.run("allocate", nbytes=32 * MIB)).worker == first.worker
            assert not c.seen(WorkerDied)

    asyncio.run(scenario())


@pytest.mark.skipif(landlock.kernel_abi() == 0, reason="this kernel has no Landlock")
def test_landlock_alone_denies_files_and_ports_when_nothing_else_is_in_force() -> None:
    """Behind seccomp stands Landlock: in a process with only that, opening a file and connecting fail with EACCES."""
    program = """
import errno, os, socket
from wickguard.workers import kernel, landlock
kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
print(landlock.deny_everything())
try:
    os.open("/etc/hostname", os.O_RDONLY)
except OSError as error:
    print(errno.errorcode[error.errno])
end = socket.socket()
try:
    end.connect(("127.0.0.1", 9))
except OSError as error:
    print(errno.errorcode[error.errno])
try:
    os.kill(os.getppid(), 0)
except OSError as error:
    print(errno.errorcode[error.errno])
"""
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    said = subprocess.run(
        [sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True
    ).stdout.split()
    abi = landlock.kernel_abi()
    assert said[:2] == [str(abi), "EACCES"]
    assert abi < 4 or said[2] == "EACCES"
    assert abi < 6 or said[3] == "EPERM"
