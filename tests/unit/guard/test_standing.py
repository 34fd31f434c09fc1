"""Standing: what is said of callers with a key, without one, and on this machine."""

from __future__ import annotations

import pytest

from wickguard.control.ladder import Ladder, LadderSettings, Plan, Scope, Trust
from wickguard.guard.standing import ANYBODY, Standings, Tenancy
from wickguard.records import Caller, Pool

LADDER = Ladder(LadderSettings(capacity=4.0, dearest_s=1.0, median_s=0.02))
NEW = Tenancy(Plan(0.5), trust=Trust.NEW)
PLANS = {"alice": Tenancy(Plan(2.0, calls=3), weight=2.0)}
ALICE = Caller("key:alice", Pool.KEYED, "127.0.0.2", "k1")
STRANGER = Caller("ip:192.0.2.7", Pool.ANONYMOUS, "192.0.2.7")


def standings(*, local: bool = False) -> Standings:
    """Alice has a plan, all others with a key are new."""
    return Standings(LADDER, lambda name: PLANS.get(name, NEW), local=local)


def test_a_tenant_has_its_plan_when_the_operator_gave_one() -> None:
    """Rate, weight, calls at once; itself as witness; no networks, because a key is accountable."""
    found = standings().of(ALICE)
    assert (found.trust, found.weight, found.witness) == (Trust.ESTABLISHED, 2.0, "key:alice")
    assert (found.own.scope, found.own.name, found.own.limit.rate) == (Scope.TENANT, "key:alice", 2.0)
    assert [level.name for level in found.levels if level.name.startswith("key:")] == [
        "key:alice", "key:alice#concurrent calls", "key:alice/k1"
    ]  # fmt: skip
    assert not [level for level in found.levels if level.scope is Scope.NETWORK]


def test_a_tenant_is_in_the_group_of_new_ones_when_its_tenancy_says_so() -> None:
    """And capped with them."""
    found = standings().of(Caller("key:bob", Pool.KEYED, "127.0.0.2", "k9"))
    assert (found.trust, found.own.limit.rate) == (Trust.NEW, 0.5)
    assert f"pool:{Trust.NEW}" in [level.name for level in found.levels]


def test_a_caller_without_a_key_is_anybody_when_it_comes_from_far() -> None:
    """Its address is its tenant, its network is limited, its failures are nobody's word."""
    found = standings().of(STRANGER)
    assert (found.trust, found.witness, found.weight) == (Trust.ANONYMOUS, ANYBODY, 1.0)
    assert found.own.credit == pytest.approx(0.02)
    assert [level.name for level in found.levels if level.scope is Scope.NETWORK] == ["net:192.0.2.0/24"]


def test_networks_are_found_when_the_address_is_a_v6_prefix() -> None:
    """As identity writes them."""
    found = standings().of(Caller("ip:2001:db8:1:2::/64", Pool.ANONYMOUS, "2001:db8:1:2::/64"))
    names = [level.name for level in found.levels if level.scope is Scope.NETWORK]
    assert names == ["net:20010db8000100/56", "net:20010db80001/48"]


def test_no_network_is_found_when_the_peer_has_no_address() -> None:
    """A UNIX socket, say."""
    found = standings().of(Caller("ip:unknown", Pool.ANONYMOUS, ""))
    assert not [level for level in found.levels if level.scope is Scope.NETWORK]


def test_a_caller_on_this_machine_has_all_of_it_when_it_may_call_without_a_key() -> None:
    """It could as well stop the server."""
    found = standings(local=True).of(Caller("ip:127.0.0.1", Pool.ANONYMOUS, "127.0.0.1"))
    assert (found.trust, found.own.limit.rate) == (Trust.LOCAL, 4.0)


def test_the_group_has_less_when_a_swarm_is_alarmed() -> None:
    """Tenants with a record notice nothing."""
    calm, alarmed = standings().of(STRANGER), standings().of(STRANGER, alarmed=True)
    pools = [next(level.limit.rate for level in found.levels if level.scope is Scope.POOL) for found in (calm, alarmed)]
    assert pools == pytest.approx([1.0, 0.4])
    assert standings().of(ALICE).levels == standings().of(ALICE, alarmed=True).levels


def test_standing_is_found_once_when_a_key_calls_again() -> None:
    """Keys are as many as the key file holds, so their standings may be kept."""
    found = standings()
    assert found.of(ALICE) is found.of(ALICE)
    assert found.of(STRANGER) is not found.of(STRANGER)
