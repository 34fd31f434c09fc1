"""The two tables behind every outcome: total, and right where it matters."""

from __future__ import annotations

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wickguard.records import OutcomeKind
from wickguard.workers.death import OUTCOMES, Death, KillReason, classify

REASONS = st.none() | st.sampled_from(list(KillReason))


def killed_by(number: int) -> int:
    """A wait status: ended by this signal."""
    return number


def exited_with(code: int) -> int:
    """A wait status: exit with this code."""
    return code << 8


def test_every_death_has_an_outcome_when_the_table_is_read() -> None:
    """Totality: no death without a row, no row without a death, and none that counts as success."""
    assert set(OUTCOMES) == set(Death)
    assert {verdict.kind for verdict in OUTCOMES.values()} == {
        OutcomeKind.EXPIRED_CPU,
        OutcomeKind.EXPIRED_WALL,
        OutcomeKind.OUT_OF_MEMORY,
        OutcomeKind.CRASHED,
        OutcomeKind.ABANDONED,
    }


def test_only_our_own_losses_are_retryable_when_a_worker_dies() -> None:
    """What the call did itself must not be repeated: retries would multiply an attack."""
    assert {death for death, verdict in OUTCOMES.items() if verdict.retryable} == {
        Death.DRAINED,
        Death.ZYGOTE_LOST,
        Death.ARBITER_LOST,
    }


@given(
    status=st.none() | st.integers(1, 64).map(killed_by) | st.integers(0, 255).map(exited_with),
    breach_bytes=st.integers(0, 2**40),
    reason=REASONS,
    zygote_lost=st.booleans(),
)
def test_every_wait_status_is_a_death_when_classified(
    status: int | None, breach_bytes: int, reason: KillReason | None, zygote_lost: bool
) -> None:
    """No combination raises, and only SIGKILL or silence can be somebody's kill."""
    death = classify(status, breach_bytes, reason, zygote_lost=zygote_lost)
    assert death in OUTCOMES
    if status not in (None, killed_by(signal.SIGKILL)):
        assert death is classify(status, breach_bytes, None, zygote_lost=False)


@pytest.mark.parametrize(
    ("status", "breach_bytes", "reason", "death"),
    [
        (killed_by(signal.SIGPROF), 0, None, Death.CPU_TIMER),
        (killed_by(signal.SIGALRM), 0, None, Death.WALL_TIMER),
        (killed_by(signal.SIGABRT), 0, None, Death.ABORT),
        (killed_by(signal.SIGABRT), 1 << 30, None, Death.LEDGER_BREACH),
        (killed_by(signal.SIGSEGV), 1 << 30, None, Death.FAULT),
        (killed_by(signal.SIGSYS), 0, None, Death.FORBIDDEN_CALL),
        (killed_by(signal.SIGKILL), 0, None, Death.KILLED),
        (killed_by(signal.SIGKILL), 0, KillReason.CPU, Death.CPU_POLL),
        (killed_by(signal.SIGKILL), 0, KillReason.WALL, Death.WALL_POLL),
        (killed_by(signal.SIGKILL), 0, KillReason.ABANDONED, Death.ABANDONED),
        (killed_by(signal.SIGPROF), 0, KillReason.WALL, Death.CPU_TIMER),
        (exited_with(0), 0, None, Death.RETIRED),
        (exited_with(1), 0, None, Death.EXITED),
        (None, 0, None, Death.KILLED),
    ],
)
def test_cause_is_named_when_a_worker_dies(
    status: int | None, breach_bytes: int, reason: KillReason | None, death: Death
) -> None:
    """The kernel's own mechanism first, then the arbiter's reason."""
    assert classify(status, breach_bytes, reason, zygote_lost=False) is death


def test_zygote_is_named_when_its_workers_die_with_it() -> None:
    """A SIGKILL without a reason of ours, from a worker whose zygote is gone."""
    assert classify(killed_by(signal.SIGKILL), 0, None, zygote_lost=True) is Death.ZYGOTE_LOST
    assert classify(None, 0, None, zygote_lost=True) is Death.ZYGOTE_LOST
