"""Assembly: from a policy and the models to the stages: which algorithm gets which setting, at the start and at a reload.

Decides nothing that a policy could say; what follows from models and machine (the dearest call inside the envelope, the cores
that are shared) is computed here once. It must not know HTTP or processes.
"""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from wickguard import clock
from wickguard.backend import ModelSpec
from wickguard.control.gate import Gate, Parts
from wickguard.control.ladder import Ladder
from wickguard.control.memory import MemoryReservation
from wickguard.control.quota import Quota
from wickguard.control.slots import Slots
from wickguard.control.terms import TenantSettings
from wickguard.deadline import Deadline
from wickguard.dialect.task import Dialect
from wickguard.guard.admit import Admission, Machine
from wickguard.guard.decode import Decoder
from wickguard.guard.embedding import Embedding, token_bound
from wickguard.guard.identity import Identity
from wickguard.guard.pipeline import Stages
from wickguard.guard.price import Pricer
from wickguard.guard.routes import Service
from wickguard.guard.standing import Standings, Tenancy
from wickguard.modality import text
from wickguard.policy.schema import Policy
from wickguard.records import Call, Caller, Lane, Pool, Quote

# A median request, for the credit of callers that nobody knows yet: one paragraph.
_MEDIAN_BYTES = 512


@dataclass(frozen=True, slots=True)
class Ground:
    """What no policy changes while a server runs: its models, the speed of one core on each, the dialects it speaks."""

    models: Mapping[str, ModelSpec]
    speeds: Mapping[str, float]
    dialects: Mapping[str, Dialect]


def build_decoder(policy: Policy, ground: Ground) -> Decoder:
    """The decode stage of a server."""
    return Decoder({Service.EMBED: Embedding(ground.models, ground.dialects, policy.text)})


def build_pricer(policy: Policy, ground: Ground) -> Pricer:
    """The price stage of a server."""
    return Pricer(ground.models, ground.speeds, policy.price)


def restage(stages: Stages, policy: Policy, identity: Identity, ground: Ground) -> Stages:
    """The stages of a running server under another policy: what was spent, what waits and what runs is kept.

    `stages` lose nothing and forget nothing; those that have a state adopt the policy, the others are made anew.
    """
    pricer = build_pricer(policy, ground)
    pricer.widening = stages.pricer.widening
    machine = Machine(policy.capacity, policy.server.memory_bytes())
    standings = build_standings(policy, ground.models, pricer, machine)
    decoder = build_decoder(policy, ground)
    # Nothing fails from here on, so that no half of a policy is ever in force.
    gate = stages.admission.gate
    gate.adopt(policy.admission)
    gate.parts.quota.adopt(policy.quota.quota())
    stages.admission.adopt(standings, machine)
    stages.flight.adopt(policy.edge)
    return dataclasses.replace(stages, identity=identity, edge=policy.edge, decoder=decoder, pricer=pricer)


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
    return Standings(ladder, lambda name: _tenancy(policy.tenant(name), policy.capacity), local=local)


def _tenancy(tenant: TenantSettings, capacity: float) -> Tenancy:
    return Tenancy(tenant.plan(capacity), tenant.weight, tenant.group)


def _reserve_s(pricer: Pricer, spec: ModelSpec, features: text.TextFeatures, machine: Machine) -> float:
    caller = Caller("nobody", Pool.ANONYMOUS, "")
    quote = pricer.price(Call("", "", caller, spec.name, b"", features, Deadline(0.0)))
    # What is dearer than any call may be is refused before it reaches a quota.
    return machine.scalar_s(quote.reserve) if isinstance(quote, Quote) else pricer.most_s
