"""The sweep of a model that writes: prompts and answers of every length, as text and as token ids, and raw tensors.

Decides the mixture: of several calls drawn at random, the one whose predicted time is nearest to the size that is asked for, so
that sizes are covered evenly although reading and writing are two dimensions. Answers are written to the end, so that a call
costs what it was measured as. From the prompts that were texts it finds the tokens per kind of character of this model's
tokenizer. Pure; it must not know workers.
"""

from __future__ import annotations

import dataclasses
import math
import random
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from wickguard.backend import GeneratePayload, GenerateResult, LogitsPayload, ModelSpec
from wickguard.cost.calibration import CalibrationSettings, Point, Run
from wickguard.cost.generation import GenerationCost
from wickguard.cost.least_squares import solve
from wickguard.cost.text_sweep import BYTES_PER_TOKEN, SHARES
from wickguard.modality import generation, logits, text
from wickguard.modality.composer import draw
from wickguard.records import Features

_CANDIDATES = 24
_LEAST_S = 0.001
_IDS_SHARE = 0.4
_TENSOR_SHARE = 0.15
_SPELLED_SHARE = 0.5
_ANCHOR = (64, 16)


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt and the tokens that are written after it."""

    prompt: str | list[int]
    answer: int


# Of raw tensors the features tell everything.
Subject = Asked | logits.LogitsFeatures


@dataclass(frozen=True, slots=True)
class GenerationSweep:
    """The sweep (calibration.Sweep) of one model, whose dearest call takes about dearest_s at this speed."""

    spec: ModelSpec
    settings: generation.GenerationSettings
    flops_per_s: float
    dearest_s: float

    def point(self, size: float, order: random.Random) -> Point[Subject]:
        """See Sweep: the predicted time grows geometrically with size."""
        if order.random() < _TENSOR_SHARE:
            return self._tensor(size, order)
        target = _LEAST_S * (self.dearest_s / _LEAST_S) ** size
        lengths = [self._draw(order) for _ in range(_CANDIDATES)]
        prompt, answer = min(lengths, key=lambda one: abs(math.log(self._seconds(*one) / target)))
        seed = order.randrange(1 << 62)
        if order.random() < _IDS_SHARE:
            return self._point(text.synthesize_ids([prompt], self.spec.vocab, seed)[0], answer)
        # A letter may be a token of its own: the text must leave room for the answer all the same.
        room = self.spec.max_tokens - answer - self.spec.special_tokens
        most = max(1, min(math.floor(room / self.spec.token_expansion), self.settings.max_prompt_bytes))
        size_bytes = min(most, max(1, round(prompt * BYTES_PER_TOKEN)))
        return self._point(text.synthesize([size_bytes], draw(SHARES, order), seed)[0], answer)

    def anchor(self) -> Point[Subject]:
        """See Sweep."""
        prompt, answer = (max(1, min(tokens, self.spec.max_tokens // 4)) for tokens in _ANCHOR)
        ids = text.synthesize_ids([prompt], self.spec.vocab)[0]
        return dataclasses.replace(self._point(ids, answer), anchor=True)

    def learn(self, runs: Sequence[Run[Subject]]) -> Mapping[str, float]:
        """Tokens per character of each kind, as a TokenWeights of fields and values."""
        rows, tokens = [], []
        for run in runs:
            subject = run.point.subject
            if isinstance(subject, Asked) and isinstance(prompt := subject.prompt, str):
                counted = msgspec.msgpack.decode(run.result, type=GenerateResult).tokens[0]
                rows.append([float(value) for value in text.count_kinds(prompt, prompt.encode())])
                tokens.append(float(max(1, counted - self.spec.special_tokens)))
        if not rows:
            return {}
        names = [item.name for item in dataclasses.fields(text.TokenWeights)]
        return dict(zip(names, solve(rows, tokens, [1.0] * len(rows)), strict=True))

    def features(self, subject: Subject, learned: Mapping[str, float]) -> Features:
        """See Sweep."""
        if not isinstance(subject, Asked):
            return subject
        weights = text.TokenWeights(**learned) if learned else text.USUAL
        return generation.measure(subject.prompt, subject.answer, self._limit(weights))

    def _draw(self, order: random.Random) -> tuple[int, int]:
        def upto(most: int) -> int:
            return max(1, int(float(max(1, most)) ** order.random()))

        answer = upto(min(self.settings.most_tokens, self.spec.max_tokens // 2))
        return upto(self.spec.max_tokens - answer - 1 - self.spec.special_tokens), answer

    def _tensor(self, size: float, order: random.Random) -> Point[Subject]:
        """One row of ids, as many as the size says of those that an answer has room for, and as are not too dear."""
        spec, spelled = self.spec, order.random() < _SPELLED_SHARE
        limit = logits.LogitsLimit(1, spec.max_tokens, spec.vocab, self.settings.max_logits_bytes)
        tokens = max(1, round(logits.most_tokens(limit, spelled=spelled) ** size))
        while tokens > 1 and self._priced(logits.measure(1, tokens, spec.vocab, spelled=spelled)) > self.dearest_s:
            tokens //= 2
        ids = text.synthesize_ids([tokens], spec.vocab, order.randrange(1 << 62))[0]
        payload = LogitsPayload(array("q", ids).tobytes(), 1, "json" if spelled else "raw")
        return Point(msgspec.msgpack.encode(payload), logits.measure(1, tokens, spec.vocab, spelled=spelled))

    def _seconds(self, prompt: int, answer: int) -> float:
        return self._priced(generation.measure([0] * prompt, answer, self._limit(text.USUAL)))

    def _priced(self, features: Features) -> float:
        model = GenerationCost(self.spec, self.flops_per_s)
        curve = model.assumed()
        return curve.predict(model.kind(features), model.basis(features), model.memory_basis(features)).expected.cpu_s

    def _limit(self, weights: text.TokenWeights) -> generation.PromptLimit:
        spec = self.spec
        bound = text.TokenBound(spec.max_tokens, spec.special_tokens, spec.token_expansion, spec.vocab, weights)
        return generation.PromptLimit(bound, 0, 0)

    def _point(self, prompt: str | list[int], answer: int) -> Point[Subject]:
        most = self.spec.max_tokens - answer
        payload = GeneratePayload(prompt, [], most, answer, to_the_end=True)
        return Point(msgspec.msgpack.encode(payload), Asked(prompt, answer))


def sweep_of(
    spec: ModelSpec, settings: generation.GenerationSettings, flops_per_s: float, calibration: CalibrationSettings
) -> GenerationSweep:
    """The sweep of a model that writes."""
    return GenerationSweep(spec, settings, flops_per_s, calibration.dearest_s)
