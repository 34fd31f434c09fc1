"""Problem details (RFC 9457): errors of routes that belong to no other API."""

from __future__ import annotations

import msgspec

from wickguard.dialect.openai import particulars, sentence
from wickguard.rejection import Rejection


def render_rejection(rejection: Rejection, request_id: str) -> tuple[bytes, bytes]:
    """(content type, body) of a problem document."""
    meaning = rejection.meaning
    body = {
        "type": f"about:blank#{rejection.reason}",
        "title": meaning.title,
        "status": meaning.status,
        "detail": sentence(rejection),
        "code": str(rejection.reason),
        "field": rejection.field,
        **particulars(rejection),
        "request_id": request_id,
    }
    return b"application/problem+json", msgspec.json.encode(body)
