"""The catalogue: every case builds in every dialect it names, the same each time, and within its bounds."""

from __future__ import annotations

import base64
import json
import random
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tests.zoo import manifests

from wickguard.probe.case import Case, Intake, Profile, Risk, Spelling
from wickguard.probe.cases import CATALOGUE
from wickguard.probe.cases.payload import COLLIDING, NO_SUCH_ROUTE
from wickguard.probe.finding import Oracle
from wickguard.probe.openapi import routes
from wickguard.probe.oracles import JUDGES
from wickguard.probe.spelling import (
    MAX_TOKENS,
    TargetSpelling,
    Tensor,
    TensorWriter,
    Writer,
    classify,
    forecast,
    openai_chat,
    openai_completions,
    openai_embeddings,
    tei_embed,
)
from wickguard.probe.sweep import sweeps
from wickguard.probe.trace import Reading, Trace
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


def one_route(path: str, writer: Writer) -> TargetSpelling:
    """An OpenAI target without aliases."""
    return TargetSpelling("openai", path, "a-model", {path: writer})


CHAT = one_route("/v1/chat/completions", openai_chat)
SEEING = replace(CHAT, sees=True)
COMPLETIONS = one_route("/v1/completions", openai_completions)
# What cases for one kind of route are built with in the OpenAI dialect; all others with SPELLINGS.
ROUTES_OF: dict[Intake | None, tuple[TargetSpelling, ...]] = {
    Intake.PROMPT: (CHAT, COMPLETIONS),
    Intake.PICTURE: (one_route("/v1/classify", classify), SEEING),
    Intake.SERIES: (one_route("/v1/forecast", forecast),),
}


def targets(case: Case) -> list[TargetSpelling]:
    """A target of each kind that the case is for."""
    others = [SPELLINGS[name] for name in sorted(case.dialects) if name != "openai" or case.takes not in ROUTES_OF]
    return [*others, *(ROUTES_OF.get(case.takes, ()) if "openai" in case.dialects else ())]


PAIRS = [pytest.param(case, target, id=f"{case.id}-{target.path}") for case in CATALOGUE for target in targets(case)]


def case_of(name: str) -> Case:
    """The case of the catalogue with this id."""
    return next(case for case in CATALOGUE if case.id == name)


def sent(name: str, target: Spelling, size: int, *, twin: bool = False) -> dict[str, Any]:
    """The first body of a case as a document."""
    case = case_of(name)
    trace = case.twin(target, size, random.Random(1)) if twin and case.twin else build(case, target, size)
    found: dict[str, Any] = json.loads(trace.steps[0].request.body)
    return found


def build(case: Case, target: Spelling, size: int) -> Trace:
    """The attack at a size, from the seed that the runner would use."""
    return case.attack(target, size, random.Random(f"7:{case.id}:{size}"))


@pytest.mark.parametrize(("case", "target"), PAIRS)
def test_case_builds_the_same_bounded_traces_when_built_twice(case: Case, target: TargetSpelling) -> None:
    """First and last size, attack and twin."""
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


@pytest.mark.parametrize(("case", "target"), [pair for pair in PAIRS if Oracle.TWIN in pair.values[0].oracles])
def test_twin_has_about_the_bytes_of_the_attack_when_they_are_compared(case: Case, target: TargetSpelling) -> None:
    """A ratio of costs says nothing when the bytes differ."""
    assert case.twin is not None
    for size in case.sizes:
        attack = build(case, target, size).payload_bytes
        twin = case.twin(target, size, random.Random(1)).payload_bytes
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
    body = sent("J05", SPELLINGS["openai"], 400)
    assert body["model"] == "a-model"
    assert len(body["input"]) == 400
    assert len({number % COLLIDING for number in body["input"]}) == 1


def expanded(schema: Any, definitions: dict[str, Any]) -> int:
    """Nodes of a schema when every reference is replaced by what it names."""
    if not isinstance(schema, dict):
        return 1
    if "$ref" in schema:
        return expanded(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    return 1 + sum(expanded(value, definitions) for name, value in schema.items() if name != "$defs")


@pytest.mark.parametrize("twin", [False, True], ids=["attack", "twin"])
def test_nodes_double_with_each_level_when_references_do(twin: bool) -> None:
    """Two levels more: four times the nodes, for a constant number of bytes; in the twin a constant number of both."""
    formats = [sent("G06", CHAT, size, twin=twin)["response_format"] for size in (10, 12, 14)]
    schemas = [found["json_schema"]["schema"] for found in formats]
    nodes = [expanded(schema, schema["$defs"]) for schema in schemas]
    steps = [after - before for before, after in pairwise(nodes)]
    assert steps[1] / steps[0] == (1 if twin else 4)


@pytest.mark.parametrize("twin", [False, True], ids=["attack", "twin"])
def test_keys_of_the_bias_collide_only_when_they_are_the_attack(twin: bool) -> None:
    """CPython keeps an integer's hash modulo a prime."""
    biases = sent("G05", CHAT, 400, twin=twin)["logit_bias"]
    assert len(biases) == 400
    assert len({hash(int(key)) for key in biases}) == (400 if twin else 1)


def test_log_probabilities_are_asked_for_as_each_route_has_them_when_there_are_two() -> None:
    """Chats have a switch and a number, bare prompts the number alone."""
    chat, bare = (sent("G03", target, 5000) for target in (CHAT, COMPLETIONS))
    assert (chat["logprobs"], chat["top_logprobs"]) == (True, 5000)
    assert (bare["logprobs"], "top_logprobs" in bare) == (5000, False)


def test_both_names_of_the_answers_length_are_odd_when_there_are_two() -> None:
    """The one that is not meant keeps its ordinary value."""
    bodies = [json.loads(step.request.body) for step in build(case_of("G01"), CHAT, 1).steps]
    assert [body["max_completion_tokens"] for body in bodies[8:]] == [body["max_tokens"] for body in bodies[:8]]
    assert {body["max_tokens"] for body in bodies[8:]} == {MAX_TOKENS}


def test_a_template_has_the_same_bytes_when_its_loop_is_longer() -> None:
    """But for the digits of the number."""
    short, long = (sent("G10", CHAT, size)["chat_template"] for size in (10, 30_000))
    assert len(long) - len(short) == 3


def test_streams_are_left_alone_and_their_twins_read_when_nobody_reads() -> None:
    """The same load: what is judged is what not reading does."""
    case = case_of("G18")
    assert case.twin is not None
    attack, twin = build(case, CHAT, 24), case.twin(CHAT, 24, random.Random(1))
    assert [step.request for step in attack.steps] == [step.request for step in twin.steps]
    assert {step.reading for step in attack.steps} == {Reading.NOTHING}
    assert {step.reading for step in twin.steps} == {Reading.ALL}
    assert json.loads(attack.steps[0].request.body)["stream"] is True


def test_models_are_all_different_when_each_could_leave_something_behind() -> None:
    """And none of them again in another repeat, which has another seed."""
    case = case_of("G25")
    names = [
        json.loads(step.request.body)["model"]
        for seed in (1, 2)
        for step in case.attack(CHAT, 400, random.Random(seed)).steps
    ]
    assert len(set(names)) == 800


def test_only_one_length_lies_when_raw_tensors_are_sent() -> None:
    """Where the head's length is right, it splits JSON from bytes; else the body is an ordinary one."""
    ordinary = NUMBERS("m", ["quiet river"])["inputs"][0]
    split = []
    for step in build(case_of("R07"), SPELLINGS["oip"], 1).steps:
        length, body = dict(step.request.headers)["Inference-Header-Content-Length"], step.request.body
        if step.label.startswith("header of"):
            assert json.loads(body)["inputs"] == [ordinary]
            assert length != str(len(body))
        else:
            tensor = json.loads(body[: int(length)])["inputs"][0]
            assert "data" not in tensor
            split.append((tensor["parameters"]["binary_data_size"], body[int(length) :]))
    assert {rest for _, rest in split} == {bytes(8)}
    assert 2**63 in [size for size, _ in split]


def test_strings_say_lengths_that_did_not_come_when_they_are_raw() -> None:
    """The first four bytes are the length, little-endian."""
    steps = {step.label: step.request for step in build(case_of("R08"), SPELLINGS["oip"], 1).steps}
    lie = steps["one string of 4 GiB"].body
    length = int(dict(steps["one string of 4 GiB"].headers)["Inference-Header-Content-Length"])
    assert json.loads(lie[:length])["inputs"][0]["datatype"] == "BYTES"
    assert int.from_bytes(lie[length : length + 4], "little") == 2**32 - 1
    assert len(lie) == length + 8


def test_only_whole_numbers_are_out_of_range_when_a_model_has_both_kinds() -> None:
    """One tensor at a time."""
    writer = TensorWriter(
        (Tensor("scores", "FP32", (-1, 4)), Tensor("ids", "INT64", (-1, 4)), Tensor("at", "INT32", (-1,)))
    )
    target = TargetSpelling("oip", "/v2/models/m/infer", "m", {"/v2/models/m/infer": writer})
    ordinary = writer("m", ["quiet river"])["inputs"]
    for step in build(case_of("R12"), target, 1).steps:
        inputs = json.loads(step.request.body)["inputs"]
        changed = [index for index, tensor in enumerate(inputs) if tensor != ordinary[index]]
        assert [inputs[index]["name"] for index in changed] == [step.label.split()[0]]
        assert inputs[0] == ordinary[0]
        assert inputs[changed[0]]["data"][1:] == ordinary[changed[0]]["data"][1:]


def test_nothing_is_a_boundary_when_it_only_looks_like_one() -> None:
    """The body has one part, and all but its head and its ends is padding."""
    body = build(case_of("P24"), CHAT, 256 * 1024).steps[0].request.body
    assert body.count(b"\r\n--b") == 2
    assert body.endswith(b"\r\n--b--\r\n")
    assert 0 <= len(body) - 256 * 1024 < 128


def test_every_defect_of_the_zoo_has_its_case_when_the_catalogue_is_read() -> None:
    """Manifests name cases that exist."""
    known = {case.id for case in CATALOGUE}
    for planted in manifests():
        assert all(case in known or case.startswith("sweep:") for case in planted.cases), planted.name
        judged = {str(oracle) for case in CATALOGUE if case.id in planted.cases for oracle in case.oracles}
        assert set(planted.oracles) & judged, planted.name


def test_picture_is_spelled_as_its_route_takes_it_when_it_is_the_same() -> None:
    """Base64 alone for a classifier, a part of a message for a model that sees."""
    classifier, seeing = ROUTES_OF[Intake.PICTURE]
    plain = sent("I01.webp", classifier, 1 << 20)["input"]
    (message,) = sent("I01.webp", seeing, 1 << 20)["messages"]
    (_, part) = message["content"]
    assert part == {"type": "image_url", "image_url": {"url": f"data:image/webp;base64,{plain}"}}
    assert base64.b64decode(plain)[:4] == b"RIFF"
    assert len(sent("I10", classifier, 16)["input"]) == 16
    assert len(sent("I10", seeing, 16)["messages"][0]["content"]) == 17


def test_pictures_are_tried_only_when_the_route_takes_them() -> None:
    """A model that chats sees nothing until it has answered a picture."""
    assert Intake.PICTURE in SEEING.takes
    assert Intake.PICTURE not in CHAT.takes
    assert [case.id for case in sweeps(SEEING)] == [*(case.id for case in sweeps(CHAT)), "sweep:pixels"]


def test_table_of_cases_is_what_the_catalogue_says_when_it_changes() -> None:
    """docs/probe-cases.md is generated."""
    root = Path(__file__).parents[3]
    check = subprocess.run([sys.executable, root / "docs" / "cases.py", "--check"], capture_output=True, text=True)
    assert check.returncode == 0, check.stdout
