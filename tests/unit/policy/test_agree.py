"""Whether sections go together: every rule is reached, names both keys, and holds for the defaults."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wickguard.control.ladder import Climber, Currency, Ladder, Trust
from wickguard.control.terms import TenantSettings
from wickguard.errors import ConfigError
from wickguard.policy.agree import disagreements, warnings
from wickguard.policy.load import parse
from wickguard.policy.schema import Policy


def test_nothing_is_said_when_the_policy_is_the_default() -> None:
    """No error on any machine, and no advice on one that is large enough."""
    assert disagreements(Policy()) == []
    assert warnings(parse('[server]\nmemory_budget_bytes = "2G"\n', "p.toml")) == []


@pytest.mark.parametrize(
    ("text", "line", "keys"),
    [
        ('[price]\nmax_bytes = "8G"\n', 2, ("price.max_bytes", "workers.max_grant_bytes")),
        ('\n[workers]\nmax_grant_bytes = "512M"\n', 3, ("price.max_bytes", "workers.max_grant_bytes")),
        ('[server]\nmemory_budget_bytes = "512M"\n', 2, ("price.max_bytes", "server.memory_budget_bytes")),
        (
            '[server]\nmemory_budget_bytes = "3G"\n[admission]\ntenant_memory_share = 0.3\n',
            2,
            ("price.max_bytes", "server.memory_budget_bytes", "admission.tenant_memory_share"),
        ),
        ("[edge]\nmax_timeout_s = 30\ndefault_timeout_s = 9\n", 2, ("price.max_cpu_s", "edge.max_timeout_s")),
        (
            "[price]\nmax_cpu_s = 1\n[edge]\nmax_timeout_s = 10\ndefault_timeout_s = 9\n",
            4,
            ("edge.body_timeout_s", "edge.max_timeout_s"),
        ),
        ("[edge]\nrate_grace_s = 30\n", 2, ("edge.rate_grace_s", "edge.body_timeout_s")),
        ('[workers]\nmax_job_bytes = "64k"\n', 2, ("edge.max_body_bytes", "workers.max_job_bytes")),
        (
            '[workers]\nmax_result_bytes = "1M"\n',
            2,
            ("generation.max_logits_bytes", "workers.max_result_bytes"),
        ),
        ('[workers]\nmax_job_bytes = "4M"\n', 2, ("edge.max_picture_bytes", "workers.max_job_bytes")),
        ("[workers]\nbackoff_base_s = 30\n", 2, ("workers.backoff_base_s", "workers.backoff_max_s")),
        ("[server]\nbacklog = 5\ndrain_s = 5\n", 3, ("server.drain_s", "server.header_timeout_s")),
        (
            "[quota]\ncapacity = 2\n[tenants.a]\nrate = 2.5\n[tenants.b]\nrate = 3.6\n",
            6,
            ("tenants.b.rate", "quota.capacity"),
        ),
    ],
)
def test_error_names_both_keys_and_a_line_when_sections_disagree(text: str, line: int, keys: tuple[str, ...]) -> None:
    """The line of the first of them that the file has."""
    with pytest.raises(ConfigError) as caught:
        parse(text, "p.toml")
    assert str(caught.value).startswith(f"p.toml:{line}: ")
    assert all(key in str(caught.value) for key in keys)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "[quota]\ncapacity = 2\n[tenants.a]\nrate = 1\n[tenants.b]\nrate = 1.5\nshare = 1.0\n",
            "1.2 times quota.capacity",
        ),
        (
            "[admission]\ntenant_memory_share = 0.01\n",
            "price.max_bytes is 1G, but a tenant may hold only .* on this machine",
        ),
        ("[quota]\ncapacity = 2\nburst_s = 20\n", "quota.burst_s may have no effect: .* 144 compute-seconds"),
        ("[quota]\ncapacity = 2\n[tenants.a]\nrate = 1.5\n", "tenants.a.rate is more than its share"),
    ],
)
def test_advice_is_given_when_a_policy_works_and_may_surprise(text: str, says: str) -> None:
    """One line each."""
    found = warnings(parse(text, "p.toml"))
    assert len(found) == 1
    assert re.search(says, found[0])


@given(
    cpu_s=st.floats(0.25, 300),
    burst_s=st.floats(0.1, 1000),
    capacity=st.floats(0.01, 64),
    rate=st.floats(0, 64),
    share=st.floats(0.001, 1),
)
def test_every_bucket_holds_the_dearest_call_when_any_policy_loads(
    cpu_s: float, burst_s: float, capacity: float, rate: float, share: float
) -> None:
    """1.2 times over, at every level in compute-seconds, whatever the operator wrote."""
    rate = min(rate, 3 * capacity)
    policy = parse(
        f"[price]\nmax_cpu_s = {cpu_s!r}\n[quota]\nburst_s = {burst_s!r}\ncapacity = {capacity!r}\n"
        f'[tenants.a]\nrate = {rate!r}\nshare = {share!r}\ntrust = "new"\n',
        "p.toml",
    )
    ladder = Ladder(policy.quota.ladder(policy.capacity, policy.price.max_cpu_s, 0.01))
    for climber, settings in (
        (Climber("key:a", Trust.NEW, "k"), policy.tenant("a")),
        (Climber("ip:1", Trust.ANONYMOUS, None, b"\x7f\0\0\1"), TenantSettings()),
    ):
        for level in ladder.levels(climber, settings.plan(policy.capacity)):
            assert level.currency is Currency.COMPUTE_S
            assert level.limit.depth >= 1.2 * cpu_s
