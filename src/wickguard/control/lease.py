"""The lease: what a call asks of the quota, what it holds meanwhile, and how that was settled; the quota's own nouns.

Decides nothing. All plain data; amounts are compute-seconds unless said. It must not know how limits are kept.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from wickguard.control.ladder import Level
from wickguard.control.roll import Account


class Demand(msgspec.Struct, frozen=True, gc=False):
    """What a call would reserve: its price in compute-seconds (a high quantile) and its most tokens."""

    price_s: float
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class Usage:
    """What a call used. killed_s: None when it ended by itself, else what ending it and a new process cost."""

    cpu_s: float
    tokens: int = 0
    killed_s: float | None = None


class Shortfall(msgspec.Struct, frozen=True):
    """Why a call does not fit: the level that takes longest, what was asked there, and what could be asked at once.

    wait_s: when all levels fit, if what runs is settled as it was reserved; inf when the call can never fit.
    """

    level: Level
    asked: float
    available: float
    wait_s: float

    @property
    def never(self) -> bool:
        """Whether waiting is of no use."""
        return math.isinf(self.wait_s)


class Hold(msgspec.Struct, frozen=True):
    """What a lease holds at one level. (A struct: some are made for every call.)"""

    level: Level
    account: Account
    amount: float


class Lease(msgspec.Struct, frozen=True):
    """What a call holds. price_s: the compute-seconds reserved, its tenant's multiplier included."""

    id: str
    price_s: float
    expires_at: float
    holds: tuple[Hold, ...]


class SettlementStatus(StrEnum):
    """How settling a lease went."""

    SETTLED = "settled"
    NOT_HELD = "not held"


class Settlement(msgspec.Struct, frozen=True):
    """What was charged and given back, in compute-seconds; nothing when the lease was settled before or has expired."""

    status: SettlementStatus
    charged_s: float = 0.0
    refunded_s: float = 0.0
