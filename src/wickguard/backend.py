"""Backend: the narrow waist between the guard and whatever does the work.

The guard knows this protocol and nothing of processes; the worker pool implements it; so can an upstream server. It
promises: `execute` returns exactly one Outcome, only once the work has stopped (process idle or reaped), and never raises
for anything a request or a worker did. Cancelling `execute` is not a way to stop work: `abandon` is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, Protocol

import msgspec

from wickguard.records import Company, Cost, Lane, Outcome


class Task(StrEnum):
    """What a model does with an input; each has an endpoint, a payload, a result and a price of its own."""

    EMBED = "embed"
    GENERATE = "generate"
    CLASSIFY = "classify"
    FORECAST = "forecast"


@dataclass(frozen=True, slots=True)
class ImageShape:
    """What a classifier of images sees and says. height, width: of the input, in pixels. flops: of one image.

    network_bytes: memory that one prepared image takes, its values included.
    """

    height: int
    width: int
    labels: tuple[str, ...]
    flops: int
    network_bytes: int


@dataclass(frozen=True, slots=True)
class SeriesShape:
    """An encoder-decoder that forecasts. context: points it looks at. piece: steps it forecasts at once. inner: columns of
    all attention heads together. samples: drawn when a request says nothing.
    """

    context: int
    piece: int
    encoder_layers: int
    decoder_layers: int
    hidden: int
    inner: int
    intermediate: int
    vocab: int
    samples: int


@dataclass(frozen=True, slots=True)
class WriterShape:
    """A decoder that writes. kv_heads, head_width: the shape of its cache of keys and values.

    chat_tokens: what its chat template makes of one empty message; message_tokens: the most that one more adds. None: its
    template refuses plain conversations.
    """

    kv_heads: int
    head_width: int
    chat_tokens: int | None
    message_tokens: int | None


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What the guard may know of a model: its shape, for envelope and price. Counts unless named otherwise; 0 for what a
    model of another task has not.

    token_expansion: most tokens one byte of input can become. special_tokens: added to every text. max_tokens: of one text; of
    prompt and answer together for a model that writes. image, series, writer: the shape of a model of these tasks.
    """

    name: str
    architecture: str
    layers: int
    hidden: int
    heads: int
    intermediate: int
    vocab: int
    max_tokens: int
    dimensions: int
    parameters: int
    weight_bytes: int
    token_expansion: float
    special_tokens: int
    task: Task = Task.EMBED
    image: ImageShape | None = None
    series: SeriesShape | None = None
    writer: WriterShape | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """One call as the backend sees it: which model, what to run, under which limits, in which lane.

    trial: it may be poison; its worker ends with it, whatever happens. expected_s: CPU-seconds that it is expected to take.
    company: the calls that share its slot. shared_s: of expected_s, what is done once for all of them.
    """

    call_id: str
    model: str
    payload: bytes
    limits: Cost
    lane: Lane
    trial: bool = False
    expected_s: float = 0.0
    company: Company | None = None
    shared_s: float = 0.0


class EmbedPayload(
    msgspec.Struct, frozen=True, tag="embed", tag_field="task", forbid_unknown_fields=True, omit_defaults=True
):
    """What a worker is asked: `inputs` are all texts or all lists of token ids; `encoding` is how vectors are spelled.

    special_tokens: put around token ids, which bring their own otherwise.
    """

    inputs: list[str | list[int]]
    truncate: bool
    normalize: bool
    encoding: Literal["float", "base64"]
    special_tokens: bool = True


class EmbedResult(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a worker answers: `vectors` are JSON fragments ([0.1,...] or "base64"), `tokens` counts per input."""

    vectors: list[bytes]
    tokens: list[int]


class ClassifyPayload(msgspec.Struct, frozen=True, tag="classify", tag_field="task", forbid_unknown_fields=True):
    """A picture file, the pixels that it may have, and how many of the likeliest classes are wanted."""

    image: bytes
    max_pixels: int
    top_k: int


class PixelsPayload(msgspec.Struct, frozen=True, tag="pixels", tag_field="task", forbid_unknown_fields=True):
    """Prepared images for a classifier: little-endian f32, images x 3 x height x width. encoding: of the logits."""

    pixel_values: bytes
    encoding: Literal["json", "raw"]


class ClassifyResult(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`data` is a JSON list of {"index", "label", "score"}, the likeliest class first."""

    data: bytes


class LogitsPayload(msgspec.Struct, frozen=True, tag="logits", tag_field="task", forbid_unknown_fields=True):
    """Token ids for a model that writes: little-endian i64, so many rows of the same length. encoding: of the logits."""

    input_ids: bytes
    rows: int
    encoding: Literal["json", "raw"]


class LogitsResult(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """`logits`, images x classes, or rows x tokens x vocabulary: JSON numbers between commas, or little-endian f32.

    tokens: how many were read, of a model that reads tokens.
    """

    logits: bytes
    tokens: list[int] = []


class ForecastPayload(msgspec.Struct, frozen=True, tag="forecast", tag_field="task", forbid_unknown_fields=True):
    """Series as little-endian f32, NaN where a value is missing; None for what the model's own configuration says.

    quantiles: in 0 to 1, ascending. return_samples: whether the drawn continuations belong to the answer. encoding: a summary
    per series, or nothing but samples as JSON numbers between commas or little-endian f32.
    """

    series: list[bytes]
    horizon: int
    num_samples: int
    quantiles: list[float]
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    seed: int = 0
    return_samples: bool = False
    encoding: Literal["summary", "json", "raw"] = "summary"


class ForecastResult(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`data` holds a JSON object per series: {"index", "mean", "quantiles"}, and "samples" if they were wanted; or the samples
    of all.
    """

    data: list[bytes]


class GeneratePayload(msgspec.Struct, frozen=True, tag="generate", tag_field="task", forbid_unknown_fields=True):
    """A prompt, as text or token ids, or a conversation of (role, content) in its place, and how it is to be continued.

    prompt_tokens: the most that the prompt may turn out to have; memory was reserved for so many. max_tokens: of the answer;
    `clip`: fewer if the model has no room for so many. top_k 0: no limit. stream: hand the text on as it comes into being.
    to_the_end: don't stop where the model would, so that what is measured has a known size; no request can ask for it.
    """

    prompt: str | list[int]
    messages: list[tuple[str, str]]
    prompt_tokens: int
    max_tokens: int
    clip: bool = False
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0
    stop: list[str] = []
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    stream: bool = False
    to_the_end: bool = False


class GenerateResult(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`text` is the whole answer, empty if it was handed on in pieces. `tokens`: of the prompt, and of the answer."""

    text: str
    finish: Literal["stop", "length"]
    tokens: tuple[int, int]


class GenerateBatch(msgspec.Struct, frozen=True, tag="generate_batch", tag_field="task", forbid_unknown_fields=True):
    """Calls whose answers are written together. Each piece begins with a byte: the index of the call that it belongs to."""

    jobs: list[GeneratePayload]


class Refusal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why a worker refused its payload (Outcome.detail of REFUSED_BY_WORKER, as JSON); `reason` is a Reason value."""

    reason: str
    detail: str
    field: str | None = None
    limit: float | None = None
    seen: float | None = None


class GenerateBatchResult(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """For each call of a batch in order: its result, or why it was refused while the others went on.

    shares: of the work, what each was the cause of; in no particular unit.
    """

    results: list[GenerateResult | None]
    refusals: list[Refusal | None]
    shares: list[float]


Sink = Callable[[bytes], bool]
"""Takes a piece of an answer while the call still runs. False: it takes no more, and the call is stopped."""


class Backend(Protocol):
    """Runs jobs. One instance serves all models of a server."""

    @property
    def models(self) -> dict[str, ModelSpec]:
        """The models that are loaded, by name."""
        ...

    async def execute(self, job: Job, sink: Sink | None = None) -> Outcome:
        """Run `job`; return how it ended, after it has stopped. A job that streams needs a `sink` for its pieces."""
        ...

    def abandon(self, call_id: str) -> None:
        """Nobody waits for this call any more: stop it soon. Idempotent; unknown ids are ignored."""
        ...

    def ready(self, model: str) -> bool:
        """Whether a worker of `model` could start a call now."""
        ...
