"""The screen: a recorded request against limits on bytes, envelopes and prices; whatever the endpoint would refuse."""

from __future__ import annotations

import pytest
from tests.fakes import features_of, quote_of

from wickguard.backtest.recording import Happened, Request
from wickguard.backtest.screen import screen
from wickguard.modality import image, image_header, logits, series
from wickguard.policy.load import parse
from wickguard.policy.schema import Policy
from wickguard.records import Caller, Pool
from wickguard.units import MIB

TEXT = features_of("one two three", "four").as_dict()
PICTURE = image.measure(
    image_header.Header(image_header.Kind.JPEG, 400, 100, 1, 24, 3), 20_000, (224, 224)
).as_dict()  # fmt: skip
SERIES = series.measure([30, 50], 12, 20, series.Reach(512, 64)).as_dict()
# 40,000 numbers of at most 16 bytes, and their frame.
LOGITS = logits.measure(2, 20, 1000, spelled=True).as_dict()


def request(features: dict[str, int], body_bytes: int = 2000) -> Request:
    """A recorded one."""
    caller = Caller("key:a", Pool.KEYED, "", "k")
    return Request("r", 0.0, "/x", caller, "m", features, body_bytes, 9.0, None, Happened(None))


@pytest.mark.parametrize("features", [TEXT, PICTURE, SERIES, LOGITS, {}])
def test_a_request_passes_when_the_policy_is_the_default(features: dict[str, int]) -> None:
    """Of every modality, and of one that this version does not know."""
    assert screen(request(features), quote_of(), Policy()) is None


@pytest.mark.parametrize(
    ("features", "text", "reason"),
    [
        (TEXT, "[edge]\nmax_body_bytes = 1024\n", "body_too_large"),
        (TEXT, "[text]\nmax_inputs = 1\n", "batch_too_large"),
        (TEXT, "[text]\nmax_text_bytes = 12\n", "out_of_envelope"),
        (PICTURE | {"file_bytes": 2000}, "[edge]\nmax_picture_bytes = 1999\n", "body_too_large"),
        (PICTURE, "[edge]\nmax_body_bytes = 1999\nmax_picture_bytes = 5000\n", "body_too_large"),
        (PICTURE, "[image]\nmax_pixels = 39999\n", "out_of_envelope"),
        (PICTURE, "[image]\nmax_side = 399\n", "out_of_envelope"),
        (PICTURE, "[image]\nmin_side = 101\n", "out_of_envelope"),
        (PICTURE, "[image]\nmax_aspect = 3.9\n", "out_of_envelope"),
        (PICTURE, "[image]\nmax_scans = 2\n", "out_of_envelope"),
        (SERIES, "[series]\nmax_series = 1\n", "batch_too_large"),
        (SERIES, "[series]\nmax_points = 49\n", "out_of_envelope"),
        (SERIES, "[series]\nmax_horizon = 11\n", "out_of_envelope"),
        (SERIES, "[series]\nmax_samples = 19\n", "out_of_envelope"),
        (SERIES, "[series]\nmax_values = 479\n", "out_of_envelope"),
        (LOGITS, "[text]\nmax_inputs = 1\n", "batch_too_large"),
        (LOGITS, "[generation]\nmax_logits_bytes = 640063\n", "out_of_envelope"),
        ({}, "[price]\nmax_cpu_s = 0.9\n", "unaffordable"),
        ({}, '[price]\nmax_bytes = "4M"\nfloor_bytes = "2M"\n', "unaffordable"),
    ],
)
def test_a_request_is_refused_when_one_limit_is_below_what_it_has(
    features: dict[str, int], text: str, reason: str
) -> None:
    """By one, and for the reason that the server gives."""
    rejection = screen(request(features), quote_of(1.0, 5 * MIB), parse(text, "p.toml"))
    assert rejection is not None
    assert rejection.reason == reason
