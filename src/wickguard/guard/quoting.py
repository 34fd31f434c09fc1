"""Quoting: what a call would cost, and whether it would be admitted now, without running it.

A quote is asked for with the very body of the call it is about: `{"route": "/v1/embeddings", "request": {...}}`. It is decoded,
measured and priced by the stages that would serve it, so that a quote can't promise what the server does not keep. Decides the
spelling of the question and of the answer. It must not know prices or queues.
"""

from __future__ import annotations

import dataclasses

import msgspec

from wickguard.dialect.decoding import decode
from wickguard.dialect.openai import particulars
from wickguard.guard.admit import Allowance, Prospect
from wickguard.guard.routes import ROUTES, Route, Service
from wickguard.records import Call, Cost, Quote, RawRequest
from wickguard.rejection import Reason, Rejection


class QuoteRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST /v1/quote."""

    route: str
    request: msgspec.Raw


_REQUEST = msgspec.json.Decoder(QuoteRequest)


def unwrap(raw: RawRequest) -> tuple[RawRequest, Route] | Rejection:
    """The request that a quote is asked for, and its route."""
    asked = decode(_REQUEST, raw.body)
    if isinstance(asked, Rejection):
        return asked
    route = ROUTES.get(asked.route)
    if route is None or not route.inference or route.service is Service.QUOTE:
        priced = [path for path, found in ROUTES.items() if found.inference and found.service is not Service.QUOTE]
        return Rejection(Reason.UNKNOWN_ROUTE, "nothing to quote", "route", accepted=", ".join(priced))
    return dataclasses.replace(raw, route=route.path, body=bytes(asked.request)), route


def render(call: Call, quote: Quote, prospect: Prospect, allowance: Allowance | None) -> bytes:
    """The answer: features, price, what would be reserved and granted, and what admission would say now."""
    refusal = prospect.rejection
    body = {
        "object": "quote",
        "model": call.model,
        "features": call.features.as_dict(),
        "expected": _cost(quote.expected),
        "reserve_s": round(prospect.reserve_s, 6),
        "grant": _cost(quote.ceiling),
        "lane": quote.lane,
        "admitted": refusal is None,
        "wait_s": round(prospect.wait_s, 3),
        "refusal": None if refusal is None else {
            "code": refusal.reason, "status": refusal.meaning.status, "title": refusal.meaning.title, **particulars(refusal),
        },
        "quota": None if allowance is None else {
            "available_s": round(allowance.available_s, 3), "most_s": round(allowance.depth_s, 3),
            "refill_s_per_s": round(allowance.rate, 6),
        },
    }  # fmt: skip
    return msgspec.json.encode(body)


def _cost(cost: Cost) -> dict[str, float]:
    return {"cpu_s": round(cost.cpu_s, 6), "wall_s": round(cost.wall_s, 6), "peak_bytes": cost.peak_bytes}
