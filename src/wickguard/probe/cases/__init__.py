"""The catalogue: every attack case that the fixed dialects can express, by layer.

Decides the order in which they run: ordinary requests first, what may hurt last. It must not know how they are sent.
"""

from __future__ import annotations

from wickguard.probe.case import Case, Risk
from wickguard.probe.cases import (
    codings,
    connections,
    documents,
    forecasts,
    frames,
    framing,
    generation,
    grammars,
    identities,
    mutations,
    pictures,
    tensors,
    writings,
)

_ORDER = list(Risk)
CATALOGUE: tuple[Case, ...] = tuple(
    sorted(
        (
            *documents.CASES,
            *mutations.CASES,
            *writings.CASES,
            *generation.CASES,
            *grammars.CASES,
            *tensors.CASES,
            *pictures.CASES,
            *forecasts.CASES,
            *framing.CASES,
            *codings.CASES,
            *connections.CASES,
            *frames.CASES,
            *identities.CASES,
        ),
        key=lambda case: (_ORDER.index(case.risk), case.profile.rank),
    )
)
