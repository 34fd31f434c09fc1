"""Rejections: every way to say no, and one table of what each means to the caller.

Decides the HTTP status, whether a retry can help, and the stable machine code. A deterministic refusal (bad bytes, out
of envelope) is never marked retryable: a client library that retries it would triple the attack for free. Promises that
the table is total (tests/laws). It must not know dialects: how a rejection is spelled on the wire is their business.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import msgspec


class Reason(StrEnum):
    """Why a request was not served. The value is the machine code in error bodies, metrics and the audit log."""

    MALFORMED = "malformed"
    UNKNOWN_FIELD = "unknown_field"
    UNSUPPORTED_FIELD = "unsupported_field"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    UNKNOWN_ROUTE = "unknown_route"
    UNKNOWN_MODEL = "unknown_model"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    BODY_TIMEOUT = "body_timeout"
    BODY_INCOMPLETE = "body_incomplete"
    LENGTH_REQUIRED = "length_required"
    BODY_TOO_LARGE = "body_too_large"
    BATCH_TOO_LARGE = "batch_too_large"
    URI_TOO_LONG = "uri_too_long"
    UNSUPPORTED_ENCODING = "unsupported_encoding"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    EXPECTATION_FAILED = "expectation_failed"
    OUT_OF_ENVELOPE = "out_of_envelope"
    TOO_MANY_TOKENS = "too_many_tokens"
    UNAFFORDABLE = "unaffordable"
    DEADLINE_INFEASIBLE = "deadline_infeasible"
    HEADERS_TOO_LARGE = "headers_too_large"
    OVER_SHARE = "over_share"
    OVER_QUOTA = "over_quota"
    BEYOND_QUOTA = "beyond_quota"
    GROUP_EXHAUSTED = "group_exhausted"
    POISONED = "poisoned"
    OWN_CIRCUIT_OPEN = "own_circuit_open"
    CIRCUIT_OPEN = "circuit_open"
    OVERLOADED = "overloaded"
    TOO_MANY_BYTES_IN_FLIGHT = "too_many_bytes_in_flight"
    DRAINING = "draining"
    NOT_READY = "not_ready"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    CPU_EXCEEDED = "cpu_exceeded"
    MEMORY_EXCEEDED = "memory_exceeded"
    WORKER_CRASHED = "worker_crashed"
    INTERNAL = "internal"
    CLIENT_GONE = "client_gone"


@dataclass(frozen=True, slots=True)
class Meaning:
    """One row: HTTP status, whether the same request can succeed later, whether the connection is closed, a title."""

    status: int
    retryable: bool
    close: bool
    title: str


MEANINGS: dict[Reason, Meaning] = {
    Reason.MALFORMED: Meaning(400, False, False, "the request is not well-formed"),
    Reason.UNKNOWN_FIELD: Meaning(400, False, False, "a field is unknown"),
    Reason.UNSUPPORTED_FIELD: Meaning(400, False, False, "a field asks for something that is not offered"),
    Reason.UNAUTHENTICATED: Meaning(401, False, False, "a valid API key is needed"),
    Reason.FORBIDDEN: Meaning(403, False, False, "this caller may not do this"),
    Reason.UNKNOWN_ROUTE: Meaning(404, False, True, "no such route"),
    Reason.UNKNOWN_MODEL: Meaning(404, False, False, "no such model"),
    Reason.METHOD_NOT_ALLOWED: Meaning(405, False, True, "the route does not take this method"),
    Reason.BODY_TIMEOUT: Meaning(408, False, True, "the body came too slowly"),
    Reason.BODY_INCOMPLETE: Meaning(400, False, True, "the body broke off, or its framing is wrong"),
    Reason.LENGTH_REQUIRED: Meaning(411, False, True, "a Content-Length is required"),
    Reason.BODY_TOO_LARGE: Meaning(413, False, True, "the body is too large"),
    Reason.BATCH_TOO_LARGE: Meaning(413, False, False, "the batch holds too many inputs"),
    Reason.URI_TOO_LONG: Meaning(414, False, True, "the request target is too long"),
    Reason.UNSUPPORTED_ENCODING: Meaning(415, False, True, "compressed bodies are not accepted"),
    Reason.UNSUPPORTED_MEDIA_TYPE: Meaning(415, False, True, "the media type is not accepted"),
    Reason.EXPECTATION_FAILED: Meaning(417, False, True, "the expectation can't be met"),
    Reason.OUT_OF_ENVELOPE: Meaning(422, False, False, "an input is outside the model's limits"),
    Reason.TOO_MANY_TOKENS: Meaning(422, False, False, "an input has more tokens than the model takes"),
    Reason.UNAFFORDABLE: Meaning(422, False, False, "the call needs more than any call may have"),
    Reason.DEADLINE_INFEASIBLE: Meaning(422, False, False, "the call can't finish in the time it allows itself"),
    Reason.HEADERS_TOO_LARGE: Meaning(431, False, True, "the headers are too large"),
    Reason.OVER_SHARE: Meaning(429, True, False, "the caller has as much work waiting as it may have"),
    Reason.OVER_QUOTA: Meaning(429, True, False, "the caller has used up its quota for now"),
    Reason.BEYOND_QUOTA: Meaning(422, False, False, "the call needs more than the caller's quota ever holds"),
    Reason.GROUP_EXHAUSTED: Meaning(503, True, False, "callers of this kind have used what they may have together"),
    Reason.POISONED: Meaning(422, False, False, "this exact request has ended its worker before and is not run again"),
    Reason.OWN_CIRCUIT_OPEN: Meaning(429, True, False, "calls like this by this caller have failed too often"),
    Reason.CIRCUIT_OPEN: Meaning(503, True, False, "calls like this have failed too often for several callers"),
    Reason.OVERLOADED: Meaning(503, True, False, "the server has as much work waiting as it can finish in time"),
    Reason.TOO_MANY_BYTES_IN_FLIGHT: Meaning(503, True, True, "the server is receiving as many bytes as it may hold"),
    Reason.DRAINING: Meaning(503, True, True, "the server is shutting down"),
    Reason.NOT_READY: Meaning(503, True, False, "the model is not ready"),
    Reason.DEADLINE_EXCEEDED: Meaning(504, False, False, "the call did not finish before its deadline"),
    Reason.CPU_EXCEEDED: Meaning(422, False, False, "the call used all the CPU time it was granted and was stopped"),
    Reason.MEMORY_EXCEEDED: Meaning(422, False, False, "the call used all the memory it was granted and was stopped"),
    Reason.WORKER_CRASHED: Meaning(500, False, False, "the worker process ended unexpectedly"),
    Reason.INTERNAL: Meaning(500, False, False, "the server made a mistake"),
    Reason.CLIENT_GONE: Meaning(499, False, True, "the client went away"),
}


class Rejection(msgspec.Struct, frozen=True, gc=False):
    """A refusal with what the caller needs to do better: which limit, what was seen, what would be accepted. (A struct, because
    floods are made of them.)

    field: where in the request, e.g. "input[3]". limit and seen are numbers with `unit`. retry_after_s is set exactly for
    retryable reasons.
    """

    reason: Reason
    detail: str
    field: str | None = None
    limit: float | None = None
    seen: float | None = None
    unit: str | None = None
    accepted: str | None = None
    retry_after_s: float | None = None

    @property
    def meaning(self) -> Meaning:
        """The row of the table for this reason."""
        return MEANINGS[self.reason]
