"""Assembly: which limits follow from a policy, the models and the key file."""

from __future__ import annotations

from pathlib import Path

from tests.fakes import MINILM, PRICES

from wickguard.assembly import build_admission, survey
from wickguard.control.terms import QuotaPolicy, TenantSettings
from wickguard.guard.admit import Admission
from wickguard.guard.identity import IdentitySettings, add_key
from wickguard.guard.price import Pricer
from wickguard.policy.schema import Policy
from wickguard.records import Caller, Pool

CAPACITY = QuotaPolicy(capacity=4.0)


def admission(policy: Policy) -> Admission:
    """The stage that this policy makes, for MiniLM."""
    models = {MINILM.name: MINILM}
    return build_admission(policy, survey(policy, models, Pricer(PRICES, policy.price)), lambda: None)


def keyed(tenant: str) -> Caller:
    """A caller with a key."""
    return Caller(f"key:{tenant}", Pool.KEYED, "192.0.2.1", "k1")


def test_a_tenant_has_the_whole_capacity_when_it_is_alone(tmp_path: Path) -> None:
    """Half of it, like everybody, when another one has a key."""
    identity = IdentitySettings(keys=str(tmp_path / "keys"))
    add_key(tmp_path / "keys", "alice")
    assert admission(Policy(identity=identity, quota=CAPACITY)).allowance(keyed("alice")).rate == 4.0
    add_key(tmp_path / "keys", "bob")
    assert admission(Policy(identity=identity, quota=CAPACITY)).allowance(keyed("alice")).rate == 2.0


def test_a_tenant_has_what_the_operator_says_when_it_has_a_table(tmp_path: Path) -> None:
    """Also when it is alone."""
    identity = IdentitySettings(keys=str(tmp_path / "keys"))
    add_key(tmp_path / "keys", "alice")
    policy = Policy(identity=identity, quota=CAPACITY, tenants={"alice": TenantSettings(rate=0.5)})
    assert admission(policy).allowance(keyed("alice")).rate == 0.5


def test_a_bucket_holds_the_dearest_call_when_rates_are_small() -> None:
    """Else that class of call would be refused for ever: 64 texts of 512 tokens, reserved at their 95th percentile."""
    anonymous = Policy(identity=IdentitySettings(anonymous="always"), quota=QuotaPolicy(anonymous_rate=0.001))
    stage = admission(anonymous)
    address = Caller("ip:192.0.2.7", Pool.ANONYMOUS, "192.0.2.7")
    found = stage.allowance(address)
    assert found.depth_s > 10 * found.rate
    assert 0 < found.available_s < found.depth_s / 10


def test_callers_of_this_machine_have_all_of_it_when_there_are_no_keys() -> None:
    """Nobody else is served then."""
    stage = admission(Policy(quota=CAPACITY))
    assert stage.allowance(Caller("ip:127.0.0.1", Pool.ANONYMOUS, "127.0.0.1")).rate == 4.0
