"""Pictures, series and written text: what the probe does to a real server, and the policy that follows from it."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.server import WICKGUARD, Server

from wickguard.policy.load import parse
from wickguard.probe.case import Intake, Profile
from wickguard.probe.cases import CATALOGUE
from wickguard.probe.engine import Options, probe
from wickguard.probe.events import CaseFinished, Verdict
from wickguard.probe.finding import Severity
from wickguard.probe.policy_out import write_policy
from wickguard.probe.rails import Limits, refuse_case
from wickguard.probe.result import Result
from wickguard.probe.target import Wanted

LIMITS = Limits(requests=5000, bytes=256 << 20, seconds=60.0, request_s=10.0, stop_s=1.0, repeats=2, storm_s=0.4)
# Route -> the model, its sweeps, and the keys that must follow.
ROUTES = {
    "/v1/classify": ("digits-vit", ("sweep:pixels",), {"image.max_pixels"}),
    "/v1/forecast": (
        "series-chronos",
        ("sweep:points", "sweep:series", "sweep:horizon"),
        {"series.max_points", "series.max_series", "series.max_horizon"},
    ),
    "/v1/completions": (
        "stories-llama",
        ("sweep:text_bytes", "sweep:max_tokens"),
        {"generation.max_prompt_bytes", "generation.most_tokens"},
    ),
}
# What follows from any of them.
ALWAYS = {"edge.default_timeout_s", "price.max_cpu_s", "quota.anonymous_rate"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Iterator[Server]:
    """Three models, no keys, and quotas that a sweep does not use up."""
    models = [str(shared / "models" / model) for model, _, _ in ROUTES.values()]
    found = Server(
        tmp_path_factory.mktemp("modalities"),
        "[quota]\nanonymous_rate = 100\nanonymous_share = 1.0\n",
        arguments=[word for model in models for word in ("--model", model)],
    )
    with found.running():
        yield found


@pytest.mark.parametrize("route", ROUTES)
def test_policy_has_the_keys_of_its_modality_when_a_route_was_swept(server: Server, route: str, tmp_path: Path) -> None:
    """`wickguard policy check` accepts it, and no limit is above what the server itself takes."""
    model, sweeps, keys = ROUTES[route]
    result = Result()

    async def run() -> None:
        options = Options(Wanted(server.url + route, "openai", model), Profile.SHORT, 1, only=sweeps, limits=LIMITS)
        async for event in probe(options, CATALOGUE):
            result.add(event)

    asyncio.run(run())
    finished = {
        case.case for case in result.cases if isinstance(case, CaseFinished) and case.verdict is not Verdict.SKIPPED
    }
    assert finished == set(sweeps)
    with (tmp_path / "limits.toml").open("w") as file:
        write_policy(result, file)
    done = subprocess.run([WICKGUARD, "policy", "check", file.name], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    text = Path(file.name).read_text()
    policy, default = parse(text, file.name), parse("", "defaults")
    for key in keys | ALWAYS:
        section, _, name = key.partition(".")
        assert f"{name} = " in text
        assert getattr(getattr(policy, section), name) <= getattr(getattr(default, section), name)


@pytest.mark.parametrize(
    ("route", "intake"),
    [("/v1/classify", Intake.PICTURE), ("/v1/forecast", Intake.SERIES), ("/v1/completions", Intake.PROMPT)],
)
def test_nothing_is_found_when_the_cases_of_a_modality_are_tried(server: Server, route: str, intake: Intake) -> None:
    """What a short run tries on this kind of route and on no other; the memory of workers counts like the front's."""
    only = tuple(
        case.id for case in CATALOGUE if case.takes is intake and not refuse_case(case, Profile.SHORT, "openai")
    )
    assert len(only) >= 3
    result = Result()

    async def run() -> None:
        wanted = Wanted(server.url + route, "openai", ROUTES[route][0])
        async for event in probe(
            Options(wanted, Profile.SHORT, 1, server.process.pid, only=only, limits=LIMITS), CATALOGUE
        ):
            result.add(event)

    asyncio.run(run())
    verdicts = {case.case: case.verdict for case in result.cases if isinstance(case, CaseFinished)}
    assert [item.evidence for item in result.findings if item.severity is not Severity.NOTE] == []
    assert {verdicts[case_id] for case_id in only} <= {Verdict.SOUND, Verdict.UNCLEAR}
    assert list(verdicts.values()).count(Verdict.SOUND) > len(only) / 2
