"""The terms on which callers may use the server: one tenant (`TenantSettings`), or all of them (`QuotaPolicy`).

Decides how what an operator writes becomes what the ladder and the quota work with: a 0 stands for what follows from the
machine or from another key, and a limit per minute is a bucket that holds one minute's worth, so that a tenant may use a
whole minute's allowance at once and then gets it back evenly. Pure; it must not know files, cores or who calls.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from wickguard.control.bucket import Limit
from wickguard.control.ladder import LadderSettings, Plan, Trust
from wickguard.control.quota import QuotaSettings
from wickguard.errors import SettingError
from wickguard.setting import check

MINUTE_S = 60.0


@dataclass(frozen=True, slots=True)
class TenantSettings:
    """What one tenant may use. Its name is the tenant's name in the key file.

    rate: compute-seconds per second, for ever; 0 = its share of the capacity.
    weight: turns in the queue; a tenant of weight 2 gets twice what one of weight 1 gets while both wait.
    share: the most of the capacity that it gets, whatever its rate says.
    requests_per_minute: 0 = not limited.
    tokens_per_minute: 0 = not limited; a call is counted with the most tokens that it can have, until it is settled.
    concurrent_calls: running and waiting at once; 0 = not limited.
    trust: new tenants are capped together by quota.new_share.
    """

    rate: Annotated[float, Meta(ge=0, le=65_536)] = 0.0
    weight: Annotated[float, Meta(ge=0.01, le=100)] = 1.0
    share: Annotated[float, Meta(ge=0.001, le=1)] = 0.5
    requests_per_minute: Annotated[int, Meta(ge=0, le=10**9)] = 0
    tokens_per_minute: Annotated[int, Meta(ge=0, le=10**12)] = 0
    concurrent_calls: Annotated[int, Meta(ge=0, le=65_536)] = 0
    trust: Literal["established", "new"] = "established"

    def __post_init__(self) -> None:
        check(self)

    def plan(self, capacity: float) -> Plan:
        """As the ladder takes it. capacity: compute-seconds per second that all callers share."""
        return Plan(
            rate=self.rate or self.share * capacity,
            requests=_per_minute(self.requests_per_minute),
            tokens=_per_minute(self.tokens_per_minute),
            calls=self.concurrent_calls or None,
            share=self.share,
        )

    @property
    def group(self) -> Trust:
        """The group that caps it."""
        return Trust(self.trust)


@dataclass(frozen=True, slots=True)
class QuotaPolicy:
    """What all callers together may use, and those that nobody vouches for. Shares are parts of the capacity unless said.

    capacity: compute-seconds per second that all callers share; 0 = usable cores.
    burst_s: what may be used at once, in seconds of a rate (but always 2.4 times the dearest call).
    anonymous_rate: compute-seconds per second of one address without a key.
    anonymous_share: of all callers without a key together.
    alarmed_share: of the same, and of new tenants, while many identities attack together.
    new_share: of all tenants together whose trust is new.
    refusal_s: compute-seconds that a refusal costs whoever was refused, and a quote whoever asked; and every 128 KiB of a body.
    newcomers_share: a part of anonymous_share, the most that callers without a record use together.
    record_calls: a caller without a key has a record after so many calls that ended well, since the last that was killed.
    record_s: and when it has been known for so long, from its first call on.
    """

    capacity: Annotated[float, Meta(ge=0, le=65_536)] = 0.0
    burst_s: Annotated[float, Meta(ge=0.1, le=86_400)] = 10.0
    anonymous_rate: Annotated[float, Meta(ge=0.0001, le=65_536)] = 0.1
    anonymous_share: Annotated[float, Meta(ge=0.001, le=1)] = 0.25
    alarmed_share: Annotated[float, Meta(ge=0.001, le=1)] = 0.10
    new_share: Annotated[float, Meta(ge=0.001, le=1)] = 0.25
    refusal_s: Annotated[float, Meta(ge=0, le=60)] = 0.001
    newcomers_share: Annotated[float, Meta(ge=0.001, le=1)] = 0.6
    record_calls: Annotated[int, Meta(ge=0, le=10_000)] = 5
    record_s: Annotated[float, Meta(ge=0, le=86_400)] = 60.0

    def __post_init__(self) -> None:
        check(self)
        if self.alarmed_share > self.anonymous_share:
            raise SettingError(
                "{} must be at most {}", "alarmed_share", "anonymous_share", seen=f"{self.alarmed_share:g}"
            )

    def ladder(self, cores: float, dearest_s: float, median_s: float) -> LadderSettings:
        """As the ladder takes it. dearest_s, median_s: what the dearest admissible and a median call reserve."""
        return LadderSettings(
            capacity=self.capacity or cores,
            dearest_s=dearest_s,
            median_s=median_s,
            burst_s=self.burst_s,
            anonymous_rate=self.anonymous_rate,
            anonymous_share=self.anonymous_share,
            alarmed_share=self.alarmed_share,
            new_share=self.new_share,
            newcomers_share=self.newcomers_share,
        )

    def quota(self) -> QuotaSettings:
        """As the quota takes it."""
        return QuotaSettings(refusal_s=self.refusal_s, record_calls=self.record_calls, record_s=self.record_s)


def _per_minute(count: int) -> Limit | None:
    return Limit(count / MINUTE_S, float(count)) if count else None
