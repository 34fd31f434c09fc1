"""The roll: bounded memory, strangers that begin nearly empty, and forgetting that is never a refill."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wickguard.control.bucket import Limit, grains
from wickguard.control.roll import Roll, RollSettings
from wickguard.errors import ConfigError

SEED = b"a seed of the test"
LIMIT = Limit(rate=0.25, depth=4.0)
CREDIT = 0.125
MIB = 1024 * 1024


def spend(roll: Roll, now: float, name: str, amount: float = CREDIT) -> bool:
    """One call that uses what it reserves; whether it was let in."""
    account = roll.find(now, name, LIMIT, CREDIT)
    if account.reserve(now, LIMIT, grains(amount)) > 0:
        return False
    roll.reserved(now, name, account, grains(amount))
    account.settle(now, LIMIT, grains(amount), grains(amount))
    roll.settled(now, name, account, 0.0)
    return True


def full_roll(capacity: int, now: float = 0.0, **settings: float) -> Roll:
    """A roll whose places are taken by others who just called."""
    roll = Roll(RollSettings(capacity=capacity, **settings), SEED)
    for number in range(capacity):
        assert spend(roll, now, f"resident {number}")
    return roll


def busy_roll() -> Roll:
    """A roll whose places are taken by others that have a call running, so that no stranger gets one."""
    roll = full_roll(64)
    for number in range(64):
        assert roll.find(20.0, f"resident {number}", LIMIT, CREDIT).reserve(20.0, LIMIT, CREDIT) == 0
    return roll


def test_stranger_has_one_median_request_when_it_comes_first() -> None:
    """Not a full bucket: a made-up identity buys its credit and no more."""
    roll = Roll(RollSettings(), SEED)
    assert spend(roll, 0.0, "a")
    assert not spend(roll, 0.0, "a")


def test_stranger_earns_its_bucket_when_time_passes() -> None:
    """With an exact account, the rest of the depth comes at the rate."""
    roll = Roll(RollSettings(), SEED)
    account = roll.find(0.0, "a", LIMIT, CREDIT)
    wait = account.wait_s(0.0, LIMIT, LIMIT.depth)
    assert 15.5 <= wait <= 15.6
    assert roll.find(wait, "a", LIMIT, CREDIT).wait_s(wait, LIMIT, LIMIT.depth) == 0


def test_stranger_is_not_stored_when_the_roll_is_full_of_active_ones() -> None:
    """A spray displaces nobody who called lately."""
    roll = full_roll(64)
    for number in range(10_000):
        roll.find(1.0, f"sprayed {number}", LIMIT, CREDIT)
    assert all(f"resident {number}" in roll for number in range(64))
    assert len(roll) == 64


def test_stranger_spends_its_credit_once_when_it_has_no_account() -> None:
    """The sketch remembers what a stranger spent until a half-life has passed."""
    roll = busy_roll()
    assert spend(roll, 61.0, "stranger")
    assert not spend(roll, 62.0, "stranger")
    assert not spend(roll, 119.0, "stranger")
    assert spend(roll, 181.0, "stranger")
    assert "stranger" not in roll


def test_strangers_share_of_the_rate_holds_when_it_returns_for_ever() -> None:
    """Without an account and without refunds, a stranger spends at most its credit per half-life, plus one."""
    roll = busy_roll()
    spent = sum(CREDIT / 8 for second in range(600) if spend(roll, float(second), "stranger", CREDIT / 8))
    assert 4 * CREDIT <= spent <= CREDIT * (600 / 60 + 1)
    assert "stranger" not in roll


def test_idle_account_is_given_away_when_a_stranger_comes() -> None:
    """Only after idle_s, and only after as many turns of the hand as it is worth."""
    roll = full_roll(1, idle_s=300.0)
    assert not roll.find(299.0, "a", LIMIT, CREDIT).exact
    assert roll.find(301.0, "a", LIMIT, CREDIT).exact
    assert "resident 0" not in roll


def test_account_is_kept_longer_when_its_owner_called_often() -> None:
    """Between an identity that was seen once and one that is served every day, the first goes."""
    roll = Roll(RollSettings(capacity=2, steps=1), SEED)
    for _ in range(5):
        spend(roll, 0.0, "regular", 0.001)
    spend(roll, 0.0, "passer-by", 0.001)
    for number in range(6):
        roll.find(400.0, f"new {number}", LIMIT, CREDIT)
    assert "regular" in roll
    assert "passer-by" not in roll


def test_account_is_never_given_away_when_it_holds_a_reservation() -> None:
    """However idle it looks: its call still runs."""
    roll = Roll(RollSettings(capacity=1), SEED)
    account = roll.find(0.0, "running", LIMIT, CREDIT)
    account.reserve(0.0, LIMIT, CREDIT)
    for number in range(100):
        roll.find(1e6 + number, f"new {number}", LIMIT, CREDIT)
    assert "running" in roll


def test_account_is_never_given_away_when_it_is_in_debt() -> None:
    """Whoever owes more than a stranger would start with is remembered until it owes less."""
    roll = Roll(RollSettings(capacity=1, idle_s=0.0), SEED)
    account = roll.find(0.0, "debtor", LIMIT, CREDIT)
    account.settle(0.0, LIMIT, 0.0, 100.0)
    for number in range(100):
        roll.find(1.0 + number, f"new {number}", LIMIT, CREDIT)
    assert "debtor" in roll
    for number in range(10):
        roll.find(500.0 + number, f"new {number}", LIMIT, CREDIT)
    assert "debtor" not in roll


def test_heavy_stranger_gets_an_account_when_the_roll_is_full() -> None:
    """A stranger above the share of what all strangers spend is counted exactly from then on, at what it has spent."""
    roll = full_roll(64, heavy_share=0.5)
    for number in range(100):
        spend(roll, 1.0, f"light {number}", 0.001)
    later = 20.0
    assert spend(roll, later, "heavy", CREDIT)
    assert "heavy" in roll
    assert roll.find(later, "heavy", LIMIT, CREDIT).wait_s(later, LIMIT, grains(0.01)) > 0


def test_punished_stranger_gets_an_account_when_the_roll_is_full() -> None:
    """A kill is remembered exactly, whoever caused it."""
    roll = full_roll(64, heavy_share=0.9)
    stranger = roll.find(100.0, "killer", LIMIT, CREDIT)
    assert not stranger.exact
    kept = roll.punished(100.0, "killer", stranger)
    assert kept.exact
    assert roll.find(100.0, "killer", LIMIT, CREDIT) is kept


def test_overshoot_is_charged_when_the_stranger_was_promoted_while_it_ran() -> None:
    """What a call used above its reservation goes to the account that its owner has by then."""
    roll = full_roll(4, heavy_share=0.9)
    stranger = roll.find(100.0, "a", LIMIT, CREDIT)
    kept = roll.punished(100.0, "a", stranger)
    before = kept.level_at(100.0, LIMIT)
    roll.settled(100.0, "a", stranger, 2.0)
    assert kept.level_at(100.0, LIMIT) == before + 2.0


def test_spending_is_remembered_when_the_account_is_forgotten_within_one_decision() -> None:
    """A call's second name may take the place of its first: what the first then reserves is not lost."""
    roll = Roll(RollSettings(capacity=1, idle_s=0.0), SEED)
    roll.find(0.0, "address", LIMIT, CREDIT)
    address = roll.find(1000.0, "address", LIMIT, CREDIT)
    roll.find(1000.0, "network", LIMIT, CREDIT)
    assert address.reserve(1000.0, LIMIT, CREDIT) == 0
    roll.reserved(1000.0, "address", address, CREDIT)
    assert roll.find(1000.0, "address", LIMIT, CREDIT).wait_s(1000.0, LIMIT, CREDIT) > 0


@given(
    st.lists(
        st.tuples(st.integers(0, 11), st.floats(0.001, 2.0), st.floats(0, 40)), min_size=30, max_size=120
    )
)  # fmt: skip
@settings(max_examples=60)
def test_spending_never_exceeds_the_law_when_identities_are_forgotten(calls: list[tuple[int, float, float]]) -> None:
    """Twelve identities in a roll of three, forgotten and met again: each stays under depth + rate x window."""
    roll = Roll(RollSettings(capacity=3, idle_s=5.0, half_life_s=10.0), SEED)
    now, spent = 0.0, dict[str, list[tuple[float, float]]]()
    for who, amount, wait in calls:
        now += wait if who % 3 else 0.0
        if spend(roll, now, str(who), amount):
            spent.setdefault(str(who), []).append((now, grains(amount)))
    for history in spent.values():
        for first, (begin, _) in enumerate(history):
            total = 0.0
            for at, amount in history[first:]:
                total += amount
                assert total <= LIMIT.depth + LIMIT.rate * (at - begin) + 1e-9


SPRAY = """
from pathlib import Path
from wickguard.control.bucket import Limit
from wickguard.control.roll import Roll, RollSettings

def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

limit, credit, before = Limit(0.25, 4.0), 0.125, resident_bytes()
roll = Roll(RollSettings(), b"a seed of the test")
for number in range(300_000):
    now, name = number * 1e-3, f"ip:2001:db8:{number >> 16:x}:{number & 0xFFFF:x}::/64"
    account = roll.find(now, name, limit, credit)
    if number % 10 == 0 and account.reserve(now, limit, credit) == 0:
        roll.reserved(now, name, account, credit)
        account.settle(now, limit, credit, credit)
    if number in (150_000, 299_999):
        print(resident_bytes() - before)
print(len(roll))
"""


def test_memory_stays_bounded_when_identities_are_sprayed() -> None:
    """300,000 identities, of which every tenth spends: at most 32 MiB, and the second half adds next to nothing."""
    # In a process of its own, where what is resident is what the roll holds.
    run = subprocess.run([sys.executable, "-c", SPRAY], capture_output=True, text=True, check=True)
    half, whole, accounts = (int(line) for line in run.stdout.split())
    assert accounts == 65_536
    assert 4 * MIB <= whole <= 32 * MIB
    assert whole - half <= 2 * MIB


@pytest.mark.parametrize(
    "wrong", [{"capacity": 0}, {"steps": 0}, {"idle_s": -1.0}, {"half_life_s": 0.0}, {"heavy_share": 1.0}]
)
def test_settings_are_refused_when_they_make_no_sense(wrong: dict[str, float]) -> None:
    """Settings are checked when they are made."""
    with pytest.raises(ConfigError):
        RollSettings(**wrong)
