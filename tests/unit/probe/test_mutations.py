"""Mutations of documents: every part is reached, and nothing else is touched."""

from __future__ import annotations

import json
import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from wickguard.probe.cases.mutations import CASES, MOST_DOCUMENTS, VALUES, mutate, parts
from wickguard.probe.spelling import TargetSpelling, openai_chat, tei_embed

DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)
CHANGES = st.sampled_from([*VALUES, "left out", "said twice as much"])
(CASE,) = CASES


def part(found: Any, at: tuple[str | int, ...]) -> Any:
    """What stands there."""
    for key in at:
        found = found[key]
    return found


@given(DOCUMENTS)
def test_every_part_is_there_when_it_is_listed(found: Any) -> None:
    """Paths lead somewhere, and no two are the same."""
    paths = list(parts(found))
    assert paths[0] == ()
    assert len(set(paths)) == len(paths)
    for at in paths:
        part(found, at)


@given(DOCUMENTS, CHANGES, st.data())
def test_only_the_part_is_changed_when_a_document_is_mutated(found: Any, change: str, data: st.DataObject) -> None:
    """The document that was given stays as it was; other parts of the new one are the same."""
    before = json.dumps(found)
    at = data.draw(st.sampled_from(list(parts(found))))
    changed = mutate(found, at, change)
    assert json.dumps(found) == before
    if change in VALUES:
        assert part(changed, at) == VALUES[change]
    for other in parts(found):
        if at and other[: len(at)] != at and at[: len(other)] != other and isinstance(at[-1], str):
            assert part(changed, other) == part(found, other)


@given(DOCUMENTS, CHANGES)
def test_nothing_happens_when_the_part_is_gone(found: Any, change: str) -> None:
    """An earlier change may have taken it away."""
    assert mutate(found, ("no such name", 99, "x"), change) == found


def test_every_part_of_a_small_document_is_tried_when_one_is_changed_at_a_time() -> None:
    """As many as a trace has room for; several at once come from the seed."""
    target = TargetSpelling("tei", "/embed", "", {"/embed": tei_embed})
    ordinary = json.loads(target.request(["quiet river"]).body)
    everything = len(list(parts(ordinary))) * (len(VALUES) + 2)
    labels = [step.label for step in CASE.attack(target, 1, random.Random(1)).steps]
    assert len(set(labels)) == len(labels) == min(everything, MOST_DOCUMENTS)
    assert {label.partition(":")[0] for label in labels} == {"the document", "inputs", "inputs/0"}
    one, other = (CASE.attack(target, 3, random.Random(seed)) for seed in (1, 2))
    assert one == CASE.attack(target, 3, random.Random(1)) != other


def test_length_of_an_answer_stays_when_a_document_is_mutated() -> None:
    """Without it a model may write until its context ends, in every document at once."""
    target = TargetSpelling("openai", "/v1/chat/completions", "m", {"/v1/chat/completions": openai_chat})
    for size in CASE.sizes:
        for step in CASE.attack(target, size, random.Random(3)).steps:
            sent = json.loads(step.request.body)
            assert not isinstance(sent, dict) or "messages" not in sent or sent["max_tokens"] == 8
            assert len(step.request.body) < 2 * 200 + 4 * 4096


def test_lists_and_objects_are_walked_when_they_stand_in_each_other() -> None:
    """A message in a list, and its fields."""
    target = TargetSpelling("openai", "/v1/chat/completions", "m", {"/v1/chat/completions": openai_chat})
    paths = set(parts(json.loads(target.request(["hi"]).body)))
    assert {("messages", 0, "content"), ("messages", 0, "role"), ("model",)} <= paths
