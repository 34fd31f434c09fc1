"""Execute: Grant -> Outcome. Runs the call on the backend and lets go of it when nobody waits any more.

Decides nothing. Promises: returns only when the work has stopped, also when the client has left in the meantime (the
backend is told to abandon the call, and what it used is still charged: connect-and-drop is not free). It must not know
processes, slots or HTTP.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from wickguard.backend import Backend, Job
from wickguard.records import Cost, Grant, Outcome, OutcomeKind

_LOG = logging.getLogger(__name__)


async def execute(backend: Backend, grant: Grant, gone: asyncio.Future[None]) -> Outcome:
    """The outcome of the granted call. `gone` completes when the client has left."""
    call = grant.call
    job = Job(call.id, call.model, call.payload, grant.limits, grant.lane)
    running = asyncio.ensure_future(_run(backend, job))
    either: set[asyncio.Future[Any]] = {running, gone}
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    if not running.done():
        backend.abandon(call.id)
    return await running


async def _run(backend: Backend, job: Job) -> Outcome:
    try:
        return await backend.execute(job)
    except Exception:
        # The backend has broken its promise. The call still ends and is settled: a hold that is lost is lost for good.
        _LOG.exception("the backend raised while it ran %s", job.call_id)
        return Outcome(OutcomeKind.FAILED, Cost(0.0, 0.0, 0), detail="the backend raised an exception")
