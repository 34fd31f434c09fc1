"""The ladder: which limits a caller has to fit, and how large they are."""

from __future__ import annotations

import socket

import pytest

from wickguard.control.bucket import Limit
from wickguard.control.ladder import Climber, Currency, Ladder, LadderSettings, Plan, Scope, Trust, networks_of
from wickguard.errors import ConfigError, WickguardError

SETTINGS = LadderSettings(capacity=4.0, dearest_s=5.0, median_s=0.02)
LADDER = Ladder(SETTINGS)
V4 = socket.inet_pton(socket.AF_INET, "203.0.113.77")
V6 = socket.inet_pton(socket.AF_INET6, "2001:db8:1:2fe::9")


def test_levels_are_widest_first_when_a_key_calls() -> None:
    """Everything, tenant, key; no group cap for who is established, no networks for who has a key."""
    levels = LADDER.levels(Climber("key:ada", Trust.ESTABLISHED, "k1"), Plan(rate=1.0))
    assert [(level.scope, level.name) for level in levels] == [
        (Scope.GLOBAL, "all"),
        (Scope.TENANT, "key:ada"),
        (Scope.KEY, "key:ada/k1"),
    ]
    assert all(level.credit is None for level in levels)


def test_group_and_networks_are_limited_when_an_address_calls() -> None:
    """An address is its own tenant; the networks around it may use 8, or 4 and 16, times as much."""
    four = LADDER.levels(Climber("ip:203.0.113.77", Trust.ANONYMOUS, address=V4))
    six = LADDER.levels(Climber("ip:2001:db8:1:2fe::/64", Trust.ANONYMOUS, address=V6))
    scopes = [Scope.GLOBAL, Scope.POOL, Scope.TENANT, Scope.NETWORK]
    assert [level.scope for level in four] == scopes
    assert [level.scope for level in six] == [*scopes, Scope.NETWORK]
    assert [level.limit.rate for level in four[2:]] == pytest.approx([0.1, 0.8])
    assert [level.limit.rate for level in six[2:]] == pytest.approx([0.1, 0.4, 1.6])
    assert [level.credit for level in four] == [None, None, 0.02, 0.16]


@pytest.mark.parametrize(
    ("trust", "alarmed", "share"),
    [
        (Trust.ANONYMOUS, False, 0.25),
        (Trust.ANONYMOUS, True, 0.10),
        (Trust.NEW, False, 0.25),
        (Trust.NEW, True, 0.10),
    ],
)
def test_group_is_capped_when_anybody_can_join_it(trust: Trust, alarmed: bool, share: float) -> None:
    """25 % of the capacity in calm, 10 % under alarm, under the same name, so that what was spent stays spent."""
    levels = LADDER.levels(Climber("someone", trust), Plan(0.1), alarmed=alarmed)
    pool = next(level for level in levels if level.scope is Scope.POOL)
    assert pool.name == f"pool:{trust}"
    assert pool.limit.rate == share * SETTINGS.capacity


def test_tenant_gets_half_when_its_plan_says_more() -> None:
    """No tenant has more than its share of the capacity, whatever its rate."""
    levels = LADDER.levels(Climber("key:ada", Trust.ESTABLISHED), Plan(rate=100.0))
    assert levels[-1].limit.rate == 2.0


def test_dearest_call_fits_every_level_when_rates_are_small() -> None:
    """A bucket is never shallower than two of the dearest calls, and some change."""
    levels = LADDER.levels(Climber("ip:1.2.3.4", Trust.ANONYMOUS, address=V4))
    assert min(level.limit.depth for level in levels) == pytest.approx(12.0)


def test_counts_are_limited_when_the_plan_says_so() -> None:
    """Requests, tokens and calls at once are levels like the others, in their own currency."""
    plan = Plan(1.0, requests=Limit(10, 20), tokens=Limit(1000, 60_000), calls=3)
    levels = LADDER.levels(Climber("key:ada", Trust.ESTABLISHED), plan)
    assert {level.currency: level.limit for level in levels[2:]} == {
        Currency.REQUESTS: Limit(10, 20),
        Currency.TOKENS: Limit(1000, 60_000),
        Currency.CALLS: Limit(0.0, 3),
    }
    assert len({level.name for level in levels}) == len(levels)


def test_neighbours_share_networks_when_their_prefixes_agree() -> None:
    """/24 for IPv4; /56 and /48 for IPv6."""
    near, far = (socket.inet_pton(socket.AF_INET6, text) for text in ("2001:db8:1:2aa::1", "2001:db8:1:3fe::1"))
    assert networks_of(V4) == networks_of(V4[:3] + b"\1")
    assert networks_of(V6) == networks_of(near)
    assert networks_of(V6)[1] == networks_of(far)[1]
    assert networks_of(V6)[0] != networks_of(far)[0]
    with pytest.raises(WickguardError):
        networks_of(b"12345")


@pytest.mark.parametrize("wrong", [{"capacity": 0.0}, {"alarmed_share": 0.5}, {"new_share": 0.0}, {"burst_s": -1.0}])
def test_settings_are_refused_when_they_make_no_sense(wrong: dict[str, float]) -> None:
    """Settings are checked when they are made."""
    with pytest.raises(ConfigError):
        LadderSettings(**{"capacity": 4.0, "dearest_s": 5.0, "median_s": 0.02, **wrong})
