"""Takeover: a running server takes a changed policy over, whole or not at all, and loses no request by it.

Decides nothing: policy/reload.py says what may change, assembly.py makes the stages. The files are read and checked in a
thread, and the stages are exchanged between two requests. A request that waits or runs ends as it was admitted, and what
callers have spent stays spent. Promises that a wrong file, or one that needs a restart, changes nothing, is logged, and is
counted. It must not know HTTP.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from wickguard import clock
from wickguard.assembly import Ground, restage
from wickguard.errors import WickguardError
from wickguard.guard.identity import Identity
from wickguard.guard.pipeline import Pipeline
from wickguard.policy.agree import warnings
from wickguard.policy.reload import Change, changes
from wickguard.policy.schema import Policy
from wickguard.telemetry.events import Event, PolicyReloaded

_LOG = logging.getLogger(__name__)


class Takeover:
    """Takes over what `read` finds; one per server. `policy` is the one in force."""

    def __init__(
        self,
        policy: Policy,
        read: Callable[[], Policy],
        pipeline: Pipeline,
        ground: Ground,
        emit: Callable[[Event], None],
    ) -> None:
        self.policy = policy
        self._read = read
        self._pipeline = pipeline
        self._ground = ground
        self._emit = emit

    async def run(self, asked: asyncio.Event) -> None:
        """Take over whenever `asked` is set; until cancelled."""
        while True:
            await asked.wait()
            asked.clear()
            await self.attempt()

    async def attempt(self) -> bool:
        """Take the policy and the key file over as they are now. False when they were refused."""
        try:
            policy, identity, changed = await asyncio.to_thread(self._prepare)
            stages, site = restage(self._pipeline.stages, policy, identity, self._ground)
        except WickguardError as error:
            return self._refuse(str(error))
        except Exception:
            # A mistake of ours must not end a server that runs well.
            _LOG.exception("the policy could not be taken over")
            return self._refuse("internal error; see the log")
        self._pipeline.adopt(stages)
        self.policy = policy
        _LOG.info("policy reloaded: %s; %d keys known", "; ".join(map(str, changed)) or "no key differs", identity.keys)
        for text in warnings(policy):
            _LOG.warning("advice: %s", text)
        self._emit(PolicyReloaded(at=clock.utc(), changed=tuple(change.key for change in changed)))
        self._emit(site.event())
        return True

    def _prepare(self) -> tuple[Policy, Identity, tuple[Change, ...]]:
        policy = self._read()
        changed = changes(self.policy, policy)
        return policy, Identity(policy.identity), changed

    def _refuse(self, why: str) -> bool:
        _LOG.error("policy not reloaded, the old one stays in force: %s", why)
        self._emit(PolicyReloaded(at=clock.utc(), changed=(), refused=why))
        return False
