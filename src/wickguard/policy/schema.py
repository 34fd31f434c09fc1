"""The policy: sections of one file, each the settings of the module that owns them.

Decides the names of the sections and the settings that belong to the server as a whole. Each settings type checks its own
ranges when it is made; this file only composes, and asks policy/agree.py whether the sections go together. It must not know
files.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, get_args, get_origin, get_type_hints

from msgspec import Meta

from wickguard.control.gate import AdmissionSettings
from wickguard.control.terms import QuotaPolicy, TenantSettings
from wickguard.cost.analytic import PriceSettings
from wickguard.cost.calibration import CalibrationSettings
from wickguard.cost.learning import LearningSettings
from wickguard.errors import SettingError
from wickguard.guard.edge import EdgeSettings
from wickguard.guard.identity import IdentitySettings
from wickguard.modality.image import ImageSettings
from wickguard.modality.series import SeriesSettings
from wickguard.modality.text import TextSettings
from wickguard.policy.agree import disagreements
from wickguard.setting import check
from wickguard.telemetry.audit import AuditSettings
from wickguard.units import MIB, spell_bytes
from wickguard.workers.settings import WorkerSettings, usable_cores

_LEAST_BUDGET = 64 * MIB
# As the key file has them.
TENANT_NAME = r"[\w.@-]{1,64}"


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """The server as a whole.

    memory_budget_bytes: all grants together, at least 64M; 0 = half of the machine's memory.
    header_timeout_s: absolute, from the first byte of a connection, or the last of an answer, to the end of the next head.
    max_connections: accepted at once.
    backlog: connections that wait to be accepted.
    drain_s: how long running calls may go on after SIGTERM.
    tls_cert: PEM file; "" for plain HTTP.
    tls_key: PEM file; goes together with tls_cert.
    """

    memory_budget_bytes: Annotated[int, Meta(ge=0, le=1 << 46)] = 0
    header_timeout_s: Annotated[float, Meta(ge=0.1, le=60)] = 10.0
    max_connections: Annotated[int, Meta(ge=1, le=65_536)] = 1024
    backlog: Annotated[int, Meta(ge=1, le=65_536)] = 1024
    drain_s: Annotated[float, Meta(ge=0, le=3600)] = 30.0
    tls_cert: str = ""
    tls_key: str = ""

    def __post_init__(self) -> None:
        check(self)
        if 0 < self.memory_budget_bytes < _LEAST_BUDGET:
            raise SettingError(
                "{} must be 0 or at least 64M", "memory_budget_bytes", seen=spell_bytes(self.memory_budget_bytes)
            )
        if bool(self.tls_cert) != bool(self.tls_key):
            one, other = ("tls_cert", "tls_key") if self.tls_cert else ("tls_key", "tls_cert")
            raise SettingError("{} and {} go together", one, other)

    def memory_bytes(self) -> int:
        """What all grants together may hold: as set, or half of the machine's memory; the rest is for weights, the front
        and whoever else lives here.
        """
        return self.memory_budget_bytes or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


@dataclass(frozen=True, slots=True)
class Policy:
    """All sections; each name is a table of the file, and each tenant a table inside [tenants]."""

    server: ServerSettings = field(default_factory=ServerSettings)
    edge: EdgeSettings = field(default_factory=EdgeSettings)
    identity: IdentitySettings = field(default_factory=IdentitySettings)
    text: TextSettings = field(default_factory=TextSettings)
    image: ImageSettings = field(default_factory=ImageSettings)
    series: SeriesSettings = field(default_factory=SeriesSettings)
    price: PriceSettings = field(default_factory=PriceSettings)
    calibration: CalibrationSettings = field(default_factory=CalibrationSettings)
    learning: LearningSettings = field(default_factory=LearningSettings)
    admission: AdmissionSettings = field(default_factory=AdmissionSettings)
    quota: QuotaPolicy = field(default_factory=QuotaPolicy)
    workers: WorkerSettings = field(default_factory=WorkerSettings)
    audit: AuditSettings = field(default_factory=AuditSettings)
    tenants: Mapping[str, TenantSettings] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for error in disagreements(self):
            raise error

    @property
    def capacity(self) -> float:
        """Compute-seconds per second that all callers share."""
        return self.quota.capacity or float(usable_cores())

    def tenant(self, name: str) -> TenantSettings:
        """What a tenant may use; the defaults for one that the policy does not name."""
        return self.tenants.get(name, _ANY_TENANT)


_ANY_TENANT = TenantSettings()


@dataclass(frozen=True, slots=True)
class Section:
    """A table of the file and the settings class behind it. named: a table for each name, [tenants.alice]."""

    name: str
    kind: type
    named: bool


@functools.cache
def sections() -> tuple[Section, ...]:
    """The sections of a policy, in the order in which they are written."""
    hints = get_type_hints(Policy)
    named = {name: get_origin(hint) is Mapping for name, hint in hints.items()}
    return tuple(Section(name, get_args(hint)[1] if named[name] else hint, named[name]) for name, hint in hints.items())
