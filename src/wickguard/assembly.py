"""Assembly: from a policy and the models to the admission stage: which algorithm gets which setting.

Decides nothing that a policy could say; what follows from models and machine (the dearest call inside the envelope, the cores
that are shared) is computed here once. It must not know HTTP or processes.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from pathlib import Path

from wickguard import clock
from wickguard.backend import ModelSpec
from wickguard.control.gate import Gate, Parts
from wickguard.control.ladder import Ladder
from wickguard.control.memory import MemoryReservation
from wickguard.control.quota import Quota
from wickguard.control.slots import Slots
from wickguard.control.terms import TenantSettings
from wickguard.deadline import Deadline
from wickguard.guard.admit import Admission, Machine
from wickguard.guard.embedding import token_bound
from wickguard.guard.identity import load_keys
from wickguard.guard.price import Pricer
from wickguard.guard.standing import Standings, Tenancy
from wickguard.modality import text
from wickguard.policy.schema import Policy
from wickguard.records import Call, Caller, Lane, Pool, Quote

# A median request, for the credit of callers that nobody knows yet: one paragraph.
_MEDIAN_BYTES = 512


def build_admission(
    policy: Policy, models: Mapping[str, ModelSpec], pricer: Pricer, on_swarm: Callable[[], None]
) -> Admission:
    """The admission stage of a server."""
    machine = Machine(policy.capacity, policy.server.memory_bytes())
    parts = Parts(
        slots=Slots(policy.workers.calls(Lane.SHORT), policy.workers.calls(Lane.LONG)),
        memory=MemoryReservation(policy.server.memory_bytes(), policy.admission.tenant_memory_share),
        quota=Quota(secrets.token_bytes(32), policy.quota.quota()),
    )
    return Admission(
        Gate(parts, policy.admission), build_standings(policy, models, pricer, machine), machine, clock.now, on_swarm
    )


def build_standings(policy: Policy, models: Mapping[str, ModelSpec], pricer: Pricer, machine: Machine) -> Standings:
    """Who has which limits."""
    sample = text.synthesize([_MEDIAN_BYTES])
    dearest = median = 0.0
    for spec in models.values():
        bound = token_bound(spec)
        dearest = max(dearest, _reserve_s(pricer, spec, text.largest(policy.text, bound), machine))
        median = max(median, _reserve_s(pricer, spec, text.measure(sample, bound), machine))
    ladder = Ladder(policy.quota.ladder(policy.capacity, min(dearest, policy.price.max_cpu_s), median))
    local = policy.identity.anonymous == "loopback" and not policy.identity.keys
    keys = load_keys(Path(policy.identity.keys)) if policy.identity.keys else {}
    # Who has the server to itself shares it with nobody.
    alone = len({tenant for tenant, _ in keys.values()}) == 1 and policy.identity.anonymous != "always"

    def tenancy(name: str) -> Tenancy:
        tenant = TenantSettings(share=1.0) if alone and name not in policy.tenants else policy.tenant(name)
        return Tenancy(tenant.plan(policy.capacity), tenant.weight, tenant.group)

    return Standings(ladder, tenancy, local=local)


def _reserve_s(pricer: Pricer, spec: ModelSpec, features: text.TextFeatures, machine: Machine) -> float:
    caller = Caller("nobody", Pool.ANONYMOUS, "")
    quote = pricer.price(Call("", "", caller, spec.name, b"", features, Deadline(0.0)))
    # What is dearer than any call may be is refused before it reaches a quota.
    return machine.scalar_s(quote.reserve) if isinstance(quote, Quote) else pricer.most_s
