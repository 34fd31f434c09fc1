"""The policy: sections of one file, each the settings of the module that owns them.

Decides the names of the sections and the settings that belong to the server as a whole. Each settings type checks its own
ranges when it is made; this file only composes. It must not know files.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from wickguard.cost.analytic import PriceSettings
from wickguard.cost.calibration import CalibrationSettings
from wickguard.errors import ConfigError
from wickguard.guard.admit import AdmissionSettings
from wickguard.guard.edge import EdgeSettings
from wickguard.guard.identity import IdentitySettings
from wickguard.modality.text import TextSettings
from wickguard.telemetry.audit import AuditSettings
from wickguard.units import MIB
from wickguard.workers.settings import WorkerSettings


def default_memory_budget() -> int:
    """Half of the machine's memory: the rest is for weights, the front and whoever else lives here."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """The server as a whole.

    memory_budget_bytes: all grants together. header_timeout_s: absolute, from the first byte of a connection or the end
    of the last answer to the end of the next head. max_connections: accepted at once. tls_cert, tls_key: PEM files.
    drain_s: how long running calls may go on after SIGTERM.
    """

    memory_budget_bytes: int = field(default_factory=default_memory_budget)
    header_timeout_s: float = 10.0
    max_connections: int = 1024
    backlog: int = 1024
    drain_s: float = 30.0
    tls_cert: str = ""
    tls_key: str = ""

    def __post_init__(self) -> None:
        if self.memory_budget_bytes < 64 * MIB:
            raise ConfigError(f"memory_budget_bytes must be at least 64M, not {self.memory_budget_bytes}")
        if not 0.1 <= self.header_timeout_s <= 60:
            raise ConfigError(f"header_timeout_s must be 0.1 to 60, not {self.header_timeout_s}")
        if not 1 <= self.max_connections <= 65536 or not 1 <= self.backlog <= 65536:
            raise ConfigError("max_connections and backlog must be 1 to 65536")
        if not 0 <= self.drain_s <= 3600:
            raise ConfigError(f"drain_s must be 0 to 3600, not {self.drain_s}")
        if bool(self.tls_cert) != bool(self.tls_key):
            raise ConfigError("tls_cert and tls_key go together")


@dataclass(frozen=True, slots=True)
class Policy:
    """All sections; each name is a table of the file."""

    server: ServerSettings = field(default_factory=ServerSettings)
    edge: EdgeSettings = field(default_factory=EdgeSettings)
    identity: IdentitySettings = field(default_factory=IdentitySettings)
    text: TextSettings = field(default_factory=TextSettings)
    price: PriceSettings = field(default_factory=PriceSettings)
    calibration: CalibrationSettings = field(default_factory=CalibrationSettings)
    admission: AdmissionSettings = field(default_factory=AdmissionSettings)
    workers: WorkerSettings = field(default_factory=WorkerSettings)
    audit: AuditSettings = field(default_factory=AuditSettings)

    def __post_init__(self) -> None:
        if self.price.max_bytes > self.workers.max_grant_bytes:
            raise ConfigError("price.max_bytes must not exceed workers.max_grant_bytes: such a call could never run")
        if self.price.max_bytes > self.server.memory_budget_bytes:
            raise ConfigError("price.max_bytes must not exceed server.memory_budget_bytes: such a call could never run")
