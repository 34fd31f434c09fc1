"""The sweep of a model that writes: prompts and answers of every length, as text and as token ids.

Decides the mixture: of several calls drawn at random, the one whose predicted time is nearest to the size that is asked for, so
that sizes are covered evenly although reading and writing are two dimensions. Answers are written to the end, so that a call
costs what it was measured as. From the prompts that were texts it finds the tokens per kind of character of this model's
tokenizer. Pure; it must not know workers.
"""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from wickguard.backend import GeneratePayload, GenerateResult, ModelSpec
from wickguard.cost.calibration import CalibrationSettings, Point, Run
from wickguard.cost.generation import GenerationCost
from wickguard.cost.least_squares import solve
from wickguard.cost.text_sweep import BYTES_PER_TOKEN, SHARES
from wickguard.modality import generation, text
from wickguard.modality.composer import draw
from wickguard.records import Features

_CANDIDATES = 24
_LEAST_S = 0.001
_IDS_SHARE = 0.4
_ANCHOR = (64, 16)


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt and the tokens that are written after it."""

    prompt: str | list[int]
    answer: int


@dataclass(frozen=True, slots=True)
class GenerationSweep:
    """The sweep (calibration.Sweep) of one model, whose dearest call takes about dearest_s at this speed."""

    spec: ModelSpec
    settings: generation.GenerationSettings
    flops_per_s: float
    dearest_s: float

    def point(self, size: float, order: random.Random) -> Point[Asked]:
        """See Sweep: the predicted time grows geometrically with size."""
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

    def anchor(self) -> Point[Asked]:
        """See Sweep."""
        prompt, answer = (max(1, min(tokens, self.spec.max_tokens // 4)) for tokens in _ANCHOR)
        ids = text.synthesize_ids([prompt], self.spec.vocab)[0]
        return dataclasses.replace(self._point(ids, answer), anchor=True)

    def learn(self, runs: Sequence[Run[Asked]]) -> Mapping[str, float]:
        """Tokens per character of each kind, as a TokenWeights of fields and values."""
        rows, tokens = [], []
        for run in runs:
            prompt = run.point.subject.prompt
            if isinstance(prompt, str):
                counted = msgspec.msgpack.decode(run.result, type=GenerateResult).tokens[0]
                rows.append([float(value) for value in text.count_kinds(prompt, prompt.encode())])
                tokens.append(float(max(1, counted - self.spec.special_tokens)))
        if not rows:
            return {}
        names = [item.name for item in dataclasses.fields(text.TokenWeights)]
        return dict(zip(names, solve(rows, tokens, [1.0] * len(rows)), strict=True))

    def features(self, subject: Asked, learned: Mapping[str, float]) -> Features:
        """See Sweep."""
        weights = text.TokenWeights(**learned) if learned else text.USUAL
        return generation.measure(subject.prompt, subject.answer, self._limit(weights))

    def _draw(self, order: random.Random) -> tuple[int, int]:
        def upto(most: int) -> int:
            return max(1, int(float(max(1, most)) ** order.random()))

        answer = upto(min(self.settings.most_tokens, self.spec.max_tokens // 2))
        return upto(self.spec.max_tokens - answer - 1 - self.spec.special_tokens), answer

    def _seconds(self, prompt: int, answer: int) -> float:
        model = GenerationCost(self.spec, self.flops_per_s)
        features = generation.measure([0] * prompt, answer, self._limit(text.USUAL))
        curve = model.assumed()
        return curve.predict(model.kind(features), model.basis(features), model.memory_basis(features)).expected.cpu_s

    def _limit(self, weights: text.TokenWeights) -> generation.PromptLimit:
        spec = self.spec
        bound = text.TokenBound(spec.max_tokens, spec.special_tokens, spec.token_expansion, spec.vocab, weights)
        return generation.PromptLimit(bound, 0, 0)

    def _point(self, prompt: str | list[int], answer: int) -> Point[Asked]:
        most = self.spec.max_tokens - answer
        payload = GeneratePayload(prompt, [], most, answer, to_the_end=True)
        return Point(msgspec.msgpack.encode(payload), Asked(prompt, answer))


def sweep_of(
    spec: ModelSpec, settings: generation.GenerationSettings, flops_per_s: float, calibration: CalibrationSettings
) -> GenerationSweep:
    """The sweep of a model that writes."""
    return GenerationSweep(spec, settings, flops_per_s, calibration.dearest_s)
