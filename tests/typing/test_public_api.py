"""What the public API's types promise; mypy runs over this file, and pytest executes it."""

from __future__ import annotations

import asyncio
from typing import assert_type

from wickguard.backend import Backend, ModelSpec
from wickguard.control.memory import MemoryReservation
from wickguard.deadline import Deadline
from wickguard.dialect.openai import OpenAI
from wickguard.dialect.task import Dialect, EmbedTask
from wickguard.dialect.tei import Tei
from wickguard.guard.admit import Admission
from wickguard.guard.settle import SETTLEMENTS, Row
from wickguard.modality.text import InputLimits, TextFeatures, TokenBound, measure
from wickguard.policy.load import parse
from wickguard.policy.schema import Policy
from wickguard.records import Call, Features, Grant, OutcomeKind, Quote
from wickguard.rejection import MEANINGS, Meaning, Reason, Rejection


def dialects() -> tuple[Dialect, Dialect]:
    """Both classes are dialects."""
    return OpenAI(), Tei()


def features(found: TextFeatures) -> Features:
    """Text features are features."""
    return found


def models(backend: Backend) -> dict[str, ModelSpec]:
    """A backend names its models."""
    return assert_type(backend.models, dict[str, ModelSpec])


async def admitted(gate: Admission, call: Call, quote: Quote) -> Grant | None:
    """Admission answers with a grant or a rejection, never with None or an exception."""
    found = await gate.admit(call, quote, asyncio.get_running_loop().create_future())
    assert_type(found, Grant | Rejection)
    return found if isinstance(found, Grant) else None


def test_types_are_as_promised_when_executed() -> None:
    """assert_type returns what it was given, so the values are checked as well."""
    assert_type(parse("", "p.toml"), Policy)
    assert_type(OpenAI().parse_embed(b"{}", InputLimits(1, 1, 1)), EmbedTask | Rejection)
    assert_type(measure(["x"], TokenBound(8, 2, 1.0, 10)), TextFeatures)
    assert_type(MEANINGS[Reason.MALFORMED], Meaning)
    assert_type(SETTLEMENTS[OutcomeKind.COMPLETED], Row)
    assert_type(Rejection(Reason.MALFORMED, "").meaning, Meaning)
    assert_type(MemoryReservation(1).hold("a", 1), bool)
    assert_type(Deadline.after(1.0, 2.0).remaining_s(2.5), float)
    assert len(dialects()) == 2
