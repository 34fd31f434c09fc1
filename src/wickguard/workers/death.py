"""Death: why a worker process ended, and what that means for the call it was running.

Two decisions, each one table: exit status + breach + who killed it -> Death, and Death -> outcome. It promises to be
total: every Death has a row, every wait status becomes a Death. It must not know processes, sockets or the pool.
"""

from __future__ import annotations

import os
import signal
from enum import StrEnum

import msgspec

from wickguard.records import OutcomeKind

EXIT_RETIRED = 0
EXIT_LOAD_FAILED = 3
EXIT_THREADS = 4
EXIT_CONFINEMENT = 5
EXIT_PROTOCOL = 6


class KillReason(StrEnum):
    """Why the arbiter sent SIGKILL."""

    CPU = "cpu"
    WALL = "wall"
    MEMORY = "memory"
    ABANDONED = "abandoned"
    DRAIN = "drain"
    PROTOCOL = "protocol"
    BIRTH = "birth"


class Death(StrEnum):
    """How a worker ended. Closed: OUTCOMES has a row for each."""

    RETIRED = "retired"
    CPU_TIMER = "cpu_timer"
    CPU_POLL = "cpu_poll"
    WALL_TIMER = "wall_timer"
    WALL_POLL = "wall_poll"
    LEDGER_BREACH = "ledger_breach"
    MEMORY_POLL = "memory_poll"
    ABANDONED = "abandoned"
    DRAINED = "drained"
    PROTOCOL = "protocol"
    NOT_BORN = "not_born"
    FORBIDDEN_CALL = "forbidden_call"
    FAULT = "fault"
    ABORT = "abort"
    KILLED = "killed"
    SIGNAL = "signal"
    EXITED = "exited"
    ZYGOTE_LOST = "zygote_lost"
    ARBITER_LOST = "arbiter_lost"


class Verdict(msgspec.Struct, frozen=True):
    """What a death means for the call: the outcome, and whether sending it again can help."""

    kind: OutcomeKind
    retryable: bool = False


OUTCOMES: dict[Death, Verdict] = {
    Death.RETIRED: Verdict(OutcomeKind.CRASHED),
    Death.CPU_TIMER: Verdict(OutcomeKind.EXPIRED_CPU),
    Death.CPU_POLL: Verdict(OutcomeKind.EXPIRED_CPU),
    Death.WALL_TIMER: Verdict(OutcomeKind.EXPIRED_WALL),
    Death.WALL_POLL: Verdict(OutcomeKind.EXPIRED_WALL),
    Death.LEDGER_BREACH: Verdict(OutcomeKind.OUT_OF_MEMORY),
    Death.MEMORY_POLL: Verdict(OutcomeKind.OUT_OF_MEMORY),
    Death.ABANDONED: Verdict(OutcomeKind.ABANDONED),
    Death.DRAINED: Verdict(OutcomeKind.CRASHED, retryable=True),
    Death.PROTOCOL: Verdict(OutcomeKind.CRASHED),
    Death.NOT_BORN: Verdict(OutcomeKind.CRASHED),
    Death.FORBIDDEN_CALL: Verdict(OutcomeKind.CRASHED),
    Death.FAULT: Verdict(OutcomeKind.CRASHED),
    Death.ABORT: Verdict(OutcomeKind.CRASHED),
    Death.KILLED: Verdict(OutcomeKind.CRASHED),
    Death.SIGNAL: Verdict(OutcomeKind.CRASHED),
    Death.EXITED: Verdict(OutcomeKind.CRASHED),
    Death.ZYGOTE_LOST: Verdict(OutcomeKind.CRASHED, retryable=True),
    Death.ARBITER_LOST: Verdict(OutcomeKind.CRASHED, retryable=True),
}

_BY_REASON: dict[KillReason, Death] = {
    KillReason.CPU: Death.CPU_POLL,
    KillReason.WALL: Death.WALL_POLL,
    KillReason.MEMORY: Death.MEMORY_POLL,
    KillReason.ABANDONED: Death.ABANDONED,
    KillReason.DRAIN: Death.DRAINED,
    KillReason.PROTOCOL: Death.PROTOCOL,
    KillReason.BIRTH: Death.NOT_BORN,
}

_BY_SIGNAL: dict[int, Death] = {
    signal.SIGPROF: Death.CPU_TIMER,
    signal.SIGXCPU: Death.CPU_TIMER,
    signal.SIGALRM: Death.WALL_TIMER,
    signal.SIGSYS: Death.FORBIDDEN_CALL,
    signal.SIGSEGV: Death.FAULT,
    signal.SIGBUS: Death.FAULT,
    signal.SIGFPE: Death.FAULT,
    signal.SIGILL: Death.FAULT,
    signal.SIGABRT: Death.ABORT,
    signal.SIGKILL: Death.KILLED,
}


def classify(wait_status: int | None, breach_bytes: int, reason: KillReason | None, *, zygote_lost: bool) -> Death:
    """The Death behind a wait status as wait4(2) gives it (None: nobody could wait for the process any more).

    breach_bytes is what the allocator's ledger refused (0: nothing). A SIGKILL has no author in the status; the arbiter's
    own reason names it, then a lost zygote (its workers die with it), and only then somebody unknown.
    """
    if wait_status is None or not os.WIFSIGNALED(wait_status):
        if wait_status is not None:
            return Death.RETIRED if os.waitstatus_to_exitcode(wait_status) == EXIT_RETIRED else Death.EXITED
        if reason is not None:
            return _BY_REASON[reason]
        return Death.ZYGOTE_LOST if zygote_lost else Death.KILLED
    number = os.WTERMSIG(wait_status)
    if number == signal.SIGKILL:
        if reason is not None:
            return _BY_REASON[reason]
        return Death.ZYGOTE_LOST if zygote_lost else Death.KILLED
    if number == signal.SIGABRT and breach_bytes:
        return Death.LEDGER_BREACH
    return _BY_SIGNAL.get(number, Death.SIGNAL)
