"""The screen: limits of a policy that a recorded request can be held against by its measured features alone.

Decides as edge, decode and price do, from what the log has of a request: the bytes of its body, its features and its price.
(The server counts before it builds anything; here all is known.) It must not know quotas or queues.
"""

from __future__ import annotations

from wickguard.backtest.recording import Request
from wickguard.policy.schema import Policy
from wickguard.records import Quote
from wickguard.rejection import Reason, Rejection


def screen(request: Request, quote: Quote, policy: Policy) -> Rejection | None:
    """The refusal that the request meets before it is asked what it is worth, or None."""
    features, price = request.features, policy.price
    for reason, limit, seen in (
        (Reason.BODY_TOO_LARGE, policy.edge.max_body_bytes, request.body_bytes),
        (Reason.BATCH_TOO_LARGE, policy.text.max_inputs, features.get("inputs", 0)),
        (Reason.OUT_OF_ENVELOPE, policy.text.max_text_bytes, features.get("longest_bytes", 0)),
        (Reason.UNAFFORDABLE, price.max_cpu_s, quote.expected.cpu_s),
        (Reason.UNAFFORDABLE, price.max_bytes, quote.ceiling.peak_bytes),
    ):
        if seen > limit:
            return Rejection(reason, "", limit=limit, seen=seen)
    return None
