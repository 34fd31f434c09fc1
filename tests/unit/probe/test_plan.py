"""The plan: what is left out, and what is cut short, before anything is sent."""

from __future__ import annotations

import random
from dataclasses import replace

from wickguard.probe.case import Profile, Spelling
from wickguard.probe.cases import CATALOGUE
from wickguard.probe.plan import MOST_BYTES, Row, make_plan
from wickguard.probe.rails import LIMITS
from wickguard.probe.spelling import TargetSpelling, Tensor, TensorWriter, Writer, classify, openai_embeddings
from wickguard.probe.trace import Step, Trace


def planned(dialect: str, path: str, writer: Writer, profile: Profile = Profile.DEEP) -> dict[str, Row]:
    """Every row by its case's id."""
    target = TargetSpelling(dialect, path, "m", {path: writer})
    rows = make_plan(target, CATALOGUE, profile, LIMITS[profile], 0)
    return {row.case.id: row for row in rows}


def test_sizes_end_before_a_trace_is_too_large_when_a_row_is_wide() -> None:
    """Rows of pictures weigh kilobytes each, those of boxes a few bytes."""
    path = "/v2/models/m/infer"
    wide = planned("oip", path, TensorWriter((Tensor("pixel_values", "FP32", (-1, 3, 32, 32)),)))
    narrow = planned("oip", path, TensorWriter((Tensor("boxes", "FP32", (-1, 5)),)))
    for case_id in ("sweep:rows", "R10", "R09"):
        assert wide[case_id].case.sizes == wide[case_id].planned.sizes
        assert 0 < len(wide[case_id].case.sizes) < len(narrow[case_id].case.sizes)
        assert wide[case_id].planned.bytes <= 40 * len(wide[case_id].case.sizes) * MOST_BYTES
    assert narrow["R10"].case.sizes[-1] == 2500


def test_case_is_left_out_with_its_reason_when_even_its_first_trace_is_too_large() -> None:
    """An ordinary picture of a usual classifier has megabytes as JSON; thirty of them at once are nobody's to send."""
    path = "/v2/models/m/infer"
    usual = planned("oip", path, TensorWriter((Tensor("pixel_values", "FP32", (-1, 3, 224, 224)),)))
    assert all(row.planned.skip or row.planned.bytes <= 40 * len(row.case.sizes) * MOST_BYTES for row in usual.values())
    assert "too large" in usual["P30"].planned.skip
    assert not usual["R03"].planned.skip or "too large" in usual["R03"].planned.skip
    assert not usual["N03"].planned.skip


def test_making_a_trace_ends_when_it_has_become_too_large() -> None:
    """Before it fills the memory of the probe itself: a thousand pictures are not made to be counted."""
    path = "/v2/models/m/infer"
    writer = TensorWriter((Tensor("pixel_values", "FP32", (-1, 3, 224, 224)),))
    made: list[int] = []

    def attack(target: Spelling, size: int, chance: random.Random) -> Trace:
        steps = []
        for _ in range(1000):
            steps.append(Step(target.request(["quiet river"])))
            made.append(steps[-1].request.size_bytes)
        return Trace(tuple(steps))

    (case,) = (replace(case, attack=attack, twin=None) for case in CATALOGUE if case.id == "N02")
    target = TargetSpelling("oip", path, "m", {path: writer})
    (row,) = (
        row for row in make_plan(target, (case,), Profile.SHORT, LIMITS[Profile.SHORT], 0) if row.case.id == "N02"
    )
    assert "too large" in row.planned.skip
    assert 1 <= len(made) < 20
    assert sum(made) <= 2 * MOST_BYTES


def test_case_is_skipped_with_its_reason_when_the_route_takes_something_else() -> None:
    """Texts are not tried on pictures, nor pictures on texts."""
    pictures, texts = (
        planned("openai", "/v1/classify", classify),
        planned("openai", "/v1/embeddings", openai_embeddings),
    )
    assert pictures["T03"].planned.skip == "not for a route that takes no text"
    assert texts["I01"].planned.skip == "not for a route that takes no picture"
    assert texts["G06"].planned.skip == "not for a route that takes no prompt"
    assert texts["R03"].planned.skip == "not for the dialect openai"
    assert not pictures["I01"].planned.skip
    assert not texts["T03"].planned.skip
    assert pictures["T03"].case.sizes == next(case.sizes for case in CATALOGUE if case.id == "T03")


def test_no_other_profile_is_promised_when_the_route_never_runs_a_case() -> None:
    """What is dear and foreign is foreign."""
    rows = planned("openai", "/v1/embeddings", openai_embeddings, Profile.SHORT)
    assert (
        rows["I01.large"].planned.skip == rows["I01.webp.large"].planned.skip == "not for a route that takes no picture"
    )
    assert rows["R14"].planned.skip == "not for the dialect openai"
    assert rows["J02"].planned.skip == "runs with --profile standard"
    assert rows["E03"].planned.skip == "risk class heavy: runs with --profile standard"
