"""The policy that follows from a run is one that `wickguard policy check` accepts, whatever the target calls itself."""

from __future__ import annotations

from pathlib import Path

import msgspec

from wickguard.policy.load import parse
from wickguard.probe.events import CurveFitted, LimitDerived, Point, Started
from wickguard.probe.fit import fit
from wickguard.probe.policy_out import UpstreamCost, policy_text, write_policy
from wickguard.probe.result import Result, collect

STARTED = Started(
    0.0, "http://127.0.0.1:1", "openai", "/v1/embeddings", "evil\n[text]\nmax_inputs = 9", "short", 0, "0", "now"
)


def run_of(**limits: int) -> Result:
    """A run with these limits and one curve."""
    points = tuple(Point(size, 0.01 * size, 0.01 * size, 0.01 * size) for size in (1, 2, 4, 8))
    curve = CurveFitted(
        1.0, "sweep:inputs", "inputs", "latency_s", fit([p.size for p in points], [p.value for p in points]), points
    )
    derived = [LimitDerived(2.0, name.replace("_", " "), limit, "measured") for name, limit in limits.items()]
    return collect([STARTED, curve, *derived])


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


def test_cost_file_is_beside_the_policy_when_a_curve_was_fitted(tmp_path: Path) -> None:
    """Same name, and readable as what it says it is."""
    with (tmp_path / "out.toml").open("w") as file:
        write_policy(run_of(inputs=3), file)
    cost = msgspec.json.decode((tmp_path / "out.cost.json").read_bytes(), type=UpstreamCost)
    assert cost.curves[0].feature == "inputs"
    assert cost.curves[0].fit.predict(4) > cost.curves[0].fit.predict(2)
