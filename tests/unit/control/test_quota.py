"""The quota: all levels or none, leases that end, kills that are paid for, and when to come back."""

from __future__ import annotations

import math

import pytest

from wickguard.control.bucket import Limit
from wickguard.control.ladder import Currency, Level, Scope
from wickguard.control.lease import Demand, Lease, SettlementStatus, Shortfall, Usage
from wickguard.control.quota import BYTES_PER_REFUSAL, Quota, QuotaSettings, reading
from wickguard.control.roll import RollSettings
from wickguard.errors import WickguardError

SEED = b"a seed of the test"
ALL = Level(Scope.GLOBAL, "all", Limit(4.0, 16.0))
ADA = Level(Scope.TENANT, "key:ada", Limit(1.0, 8.0))
BOB = Level(Scope.TENANT, "key:bob", Limit(1.0, 8.0))
ADDRESS = Level(Scope.TENANT, "ip:192.0.2.1", Limit(0.5, 8.0), credit=0.25)


def take(quota: Quota, call: str, levels: tuple[Level, ...], price_s: float, now: float = 0.0) -> Lease:
    """Reserve what must fit."""
    taken = quota.reserve(now, call, levels, Demand(price_s), now + 100)
    assert isinstance(taken, Lease)
    return taken


def refused(quota: Quota, levels: tuple[Level, ...], price_s: float, now: float = 0.0) -> Shortfall:
    """Ask for what must not fit."""
    taken = quota.reserve(now, "refused", levels, Demand(price_s), now + 100)
    assert isinstance(taken, Shortfall)
    return taken


def test_nothing_is_taken_when_one_level_refuses() -> None:
    """All or nothing: the wide levels are as before when the narrow one is full."""
    quota = Quota(SEED)
    take(quota, "a", (ALL, ADA), 8.0)
    shortfall = refused(quota, (ALL, ADA), 1.0)
    assert shortfall.level is ADA
    assert (quota.reserved(0.0, ALL), quota.reserved(0.0, ADA), len(quota)) == (8.0, 8.0, 1)


def test_wait_is_that_of_the_tightest_level_when_several_refuse() -> None:
    """Whoever comes back after the wait finds room at every level."""
    quota = Quota(SEED)
    take(quota, "a", (ALL, ADA), 8.0)
    take(quota, "b", (ALL, BOB), 8.0)
    for call in "ab":
        quota.settle(0.0, call, Usage(8.0))
    shortfall = refused(quota, (ALL, ADA), 4.0)
    assert shortfall.level is ADA
    assert shortfall.wait_s == pytest.approx(4.0, abs=1e-3)
    assert (shortfall.asked, shortfall.available) == (4.0, 0.0)
    take(quota, "c", (ALL, ADA), 4.0, shortfall.wait_s)


def test_waiting_is_no_use_when_the_call_is_larger_than_a_bucket() -> None:
    """Never is said as never."""
    assert refused(Quota(SEED), (ALL, ADA), 9.0).never


def test_second_settlement_changes_nothing_when_a_lease_is_settled_twice() -> None:
    """Exactly once, and the second time is reported."""
    quota = Quota(SEED)
    take(quota, "a", (ALL, ADA), 4.0)
    first = quota.settle(0.0, "a", Usage(1.0))
    assert (first.status, first.charged_s, first.refunded_s) == (SettlementStatus.SETTLED, 1.0, 3.0)
    second = quota.settle(0.0, "a", Usage(1.0))
    assert (second.status, second.charged_s) == (SettlementStatus.NOT_HELD, 0.0)
    assert quota.available(0.0, ADA) == (7.0, 1.0)


def test_all_is_given_back_when_a_lease_is_cancelled() -> None:
    """A call that was refused after its quota was taken, or left the queue, costs nothing."""
    quota = Quota(SEED)
    take(quota, "a", (ALL, ADA), 8.0)
    assert quota.cancel(0.0, "a").refunded_s == 8.0
    assert quota.available(0.0, ADA) == (8.0, 0.0)
    assert quota.cancel(0.0, "a").status is SettlementStatus.NOT_HELD


def test_reservation_is_charged_when_its_lease_expires() -> None:
    """A lost call leaks nothing and gives nothing away; settling it afterwards is a no-op."""
    quota = Quota(SEED)
    quota.reserve(0.0, "lost", (ALL, ADA), Demand(8.0), 5.0)
    assert quota.expire(4.9) == ()
    assert quota.expire(5.0) == ("lost",)
    assert quota.reserved(5.0, ADA) == 0.0
    assert quota.available(5.0, ADA)[0] == 0.0
    assert quota.settle(5.0, "lost", Usage(1.0)).status is SettlementStatus.NOT_HELD
    assert quota.available(9.0, ADA)[0] == 4.0


def test_lease_ends_by_itself_when_the_next_call_comes() -> None:
    """Nobody has to ask for expiry: every decision looks."""
    quota = Quota(SEED)
    quota.reserve(0.0, "lost", (ADA,), Demand(8.0), 5.0)
    assert refused(quota, (ADA,), 8.0, 6.0).wait_s == pytest.approx(7.0, abs=1e-3)


def test_expiry_is_that_of_the_second_lease_when_an_id_is_used_again() -> None:
    """An old expiry does not end a new lease of the same name."""
    quota = Quota(SEED)
    quota.reserve(0.0, "a", (ADA,), Demand(1.0), 5.0)
    quota.settle(1.0, "a", Usage(1.0))
    quota.reserve(2.0, "a", (ADA,), Demand(1.0), 50.0)
    assert quota.expire(6.0) == ()
    assert quota.reserved(6.0, ADA) == 1.0


def test_expiries_stay_few_when_calls_settle_long_before() -> None:
    """What settled leases leave in the order of expiry is cleared away."""
    quota = Quota(SEED)
    for number in range(5000):
        quota.reserve(0.0, str(number), (ADA,), Demand(0.0), 1e6)
        quota.settle(0.0, str(number), Usage(0.0))
    assert len(quota._expiries) <= 130


def test_lease_is_refused_when_its_id_is_taken_or_its_time_is_over() -> None:
    """Two leases of one name would make a sum that no lease explains."""
    quota = Quota(SEED)
    take(quota, "a", (ADA,), 1.0)
    with pytest.raises(WickguardError):
        quota.reserve(0.0, "a", (ADA,), Demand(1.0), 5.0)
    with pytest.raises(WickguardError):
        quota.reserve(5.0, "b", (ADA,), Demand(1.0), 5.0)


def test_kill_costs_overshoot_twice_and_the_respawn_when_a_call_is_killed() -> None:
    """4 s used on a reservation of 1 s, 0.25 s of respawn: 4 + 3 + 0.25."""
    quota = Quota(SEED)
    take(quota, "a", (ALL, ADA), 1.0)
    assert quota.settle(0.0, "a", Usage(4.0, killed_s=0.25)).charged_s == 7.25
    assert quota.available(0.0, ADA)[0] == 0.75


def test_prices_double_per_kill_and_recover_when_calls_are_good() -> None:
    """x 2 per kill up to 64, x 0.95 per good call down to 1; never so dear that an empty bucket can't pay."""
    quota, now = Quota(SEED), 0.0
    for kills in range(1, 9):
        now += 1000
        take(quota, "killed", (ALL, ADA), 0.125, now)
        quota.settle(now, "killed", Usage(0.125, killed_s=0.0))
        assert quota.multiplier(now, (ALL, ADA)) == min(64, 2**kills)
    now += 1000
    assert take(quota, "dear", (ALL, ADA), 0.125, now).price_s == 8.0 - 2**-20
    quota.cancel(now, "dear")
    assert quota.multiplier(now, (ALL, BOB)) == 1.0
    good = 0
    while quota.multiplier(now, (ALL, ADA)) > 1:
        now, good = now + 1000, good + 1
        take(quota, "good", (ALL, ADA), 0.125, now)
        quota.settle(now, "good", Usage(0.125))
    assert good == math.ceil(math.log(64) / -math.log(0.95))


def test_punishment_reaches_a_stranger_when_the_roll_is_full() -> None:
    """Its next call is dearer, although it had no account."""
    quota = Quota(SEED, roll=RollSettings(capacity=1))
    other = Level(Scope.TENANT, "ip:192.0.2.2", Limit(0.5, 8.0), credit=0.25)
    take(quota, "other", (ALL, other), 0.25)
    take(quota, "a", (ALL, ADDRESS), 0.25)
    assert quota.multiplier(0.0, (ALL, ADDRESS)) == 1.0
    quota.settle(0.0, "other", Usage(0.25))
    # A second later the other one owes no more than a stranger would, so it can be forgotten.
    quota.settle(1.0, "a", Usage(0.25, killed_s=0.0))
    assert quota.multiplier(1.0, (ALL, ADDRESS)) == 2.0


def test_unknown_address_buys_one_median_call_when_it_comes_first() -> None:
    """And the wait says when it will have earned the rest."""
    quota = Quota(SEED)
    take(quota, "a", (ALL, ADDRESS), 0.25)
    quota.settle(0.0, "a", Usage(0.25))
    assert refused(quota, (ALL, ADDRESS), 1.0).wait_s == pytest.approx(2.0, abs=1e-3)


def test_refusal_is_charged_to_the_caller_only_when_it_is_refused() -> None:
    """1 ms at its own narrowest level, nothing at the levels that it shares; nothing for a made-up identity."""
    quota = Quota(SEED)
    take(quota, "a", (ALL, ADDRESS), 0.25)
    quota.settle(0.0, "a", Usage(0.0))
    assert quota.charge_refusal(0.0, (ALL, ADDRESS)) == pytest.approx(0.001, abs=1e-6)
    assert quota.available(0.0, ALL)[0] == 16.0
    unknown = Level(Scope.TENANT, "ip:192.0.2.9", Limit(0.5, 8.0), credit=0.25)
    assert quota.charge_refusal(0.0, (ALL, unknown)) == 0.0
    assert unknown.name not in quota.roll


def test_a_stranger_pays_for_what_the_front_does_when_it_never_asks_for_more() -> None:
    """It gets an account for it, and soon nothing is done for it any more; a body is paid for by its size."""
    quota, stranger = Quota(SEED), Level(Scope.TENANT, "ip:192.0.2.9", Limit(0.5, 8.0), credit=0.25)
    assert quota.charge_handling(0.0, (ALL, stranger), 1.0) == pytest.approx(0.001, abs=1e-6)
    assert stranger.name in quota.roll
    assert quota.charge_handling(0.0, (ALL, stranger), reading(64 * BYTES_PER_REFUSAL)) == pytest.approx(
        0.064, abs=1e-6
    )
    for _ in range(185):
        quota.charge_handling(0.0, (ALL, stranger), 1.0)
    assert quota.would(0.0, (ALL, stranger), Demand(0.001)) is not None
    assert quota.available(0.0, ALL)[0] == 16.0


def test_a_stranger_pays_nothing_when_there_is_no_place_for_its_account() -> None:
    """The accounts of others are not forgotten for it."""
    quota = Quota(SEED, roll=RollSettings(capacity=1))
    known, stranger = (Level(Scope.TENANT, name, Limit(0.5, 8.0), credit=0.25) for name in ("ip:1", "ip:2"))
    take(quota, "a", (ALL, known), 0.25)
    assert quota.charge_handling(0.0, (ALL, stranger), 1.0) == 0.0
    assert known.name in quota.roll


def test_counts_are_limited_when_a_plan_has_requests_tokens_and_calls() -> None:
    """Each currency is settled in its own way: requests as one, tokens as used, calls at once not at all."""
    calls = Level(Scope.TENANT, "ada#calls", Limit(0.0, 2), Currency.CALLS)
    requests = Level(Scope.TENANT, "ada#requests", Limit(1.0, 3), Currency.REQUESTS)
    tokens = Level(Scope.TENANT, "ada#tokens", Limit(10.0, 100), Currency.TOKENS)
    levels, quota = (ADA, calls, requests, tokens), Quota(SEED)
    for call in "ab":
        assert isinstance(quota.reserve(0.0, call, levels, Demand(0.5, 40), 50.0), Lease)
    shortfall = quota.would(0.0, levels, Demand(0.5, 10))
    assert shortfall is not None
    assert (shortfall.level, shortfall.wait_s) == (calls, 1.0)
    quota.settle(0.0, "a", Usage(0.5, tokens=10))
    assert quota.available(0.0, calls)[0] == 1.0
    assert quota.available(0.0, requests)[0] == 1.0
    assert quota.available(0.0, tokens)[0] == 50.0
    assert quota.would(0.0, levels, Demand(0.5, 50)) is None
    assert quota.would(0.0, levels, Demand(0.5, 101)) is not None
    assert len(quota) == 1


def test_waiting_earns_quota_when_a_stranger_was_refused() -> None:
    """Its first call is dearer than its credit; after the wait that it was told, it fits."""
    quota, address = Quota(b"seed"), Level(Scope.TENANT, "ip:192.0.2.1", Limit(0.1, 5.0), credit=0.05)
    refused = quota.reserve(0.0, "1", (address,), Demand(0.4), 60.0)
    assert isinstance(refused, Shortfall)
    assert refused.wait_s == pytest.approx(3.5, abs=0.01)
    assert isinstance(quota.reserve(refused.wait_s, "2", (address,), Demand(0.4), 60.0), Lease)


def test_nothing_is_earned_when_a_stranger_only_asks_what_a_call_would_cost() -> None:
    """A question takes no place in the roll."""
    quota, address = Quota(b"seed"), Level(Scope.TENANT, "ip:192.0.2.1", Limit(0.1, 5.0), credit=0.05)
    assert quota.would(0.0, (address,), Demand(0.4)) is not None
    assert len(quota.roll) == 0


NEWCOMERS = Level(Scope.POOL, "newcomers", Limit(0.1, 1.0), newcomers=True)


def record(quota: Quota, now: float, *, killed: bool = False) -> float:
    """Five good calls of the address, one every 15 s, the last one killed if asked; when it is over."""
    for number in range(6):
        take(quota, f"good{number}", (ALL, ADDRESS), 0.125, now)
        quota.settle(now, f"good{number}", Usage(0.1, killed_s=0.0 if killed and number == 5 else None))
        now += 15.0
    return now


def full_of_newcomers(quota: Quota, now: float) -> None:
    """Others have used up what newcomers share."""
    take(quota, "others", (NEWCOMERS,), 1.0, now)


def test_newcomers_share_a_part_when_they_have_no_record() -> None:
    """A stranger that is new is told of that part, and that waiting helps."""
    quota = Quota(SEED)
    full_of_newcomers(quota, 0.0)
    assert refused(quota, (ALL, NEWCOMERS, ADDRESS), 0.1).level is NEWCOMERS


def test_a_record_is_out_of_reach_of_newcomers_when_they_use_up_their_part() -> None:
    """Known for a minute, some good calls: it fits only what all strangers share, and holds nothing of the newcomers' part."""
    quota = Quota(SEED)
    now = record(quota, 0.0)
    full_of_newcomers(quota, now)
    before = quota.reserved(now, NEWCOMERS)
    lease = take(quota, "regular", (ALL, NEWCOMERS, ADDRESS), 0.1, now)
    assert NEWCOMERS not in [hold.level for hold in lease.holds]
    assert quota.reserved(now, NEWCOMERS) == before


def test_a_record_is_what_the_new_settings_say_when_they_change() -> None:
    """What a stranger did is kept, and judged anew."""
    quota = Quota(SEED, QuotaSettings(record_calls=50))
    now = record(quota, 0.0)
    full_of_newcomers(quota, now)
    assert refused(quota, (ALL, NEWCOMERS, ADDRESS), 0.1, now).level is NEWCOMERS
    quota.adopt(QuotaSettings())
    lease = take(quota, "regular", (ALL, NEWCOMERS, ADDRESS), 0.1, now)
    assert NEWCOMERS not in [hold.level for hold in lease.holds]


def test_the_record_is_lost_when_a_call_is_killed() -> None:
    """It has to be earned again."""
    quota = Quota(SEED)
    now = record(quota, 0.0, killed=True)
    full_of_newcomers(quota, now)
    assert refused(quota, (ALL, NEWCOMERS, ADDRESS), 0.01, now).level is NEWCOMERS


def test_no_record_is_made_when_calls_are_given_back_or_come_all_at_once() -> None:
    """Nothing that is free makes one, and nothing that is quick."""
    quota = Quota(SEED)
    for number in range(20):
        take(quota, f"left{number}", (ALL, ADDRESS), 0.1, 5.0 * number)
        quota.cancel(5.0 * number, f"left{number}")
    full_of_newcomers(quota, 100.0)
    assert refused(quota, (ALL, NEWCOMERS, ADDRESS), 0.01, 100.0).level is NEWCOMERS
    other = Quota(SEED)
    for number in range(6):
        take(other, f"quick{number}", (ALL, ADDRESS), 0.01, 0.0)
        other.settle(0.0, f"quick{number}", Usage(0.01))
    full_of_newcomers(other, 0.0)
    assert refused(other, (ALL, NEWCOMERS, ADDRESS), 0.01, 0.0).level is NEWCOMERS
