"""The screen: limits of a policy that a recorded request can be held against by its measured features alone.

Decides as edge, decode and price do, from what the log has of a request: the bytes of its body, its features and its price.
(The server counts before it builds anything; here all is known.) It must not know quotas or queues.
"""

from __future__ import annotations

from collections.abc import Mapping

from wickguard.backtest.recording import Request
from wickguard.modality import image, logits, series, text
from wickguard.modality.image_header import Header, Kind
from wickguard.policy.schema import Policy
from wickguard.records import Quote
from wickguard.rejection import Reason, Rejection


def screen(request: Request, quote: Quote, policy: Policy) -> Rejection | None:
    """The refusal that the request meets before it is asked what it is worth, or None."""
    # A body that has as many bytes as its picture is the picture; else that came inside JSON.
    picture = request.features.get("file_bytes") == request.body_bytes
    most = policy.edge.picture_bytes if picture else policy.edge.max_body_bytes
    if request.body_bytes > most:
        return Rejection(Reason.BODY_TOO_LARGE, "", limit=most, seen=request.body_bytes)
    return _envelope(request.features, policy) or _price(quote, policy)


def _envelope(features: Mapping[str, int], policy: Policy) -> Rejection | None:
    """By the names that each modality gives its features; none but its own has them."""
    if "inputs" in features:
        if features["inputs"] > policy.text.max_inputs:
            return text.too_many_inputs(features["inputs"], policy.text.max_inputs, "")
        longest = features.get("longest_bytes", 0)
        return text.too_long(longest, policy.text.max_text_bytes, "") if longest > policy.text.max_text_bytes else None
    if "width" in features:
        scans = features["scan_pixels"] // max(1, features["width"] * features["height"])
        header = Header(Kind.JPEG, features["width"], features["height"], features["frames"], features["bits"], scans)
        return image.check(header, policy.image, "")
    if "spelled" in features:
        found = logits.LogitsFeatures(**features)
        vocab = found.values // (found.rows * found.tokens)
        limit = logits.LogitsLimit(policy.text.max_inputs, found.tokens, vocab, policy.generation.max_logits_bytes)
        return logits.check(found.rows, found.tokens, limit, "", spelled=found.spelled > 0)
    if "series" in features:
        lengths = [features["longest"]] * features["series"]
        return series.check(lengths, features["horizon"], features["samples"], policy.series)
    return None


def _price(quote: Quote, policy: Policy) -> Rejection | None:
    for limit, seen in (
        (policy.price.max_cpu_s, quote.expected.cpu_s),
        (policy.price.max_bytes, quote.ceiling.peak_bytes),
    ):
        if seen > limit:
            return Rejection(Reason.UNAFFORDABLE, "", limit=limit, seen=seen)
    return None
