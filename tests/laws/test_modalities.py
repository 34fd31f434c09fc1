"""Laws of pictures, series and tensors: measuring gives back what was synthesized, prices never fall when a feature grows."""

from __future__ import annotations

import dataclasses
import math

from hypothesis import given
from hypothesis import strategies as st
from tests.fakes import WRITER

from wickguard.backend import ImageShape, ModelSpec, SeriesShape, Task
from wickguard.cost.analytic import PriceSettings
from wickguard.cost.quote import priced_analytically, quote
from wickguard.modality import image, image_header, logits, series
from wickguard.modality.tensor import PixelFeatures
from wickguard.records import Features, Quote
from wickguard.units import MIB

NUMBERS = {
    "architecture": "x", "layers": 4, "hidden": 64, "heads": 4, "intermediate": 128, "vocab": 0, "max_tokens": 0,
    "dimensions": 10, "parameters": 1, "weight_bytes": 1, "token_expansion": 0.0, "special_tokens": 0,
}  # fmt: skip
DIGITS = ModelSpec("digits", task=Task.CLASSIFY, image=ImageShape(32, 32, ("a", "b"), 20_000_000, 200_000), **NUMBERS)  # type: ignore[arg-type]
CHRONOS = ModelSpec("chronos", task=Task.FORECAST, series=SeriesShape(192, 32, 3, 3, 64, 64, 192, 512, 20), **NUMBERS)  # type: ignore[arg-type]
REACH = series.Reach(192, 32)
SETTINGS = PriceSettings(max_cpu_s=3600, max_bytes=1 << 40)
SPEED = 1e10


def quoted(spec: ModelSpec, features: Features) -> Quote:
    """The price of such a call on a machine of a known speed."""
    return quote(priced_analytically(spec, SPEED), features, SETTINGS)


@given(st.integers(1, 300), st.integers(1, 300), st.tuples(st.integers(1, 512), st.integers(1, 512)))
def test_picture_has_the_size_it_was_made_with_when_its_header_is_measured(
    width: int, height: int, size: tuple[int, int]
) -> None:
    """The round trip: a synthesized picture is honest."""
    file = image.synthesize(width, height)
    header = image_header.read(file)
    assert isinstance(header, image_header.Header)
    found = image.measure(header, len(file), size)
    assert (found.width, found.height, found.file_bytes, found.frames) == (width, height, len(file), 1)
    assert found.scan_pixels == width * height


@given(st.lists(st.integers(1, 500), min_size=1, max_size=8), st.integers(1, 100), st.integers(1, 50))
def test_series_have_the_points_they_were_made_with_when_they_are_measured(
    lengths: list[int], horizon: int, samples: int
) -> None:
    """The round trip; and what is looked at is never more than the model's context and its end token."""
    made = series.synthesize(lengths)
    assert all(math.isfinite(value) for one in made for value in one)
    found = series.measure([len(one) for one in made], horizon, samples, REACH)
    assert (found.series, found.points, found.longest) == (len(lengths), sum(lengths), max(lengths))
    assert found.looked_at <= len(lengths) * 193
    assert found.longest_looked_at <= found.looked_at


def rises(low: Quote, high: Quote) -> bool:
    """Whether no part of the price falls."""
    pairs = ((low.expected, high.expected), (low.reserve, high.reserve), (low.ceiling, high.ceiling))
    return all(a.cpu_s <= b.cpu_s and a.peak_bytes <= b.peak_bytes for a, b in pairs)


COUNTS = st.integers(1, 5000)


@given(
    st.tuples(*[COUNTS] * 5),
    st.sampled_from(["file_bytes", "width", "height", "scan_pixels", "planned_pixels"]),
    COUNTS,
)
def test_price_of_a_picture_never_falls_when_a_feature_grows(numbers: tuple[int, ...], name: str, more: int) -> None:
    """Law 5, for each feature alone; and nothing is free."""
    low = image.ImageFeatures(*numbers, 24, 1)  # type: ignore[call-arg]
    high = dataclasses.replace(low, **{name: getattr(low, name) + more})
    quotes = [quoted(DIGITS, features) for features in (low, high)]
    assert rises(*quotes)
    assert quotes[0].expected.cpu_s > 0
    assert quotes[0].expected.cpu_s <= quotes[0].reserve.cpu_s <= quotes[0].ceiling.cpu_s


@given(COUNTS, COUNTS, st.sampled_from(["images", "value_bytes"]))
def test_price_of_pixels_never_falls_when_a_feature_grows(count: int, more: int, name: str) -> None:
    """Law 5."""
    low = PixelFeatures(count, count * 12_288)
    high = dataclasses.replace(low, **{name: getattr(low, name) + more})
    assert rises(*(quoted(DIGITS, features) for features in (low, high)))


@given(st.tuples(*[COUNTS] * 5), st.sampled_from(["rows", "tokens", "values", "spelled", "token_bound"]), COUNTS)
def test_price_of_logits_never_falls_when_a_feature_grows(numbers: tuple[int, ...], name: str, more: int) -> None:
    """Law 5, for each feature alone; and nothing is free."""
    low = logits.LogitsFeatures(*numbers)  # type: ignore[call-arg]
    high = dataclasses.replace(low, **{name: getattr(low, name) + more})
    quotes = [quoted(WRITER, features) for features in (low, high)]
    assert rises(*quotes)
    assert 0 < quotes[0].expected.cpu_s <= quotes[0].reserve.cpu_s <= quotes[0].ceiling.cpu_s


@given(st.integers(1, 64), st.integers(1, 1024), st.booleans())
def test_no_logits_inside_the_envelope_are_dearer_than_the_dearest_when_they_pass(
    rows: int, tokens: int, spelled: bool
) -> None:
    """`largest` is what quotas must be able to hold."""
    limit = logits.LogitsLimit(64, WRITER.max_tokens, WRITER.vocab, 8 * MIB)
    if logits.check(rows, tokens, limit, "x", spelled=spelled) is not None:
        return
    found = quoted(WRITER, logits.measure(rows, tokens, WRITER.vocab, spelled=spelled))
    assert found.expected.cpu_s <= quoted(WRITER, logits.largest(limit)).expected.cpu_s


@given(
    st.lists(st.integers(1, 400), min_size=1, max_size=6), st.integers(1, 200), st.integers(1, 100), st.integers(1, 200),
    st.integers(1, 100), st.lists(st.integers(0, 400), max_size=3),
)  # fmt: skip
def test_price_of_a_forecast_never_falls_when_it_asks_for_more(
    lengths: list[int], horizon: int, samples: int, longer: int, more: int, others: list[int]
) -> None:
    """Law 5: a longer horizon, more samples, more series, longer series."""
    low = quoted(CHRONOS, series.measure(lengths, horizon, samples, REACH))
    for asked in (
        (lengths, horizon + longer, samples),
        (lengths, horizon, samples + more),
        (lengths + [1 + length for length in others], horizon, samples),
        ([length + longer for length in lengths], horizon, samples),
    ):
        assert rises(low, quoted(CHRONOS, series.measure(*asked, REACH)))
    assert 0 < low.expected.cpu_s <= low.reserve.cpu_s <= low.ceiling.cpu_s


@given(st.integers(1, 8192), st.integers(1, 8192), st.integers(1, 32), st.integers(0, 1 << 20))
def test_no_picture_inside_the_envelope_is_dearer_than_the_dearest_when_it_passes(
    width: int, height: int, scans: int, file_bytes: int
) -> None:
    """`largest` is what quotas must be able to hold."""
    settings = image.ImageSettings()
    header = image_header.Header(image_header.Kind.JPEG, width, height, 1, 24, scans)
    if image.check(header, settings, "x") is not None:
        return
    found = quoted(DIGITS, image.measure(header, file_bytes, (32, 32)))
    most = quoted(DIGITS, image.largest(settings, 1 << 20, (32, 32)))
    assert found.expected.cpu_s <= most.expected.cpu_s


@given(st.lists(st.integers(1, 16_384), min_size=1, max_size=64), st.integers(1, 512), st.integers(1, 200))
def test_no_forecast_inside_the_envelope_is_dearer_than_the_dearest_when_it_passes(
    lengths: list[int], horizon: int, samples: int
) -> None:
    """The same for series."""
    settings = series.SeriesSettings()
    if series.check(lengths, horizon, samples, settings) is not None:
        return
    found = quoted(CHRONOS, series.measure(lengths, horizon, samples, REACH))
    most = quoted(CHRONOS, series.largest(settings, REACH))
    assert found.expected.cpu_s <= most.expected.cpu_s
