"""Terms: what an operator writes, as the ladder and the quota take it."""

from __future__ import annotations

import pytest

from wickguard.control.bucket import Limit
from wickguard.control.ladder import Climber, Currency, Ladder, LadderSettings, Plan, Trust
from wickguard.control.quota import QuotaSettings
from wickguard.control.terms import QuotaPolicy, TenantSettings
from wickguard.errors import SettingError


def test_a_tenant_may_use_half_the_capacity_when_nothing_is_said() -> None:
    """And is limited in nothing else."""
    assert TenantSettings().plan(8.0) == Plan(rate=4.0, share=0.5)
    assert TenantSettings().group is Trust.ESTABLISHED


def test_a_tenant_gets_its_plan_when_every_key_is_set() -> None:
    """A limit per minute is a bucket that holds a minute's worth."""
    settings = TenantSettings(1.5, 2.0, 0.75, 120, 60_000, 4, "new")
    assert settings.plan(8.0) == Plan(1.5, Limit(2.0, 120.0), Limit(1000.0, 60_000.0), 4, 0.75)
    assert settings.group is Trust.NEW


def test_every_limit_is_a_level_when_a_plan_meets_the_ladder() -> None:
    """The three currencies beside compute-seconds, each with its own bucket."""
    ladder = Ladder(QuotaPolicy().ladder(cores=2.0, dearest_s=5.0, median_s=0.02))
    levels = ladder.levels(Climber("alice", Trust.ESTABLISHED), TenantSettings(0.5, 1, 0.5, 60, 600, 3).plan(2.0))
    assert {level.currency: level.limit for level in levels[1:]} == {
        Currency.COMPUTE_S: Limit(0.5, 12.0),
        Currency.REQUESTS: Limit(1.0, 60.0),
        Currency.TOKENS: Limit(10.0, 600.0),
        Currency.CALLS: Limit(0.0, 3.0),
    }


def test_the_capacity_is_the_cores_when_it_is_not_set() -> None:
    """Everything else is handed on as it was written."""
    assert QuotaPolicy().ladder(4.0, 5.0, 0.02) == LadderSettings(4.0, 5.0, 0.02)
    chosen = QuotaPolicy(3.0, 20.0, 0.2, 0.3, 0.05, 0.4, 0.002, 0.8, 9, 30.0)
    assert chosen.ladder(4.0, 5.0, 0.02) == LadderSettings(3.0, 5.0, 0.02, 20.0, 0.2, 0.3, 0.05, 0.4, 0.8)
    assert chosen.quota() == QuotaSettings(refusal_s=0.002, record_calls=9, record_s=30.0)
    assert QuotaPolicy().quota() == QuotaSettings()


def test_shares_are_refused_when_alarm_would_allow_more() -> None:
    """Under attack strangers never get more than in calm."""
    with pytest.raises(SettingError, match=r"alarmed_share must be at most anonymous_share, not 0.5"):
        QuotaPolicy(alarmed_share=0.5)
