"""The catalogue: every case builds in every dialect it names, the same each time, and within its bounds."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from tests.zoo import manifests

from wickguard.probe.case import Case, Profile, Risk, Spelling
from wickguard.probe.cases import CATALOGUE
from wickguard.probe.cases.payload import NO_SUCH_ROUTE
from wickguard.probe.finding import Oracle
from wickguard.probe.openapi import routes
from wickguard.probe.oracles import JUDGES
from wickguard.probe.spelling import (
    TargetSpelling,
    Tensor,
    TensorWriter,
    openai_embeddings,
    tei_embed,
)
from wickguard.probe.trace import Trace
from wickguard.units import MIB

NUMBERS = TensorWriter((Tensor("boxes", "FP32", (-1, 5)),))
DESCRIBED = routes(
    {
        "paths": {
            "/predict": {
                "post": {
                    "requestBody": {
                        "content": {
                            "application/json": {
                                "schema": {"properties": {"text": {"type": "array", "items": {"type": "string"}}}}
                            }
                        }
                    }
                }
            }
        }
    }
)[0]
SPELLINGS: dict[str, TargetSpelling] = {
    "openai": TargetSpelling(
        "openai",
        "/v1/embeddings",
        "a-model",
        {"/v1/embeddings": openai_embeddings, "/embed": tei_embed},
        ("/embed",),
    ),
    "tei": TargetSpelling("tei", "/embed", "", {"/embed": tei_embed}),
    "oip": TargetSpelling("oip", "/v2/models/m/infer", "m", {"/v2/models/m/infer": NUMBERS}),
    "openapi": TargetSpelling("openapi", "/predict", "", {"/predict": DESCRIBED.writer}),
}
PAIRS = [pytest.param(case, name, id=f"{case.id}-{name}") for case in CATALOGUE for name in sorted(case.dialects)]


def build(case: Case, target: Spelling, size: int) -> Trace:
    """The attack at a size, from the seed that the runner would use."""
    return case.attack(target, size, random.Random(f"7:{case.id}:{size}"))


@pytest.mark.parametrize(("case", "dialect"), PAIRS)
def test_case_builds_the_same_bounded_traces_when_built_twice(case: Case, dialect: str) -> None:
    """First and last size, attack and twin."""
    target = SPELLINGS[dialect]
    for size in (case.sizes[0], case.sizes[-1]):
        trace = build(case, target, size)
        assert trace == build(case, target, size)
        assert 0 < len(trace.steps) <= 2000
        assert trace.payload_bytes <= 9 * MIB
        assert max(step.at_s + step.hold_s for step in trace.steps) <= 15
        assert all(step.request.path in (target.path, NO_SUCH_ROUTE, *target.aliases) or "?" in step.request.path
                   for step in trace.steps)  # fmt: skip
        if case.twin is not None:
            assert case.twin(target, size, random.Random(1)).steps


@pytest.mark.parametrize(("case", "dialect"), [pair for pair in PAIRS if Oracle.TWIN in pair.values[0].oracles])
def test_twin_has_about_the_bytes_of_the_attack_when_they_are_compared(case: Case, dialect: str) -> None:
    """A ratio of costs says nothing when the bytes differ."""
    assert case.twin is not None
    for size in case.sizes:
        attack = build(case, SPELLINGS[dialect], size).payload_bytes
        twin = case.twin(SPELLINGS[dialect], size, random.Random(1)).payload_bytes
        assert attack / 2 <= twin + 64 <= 2 * attack + 128


def test_ids_are_unique_and_cases_complete_when_listed() -> None:
    """Each case can be judged, filed and mended."""
    assert len({case.id for case in CATALOGUE}) == len(CATALOGUE)
    for case in CATALOGUE:
        assert case.oracles <= set(JUDGES)
        assert case.oracles
        assert list(case.sizes) == sorted(set(case.sizes))
        assert case.taxonomy.cwe
        assert case.remedy
        assert case.title[0].isupper()
        assert not case.title.endswith(".")


def test_dangerous_cases_are_opt_in_when_the_profile_is_short() -> None:
    """What may end a process runs only in `deep`; what slows down others not in `short`."""
    for case in CATALOGUE:
        if case.risk is Risk.CRASH:
            assert case.profile is Profile.DEEP
        if case.risk is Risk.HEAVY:
            assert case.profile is not Profile.SHORT


def test_requests_are_json_when_only_their_input_is_hostile() -> None:
    """What a case places in the document leaves the rest of it alone."""
    case = next(case for case in CATALOGUE if case.id == "J05")
    sent = json.loads(build(case, SPELLINGS["openai"], 400).steps[0].request.body)
    assert sent["model"] == "a-model"
    assert len(sent["input"]) == 400
    assert len({number % (2**61 - 1) for number in sent["input"]}) == 1


def test_every_defect_of_the_zoo_has_its_case_when_the_catalogue_is_read() -> None:
    """Manifests name cases that exist."""
    known = {case.id for case in CATALOGUE}
    for planted in manifests():
        assert all(case in known or case.startswith("sweep:") for case in planted.cases), planted.name
        judged = {str(oracle) for case in CATALOGUE if case.id in planted.cases for oracle in case.oracles}
        assert set(planted.oracles) & judged, planted.name


def test_table_of_cases_is_what_the_catalogue_says_when_it_changes() -> None:
    """docs/probe-cases.md is generated."""
    root = Path(__file__).parents[3]
    check = subprocess.run([sys.executable, root / "docs" / "cases.py", "--check"], capture_output=True, text=True)
    assert check.returncode == 0, check.stdout
