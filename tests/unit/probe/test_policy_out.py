"""The policy that follows from a run is one that `wickguard policy check` accepts, whatever the target calls itself."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from wickguard.errors import ConfigError
from wickguard.policy.load import parse
from wickguard.policy.schema import Policy
from wickguard.probe.events import (
    Arm,
    CaseFinished,
    CurveFitted,
    Event,
    LimitDerived,
    Planned,
    Point,
    Sampled,
    Started,
    Verdict,
)
from wickguard.probe.fit import Family, fit
from wickguard.probe.limits import recommend
from wickguard.probe.policy_out import COST_FORMAT, PolicyFiles, UpstreamCost, cost_path, policy_text, upstream_cost
from wickguard.probe.result import Result, collect
from wickguard.units import MIB

STARTED = Started(
    0.0, "http://127.0.0.1:1", "openai", "/v1/embeddings", "evil\n[text]\nmax_inputs = 9", "short", 0, "0", "now"
)


def curve_of(channel: str, costs: dict[int, float]) -> CurveFitted:
    """A curve of the sweep over inputs."""
    points = tuple(Point(size, cost, cost, cost) for size, cost in costs.items())
    return CurveFitted(1.0, "sweep:inputs", "inputs", channel, fit(list(costs), list(costs.values())), points)


def run_of(path: str = "/v1/embeddings", **limits: int) -> Result:
    """A run with these limits and two curves: 10 ms an input, and a megabyte for any number of them."""
    curves = (
        curve_of("latency_s", {size: 0.01 * size for size in (1, 2, 4, 8)}),
        curve_of("memory_bytes", dict.fromkeys((1, 2, 4, 8), float(MIB))),
    )
    named = {"max_tokens": "max_tokens"}
    derived = [
        LimitDerived(2.0, named.get(name, name.replace("_", " ")), limit, "measured") for name, limit in limits.items()
    ]
    return collect([msgspec.structs.replace(STARTED, path=path), *curves, *derived])


def test_limits_are_the_policys_when_it_is_loaded() -> None:
    """What was measured is what the server would enforce."""
    policy = parse(policy_text(run_of(inputs=12, bytes_of_one_text=3000)), "out.toml")
    assert (policy.text.max_inputs, policy.text.max_text_bytes) == (12, 3000)


def test_policy_is_accepted_when_limits_are_beyond_the_keys_ranges() -> None:
    """They are brought into range; a name with line breaks stays inside its comment."""
    assert parse(policy_text(run_of(inputs=10**6)), "out.toml").text.max_inputs == 4096


def test_policy_is_accepted_when_nothing_was_measured() -> None:
    """Comments only."""
    parse(policy_text(run_of()), "out.toml")


@pytest.mark.parametrize(
    ("path", "features", "keys"),
    [
        ("/v1/chat/completions", {"max_tokens": 40, "bytes of one text": 900},
         ("generation.most_tokens", "generation.max_prompt_bytes")),
        ("/v1/classify", {"pixels of a picture": 5000}, ("image.max_pixels",)),
        ("/v1/forecast", {"series": 5, "points of one series": 700, "horizon": 33},
         ("series.max_series", "series.max_points", "series.max_horizon")),
        ("/encode?mode=exact", {"inputs": 7, "bytes of one text": 800}, ("text.max_inputs", "text.max_text_bytes")),
    ],
)  # fmt: skip
def test_limits_go_to_the_keys_of_their_modality_when_the_route_says_which(
    path: str, features: dict[str, int], keys: tuple[str, ...]
) -> None:
    """Bytes of a text are a prompt's where text is written; nothing else is touched."""
    policy = parse(
        policy_text(run_of(path, **{name.replace(" ", "_"): limit for name, limit in features.items()})), "out.toml"
    )
    found = {key: getattr(getattr(policy, key.split(".")[0]), key.split(".")[1]) for key in keys}
    assert list(found.values()) == list(features.values())
    sections = {key.split(".")[0] for key in keys}
    assert all(
        getattr(policy, name) == getattr(Policy(), name)
        for name in {"text", "image", "series", "generation"} - sections
    )


def test_deadline_grant_and_rate_follow_from_the_dearest_call_inside_the_limits() -> None:
    """12 inputs at 10 ms each: the curve, its channel and the size stand beside each number."""
    text = policy_text(run_of(inputs=12))
    policy = parse(text, "out.toml")
    assert policy.edge.default_timeout_s == pytest.approx(1.2, rel=0.02)
    assert policy.price.max_cpu_s == pytest.approx(1.2, rel=0.02)
    assert policy.quota.anonymous_rate == pytest.approx(0.012, rel=0.02)
    assert policy.price.max_bytes == 32 * MIB
    for key in ("default_timeout_s", "max_cpu_s", "anonymous_rate"):
        line = next(line for line in text.splitlines() if line.startswith(key))
        assert "predicted at 12 of inputs (latency_s, linear)" in line
    assert "1.0 MiB predicted at 12 of inputs (memory_bytes, constant)" in text


def test_grants_stay_inside_the_defaults_when_calls_are_very_dear() -> None:
    """What was seen to take minutes does not raise what the server would grant by itself."""
    policy = parse(policy_text(run_of(inputs=4000)), "out.toml")
    assert (policy.edge.default_timeout_s, policy.price.max_cpu_s) == (60.0, 60.0)


def test_a_text_fits_the_body_when_both_are_limited() -> None:
    """Two sweeps, two limits: the smaller one holds."""
    policy = parse(
        policy_text(run_of(**{"bytes_of_one_text": 10**6, "bytes,_as_many_inputs_as_each_is_long": 20_000})), "out.toml"
    )
    assert policy.edge.max_body_bytes == policy.text.max_text_bytes == 25_000


def test_a_step_in_memory_is_no_limit_when_it_is_small() -> None:
    """A server that cuts texts off takes two megabytes at once: no cliff to stay away from, as most of a second would be."""
    step = {128: 0.01, 256: 0.01, 512: 0.01, 2048: 0.8, 4096: 0.8, 8192: 0.8, 16384: 0.8}
    memory = curve_of("memory_bytes", {size: cost * 4 * MIB for size, cost in step.items()})
    steep = curve_of("latency_s", step)
    assert (memory.fit.family, steep.fit.family) == (Family.CLIFF, Family.CLIFF)
    assert recommend(16384, "tried", {"memory_bytes": memory}) == (16384, "tried")
    assert recommend(16384, "tried", {"latency_s": steep})[0] < 512


def written(path: Path, result: Result, unfit: str = "") -> list[str]:
    """What is said after the policy of `result` was to be written to `path`."""
    with PolicyFiles(path) as files:
        return files.write(result, unfit)


def test_cost_file_is_beside_the_policy_when_a_curve_was_fitted(tmp_path: Path) -> None:
    """Same name, and readable as what it says it is."""
    assert written(tmp_path / "out.toml", run_of(inputs=3)) == []
    assert parse((tmp_path / "out.toml").read_text(), "out.toml").text.max_inputs == 3
    content = (tmp_path / "out.cost.json").read_bytes()
    cost = msgspec.json.decode(content, type=UpstreamCost)
    assert (cost.format, cost.upstream) == (COST_FORMAT, STARTED.target)
    assert [(curve.channel, curve.smallest, curve.largest) for curve in cost.curves] == [
        ("latency_s", 1, 8), ("memory_bytes", 1, 8),
    ]  # fmt: skip
    assert cost.curves[0].feature == "inputs"
    assert cost.curves[0].fit.predict(4) > cost.curves[0].fit.predict(2)


@pytest.mark.parametrize(
    ("result", "unfit"),
    [(run_of(inputs=3), "the run was not finished"), (run_of(), ""), (run_of(rows=512), "")],
    ids=["unfinished", "no limit", "no limit with a key"],
)
def test_policy_in_use_stays_when_a_run_has_no_key_to_say(tmp_path: Path, result: Result, unfit: str) -> None:
    """With the cost file beside it; where there was none, none is made."""
    policy, cost = tmp_path / "used.toml", tmp_path / "used.cost.json"
    policy.write_text("[text]\nmax_inputs = 7\n")
    cost.write_text("{}")
    said = written(policy, result, unfit)
    assert said[0].endswith(f"{policy} is left as it was")
    assert unfit in said[0]
    assert (policy.read_text(), cost.read_text()) == ("[text]\nmax_inputs = 7\n", "{}")
    assert "left as it was" not in written(tmp_path / "new.toml", result, unfit)[0]
    assert {path.name for path in tmp_path.iterdir()} == {"used.toml", "used.cost.json"}


def test_cost_file_of_an_earlier_run_goes_when_the_new_policy_has_no_curve(tmp_path: Path) -> None:
    """Beside a policy it would be read as the costs that the policy comes from."""
    policy, cost = tmp_path / "out.toml", tmp_path / "out.cost.json"
    cost.write_text("{}")
    assert written(policy, collect([STARTED, LimitDerived(2.0, "inputs", 3, "the target refuses more")])) == []
    assert parse(policy.read_text(), "out.toml").text.max_inputs == 3
    assert not cost.exists()


def test_cost_file_that_cannot_be_written_is_an_error_before_the_run(tmp_path: Path) -> None:
    """And the policy, which is opened before it, stays as it was or is not made."""
    (tmp_path / "out.cost.json").mkdir()
    with pytest.raises(ConfigError, match=r"out\.cost\.json can't be written"):
        PolicyFiles(tmp_path / "out.toml")
    assert {path.name for path in tmp_path.iterdir()} == {"out.cost.json"}


def test_policy_has_no_cost_file_when_it_goes_to_a_pipe(tmp_path: Path) -> None:
    """Nor to a device, nor to /dev/stdout, whatever is behind it: nothing can stand beside them."""
    reader, end = os.pipe()
    assert written(Path(f"/dev/fd/{end}"), run_of(inputs=3)) == []
    os.close(end)
    with os.fdopen(reader) as pipe:
        assert parse(pipe.read(), "pipe").text.max_inputs == 3
    assert written(Path(os.devnull), run_of(inputs=3)) == []
    with (tmp_path / "redirected.toml").open("w") as file:
        assert cost_path(Path(f"/dev/fd/{file.fileno()}")) is None
        assert cost_path(Path(f"/proc/self/fd/{file.fileno()}")) is None
        assert cost_path(Path(file.name)) == tmp_path / "redirected.cost.json"


def swept(costs: dict[int, float], limit: int = 0) -> Result:
    """A run that swept inputs, of 12 sizes these, and perhaps has a limit of max_text_bytes from elsewhere."""
    sizes = tuple(2**index for index in range(12))
    events: list[Event] = [STARTED, Planned(0.1, "sweep:inputs", "Cost of inputs", "light", 1, 1, "inputs", sizes)]
    events += [Sampled(1.0, "sweep:inputs", Arm.ATTACK, size, 200, cost) for size, cost in costs.items()]
    if len(costs) >= 4:
        events.append(curve_of("latency_s", costs))
    events.append(CaseFinished(2.0, "sweep:inputs", Verdict.SOUND, f"stopped at {max(costs)}:\none took long"))
    if limit:
        events.append(LimitDerived(3.0, "bytes of one text", limit, "measured"))
    return collect(events)


@pytest.mark.parametrize(
    ("costs", "why"),
    [
        ({1: 1.3, 2: 1.3, 4: 1.32, 8: 1.35}, "the smallest size already takes 1.3 s"),
        ({1: 2.0}, "the smallest size already takes 2.0 s"),
        ({1: 0.4, 2: 0.9, 4: 1.7}, "its sweep had to stop after 3 of 12 sizes"),
    ],
)
def test_policy_says_which_key_is_left_out_and_why(costs: dict[int, float], why: str, tmp_path: Path) -> None:
    """In one line of comment when other keys follow; on the console when none does, and no policy is written."""
    text = policy_text(swept(costs, limit=900))
    policy = parse(text, "out.toml")
    assert (policy.text.max_inputs, policy.text.max_text_bytes) == (Policy().text.max_inputs, 900)
    line = next(line for line in text.splitlines() if "text.max_inputs" in line)
    assert line.startswith("# text.max_inputs is left out: ")
    assert why in line
    assert line.endswith("one took long); choose one")
    assert any(why in said for said in written(tmp_path / "out.toml", swept(costs)))


def test_deadline_leaves_room_for_what_has_no_limit_because_it_is_slow() -> None:
    """Ten times what its smallest call takes: a deadline by the quick calls alone would refuse all the others."""
    slow = swept({1: 1.3, 2: 1.3, 4: 1.3, 8: 1.3}, limit=900)
    assert parse(policy_text(slow), "out.toml").edge.default_timeout_s == pytest.approx(13, rel=0.02)


def test_feature_stays_inside_its_comment_when_a_document_names_it(tmp_path: Path) -> None:
    """A part of a request is called what a target's document calls it."""
    named = LimitDerived(3.0, "items of a\n[text]\nmax_inputs = 9", 5, "measured")
    text = policy_text(collect([STARTED, named, LimitDerived(3.0, "bytes of one text", 900, "measured")]))
    assert parse(text, "out.toml").text.max_inputs == Policy().text.max_inputs


def test_cost_file_is_as_documented_when_the_page_shows_one() -> None:
    """The example of docs/costs.md is a cost file, with the very keys that are written."""
    page = (Path(__file__).parents[3] / "docs" / "costs.md").read_text()
    example = page.split("```json\n")[1].split("```")[0]
    shown = msgspec.json.decode(example)
    cost = msgspec.json.decode(example, type=UpstreamCost)
    assert msgspec.json.decode(msgspec.json.encode(cost)).keys() == shown.keys()
    assert cost.curves[0].fit.predict(470) == pytest.approx(0.004 + 0.0021 * 470)
    assert all(f"`{family}`" in page for family in Family)
    own = upstream_cost(run_of(inputs=3))
    assert own is not None
    assert msgspec.json.decode(msgspec.json.encode(own)).keys() == shown.keys()
