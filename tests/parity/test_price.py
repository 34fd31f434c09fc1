"""The analytic price against the engine itself: same operations, and never less memory than a call really takes."""

from __future__ import annotations

import pytest
import wickguard_engine as engine

from wickguard.backend import ModelSpec
from wickguard.cost import analytic
from wickguard.cost.quote import priced_analytically, quote
from wickguard.guard.embedding import token_bound
from wickguard.modality import text
from wickguard.models import demo_models

FIELDS = [name for name in ModelSpec.__dataclass_fields__ if name != "name"]
BATCHES = {
    "one character": ["a"],
    "one sentence": ["The quick brown fox jumps over the lazy dog."],
    "many short": ["a b c"] * 64,
    "one at the limit": ["word " * 600],
    "many at the limit": ["word " * 510] * 8,
    "long words": ["x" * 5000] * 4,
    "no spaces needed": ["。" * 400] * 3,
    "expanding": ["\u0958" * 300] * 2,
    "far beyond the limit": ["word " * 10_000] * 2,
}


@pytest.fixture(scope="module")
def model() -> engine.Embedder:
    """MiniLM."""
    return engine.load(str(demo_models()[0].path))


@pytest.fixture(scope="module")
def spec(model: engine.Embedder) -> ModelSpec:
    """Its shape, as the guard knows it."""
    return ModelSpec("m", **{name: getattr(model.spec, name) for name in FIELDS})


@pytest.mark.parametrize("lengths", [[3], [128], [512] * 8, [16] * 64])
def test_operations_are_the_engines_when_counted_from_features(
    model: engine.Embedder, spec: ModelSpec, lengths: list[int]
) -> None:
    """Both formulas count the same multiply-adds."""
    squares = sum(length * length for length in lengths)
    assert analytic.flops(spec, sum(lengths), squares) == model.flops(lengths)


@pytest.mark.parametrize("batch", BATCHES.values(), ids=BATCHES)
def test_call_takes_no_more_memory_than_quoted_when_it_runs(
    model: engine.Embedder, spec: ModelSpec, batch: list[str]
) -> None:
    """The ledger's peak of a real call stays under the reserved bytes, which are under the grant."""
    features = text.measure(batch, token_bound(spec))
    found = quote(priced_analytically(spec, 1e10), features, analytic.PriceSettings())
    before = engine.ledger().current
    engine.reset_peak()
    embedded = model.embed(batch, truncate=True)
    peak = engine.ledger().peak - before
    assert peak <= found.reserve.peak_bytes <= found.ceiling.peak_bytes
    assert sum(embedded.tokens) <= features.token_bound
