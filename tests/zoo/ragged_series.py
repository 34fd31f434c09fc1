"""Ragged series: a batch of series is padded to the longest, so one long series makes all the short ones as dear as itself.

A forecaster's version of the padding of texts; the product of count and longest is never checked, although both are. The
twin computes each series at its own length.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated

import msgspec
from tests.zoo.manifest import Manifest
from tests.zoo.program import main
from tests.zoo.service import MODEL, Embeddings, Job, Refusal, Result, parsed
from tests.zoo.wire import Answer

MANIFEST = Manifest(
    name="ragged_series",
    defect="a batch of series costs count x longest",
    twin="each series costs its own length",
    cases=("S07",),
    oracles=("slope", "twin"),
    cwe=(405,),
    pattern="F5",
    exponent=2.0,
    path="/v1/forecast",
)


class ForecastBody(msgspec.Struct, forbid_unknown_fields=True):
    """POST /v1/forecast. Numbers only; JSON has none that are not finite."""

    series: list[list[float]]
    horizon: Annotated[int, msgspec.Meta(ge=1, le=256)]
    model: str = MODEL
    num_samples: Annotated[int, msgspec.Meta(ge=1, le=100)] = 1


class Forecaster(Embeddings):
    """The sound server: the last value again, after a model's worth of work."""

    def routes(self) -> dict[str, str]:
        """The one inference route."""
        return {MANIFEST.path: "openai"}

    def decode(self, body: bytes, dialect: str) -> Job:
        """Typed, unknown fields refused. Raises Refusal."""
        asked = parsed(body, ForecastBody)
        if asked.model != MODEL:
            raise Refusal(404, "no such model")
        # A job has whole numbers; of a series only the length is worked for.
        return Job([list(map(hash, one)) for one in asked.series], dimensions=asked.horizon)

    def encode(self, job: Job, result: Result) -> Answer:
        """A list of as many steps as the horizon for each series."""
        data = [{"index": index, "mean": vector} for index, vector in enumerate(result.vectors)]
        return Answer(200, json.dumps({"object": "list", "data": data, "model": MODEL}).encode())


class Padded(Forecaster):
    """Padded to the longest."""

    def model_tokens(self, counts: Sequence[int]) -> int:
        """Positions of the padded batch."""
        return max(counts) * len(counts)


def make(sound: bool) -> Embeddings:
    """The server."""
    return Forecaster() if sound else Padded()


if __name__ == "__main__":
    main(make)
