"""Execute: Grant -> Outcome. Runs the call on the backend and lets go of it when nobody waits any more.

Decides nothing. Promises: returns only when the work has stopped, also when the client has left in the meantime (the
backend is told to abandon the call, and what it used is still charged: connect-and-drop is not free). It must not know
processes, slots or HTTP.
"""

from __future__ import annotations

import asyncio
import logging

from wickguard.backend import Backend, Job, Sink
from wickguard.records import Cost, Grant, Outcome, OutcomeKind

_LOG = logging.getLogger(__name__)


async def execute(backend: Backend, grant: Grant, gone: asyncio.Future[None], sink: Sink | None = None) -> Outcome:
    """The outcome of the granted call. `gone` completes when the client has left; `sink` takes pieces of the answer."""
    call = grant.call

    def abandon(_: asyncio.Future[None]) -> None:
        backend.abandon(call.id)

    gone.add_done_callback(abandon)
    try:
        quote = grant.quote
        job = Job(
            call.id, call.model, call.payload, grant.limits, grant.lane, grant.trial, quote.expected.cpu_s, grant.company,
            quote.shared_s,
        )  # fmt: skip
        return await backend.execute(job, sink)
    except Exception:
        # The backend has broken its promise. The call still ends and is settled: a hold that is lost is lost for good.
        _LOG.exception("the backend raised while it ran %s", call.id)
        return Outcome(OutcomeKind.FAILED, Cost(0.0, 0.0, 0), detail="the backend raised an exception")
    finally:
        gone.remove_done_callback(abandon)
