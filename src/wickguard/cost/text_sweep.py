"""The sweep of a text model: batches as people send them, and how many tokens their characters make.

Decides the mixture that a calibration takes for usual: registers with their shares, single texts and batches, texts and token
ids; one register per batch, because who sends German sends German. From the answers, which say how many tokens each text had,
it finds the tokens per kind of character of this model's tokenizer. Pure; it must not know workers or prices.
"""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from wickguard.backend import EmbedPayload, EmbedResult, ModelSpec
from wickguard.cost.analytic import flops
from wickguard.cost.calibration import CalibrationSettings, Point, Run
from wickguard.cost.least_squares import solve
from wickguard.modality.composer import draw
from wickguard.modality.lexicon import Register
from wickguard.modality.text import (
    Inputs,
    TextFeatures,
    TextSettings,
    TokenBound,
    TokenWeights,
    count_kinds,
    measure,
    synthesize,
    synthesize_ids,
)
from wickguard.records import Features

# What a public text model is sent: mostly English, some of everything.
SHARES: tuple[tuple[Register, float], ...] = (
    (Register.PROSE, 0.44),
    (Register.TALK, 0.10),
    (Register.TECHNICAL, 0.14),
    (Register.CODE, 0.10),
    (Register.DATA, 0.05),
    (Register.GERMAN, 0.035),
    (Register.FRENCH, 0.035),
    (Register.SPANISH, 0.035),
    (Register.POLISH, 0.01),
    (Register.TURKISH, 0.01),
    (Register.RUSSIAN, 0.015),
    (Register.CHINESE, 0.015),
    (Register.JAPANESE, 0.01),
    (Register.KOREAN, 0.005),
)
# Nobody is expected to send these, but whoever does must not be killed for it: they shape the tail alone.
ODD = ((Register.BLOB, 1.0), (Register.LETTERS, 2.0), (Register.KOREAN, 1.0))
ODD_SHARE = 0.06
IDS_SHARE = 0.15
SINGLE_SHARE = 0.6
# Texts of a batch differ in length by about this much (standard deviation of the logarithm).
BATCH_SPREAD = 0.5
BYTES_PER_TOKEN = 4.2
LEAST_TOKENS = 4
_ANCHOR_TOKENS = 64


@dataclass(frozen=True, slots=True)
class TextSweep:
    """The sweep (calibration.Sweep) of one model, whose dearest call has `most_tokens` tokens."""

    spec: ModelSpec
    settings: TextSettings
    most_tokens: int

    def point(self, size: float, order: random.Random) -> Point[Inputs]:
        """See Sweep: the tokens of the whole call grow geometrically with size."""
        total = LEAST_TOKENS * (self.most_tokens / LEAST_TOKENS) ** size
        count = 1 if order.random() < SINGLE_SHARE else round(total ** (order.random() * 0.8))
        longest = self.spec.max_tokens - self.spec.special_tokens
        # What no single text can hold needs a batch.
        count = min(self.settings.max_inputs, max(1, count, math.ceil(total / longest)))
        lengths = [
            max(1, min(longest, round(total / count * math.exp(order.gauss(0.0, BATCH_SPREAD if count > 1 else 0.0)))))
            for _ in range(count)
        ]
        seed = order.randrange(1 << 62)
        if order.random() < IDS_SHARE:
            return _point(synthesize_ids(lengths, self.spec.vocab, seed), 1.0, order)
        odd = order.random() < ODD_SHARE
        register = draw(ODD if odd else SHARES, order)
        most = self.settings.max_text_bytes
        sizes = [min(most, max(1, round(length * BYTES_PER_TOKEN))) for length in lengths]
        return _point(synthesize(sizes, register, seed), 0.0 if odd else 1.0, order)

    def anchor(self) -> Point[Inputs]:
        """See Sweep."""
        tokens = min(_ANCHOR_TOKENS, self.spec.max_tokens - self.spec.special_tokens)
        inputs = synthesize_ids([tokens], self.spec.vocab)
        return dataclasses.replace(_point(inputs, 1.0, random.Random(0)), anchor=True)

    def learn(self, runs: Sequence[Run[Inputs]]) -> Mapping[str, float]:
        """Tokens per character of each kind, as a TokenWeights of fields and values."""
        rows, tokens, weights = [], [], []
        for run in runs:
            if run.point.weight == 0:
                continue
            found = msgspec.msgpack.decode(run.result, type=EmbedResult).tokens
            # Each batch counts once: its texts are of one kind.
            share = 1 / len(found)
            for text, count in zip(run.point.subject, found, strict=True):
                made = count - self.spec.special_tokens
                if isinstance(text, str) and made > 0 and count < self.spec.max_tokens:
                    rows.append([float(value) for value in count_kinds(text, text.encode())])
                    tokens.append(float(made))
                    weights.append(share)
        if not rows:
            return {}
        names = [item.name for item in dataclasses.fields(TokenWeights)]
        return dict(zip(names, solve(rows, tokens, weights), strict=True))

    def features(self, subject: Inputs, learned: Mapping[str, float]) -> Features:
        """See Sweep."""
        return measured(self.spec, subject, learned)


def payload_of(inputs: Inputs, order: random.Random) -> bytes:
    """The call, its answer in numbers or in base64 with equal chances (printing costs a few hundredths)."""
    encoding: Literal["float", "base64"] = "float" if order.random() < 0.5 else "base64"
    listed = [item if isinstance(item, str) else list(item) for item in inputs]
    return msgspec.msgpack.encode(EmbedPayload(listed, truncate=True, normalize=True, encoding=encoding))


def _point(inputs: Inputs, weight: float, order: random.Random) -> Point[Inputs]:
    return Point(payload_of(inputs, order), inputs, weight)


def sweep_of(
    spec: ModelSpec, settings: TextSettings, flops_per_s: float, calibration: CalibrationSettings
) -> TextSweep:
    """The sweep whose dearest call is expected to take calibration.dearest_s, or is the dearest that there can be."""
    affordable = round(calibration.dearest_s * flops_per_s / flops(spec, 1, 0))
    return TextSweep(spec, settings, max(8, min(spec.max_tokens * settings.max_inputs, affordable)))


def measured(spec: ModelSpec, inputs: Inputs, learned: Mapping[str, float]) -> TextFeatures:
    """Features of `inputs` for a model whose tokens per character were learned."""
    weights = TokenWeights(**learned) if learned else TokenWeights()
    return measure(inputs, TokenBound(spec.max_tokens, spec.special_tokens, spec.token_expansion, spec.vocab, weights))
