"""Assembly: from a policy and the models to the stages: which algorithm gets which setting, at the start and at a reload.

Decides nothing that a policy could say; what follows from models and machine (the dearest call inside the envelope, the cores
that are shared) is computed here once. It must not know HTTP or processes.
"""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from wickguard import clock
from wickguard.backend import ModelSpec, Task
from wickguard.control.gate import Gate, Parts
from wickguard.control.ladder import Ladder
from wickguard.control.memory import MemoryReservation
from wickguard.control.quota import Quota
from wickguard.control.slots import Slots
from wickguard.control.terms import TenantSettings
from wickguard.cost.quote import Priced
from wickguard.deadline import Deadline
from wickguard.dialect.task import Dialect
from wickguard.guard.admit import Admission, Machine
from wickguard.guard.classification import Classification
from wickguard.guard.decode import Decoder
from wickguard.guard.embedding import Embedding, EmbeddingMerger, token_bound
from wickguard.guard.forecasting import Forecasting, reach
from wickguard.guard.generation import Generation, GenerationMerger, prompt_limit
from wickguard.guard.identity import Identity, load_keys
from wickguard.guard.inference import Inference, Limits, logits_limit
from wickguard.guard.pipeline import Stages
from wickguard.guard.price import Pricer
from wickguard.guard.routes import Service
from wickguard.guard.sharing import Merger
from wickguard.guard.standing import Standings, Tenancy
from wickguard.modality import generation, image, image_header, logits, series, text
from wickguard.policy.schema import Policy
from wickguard.records import Call, Caller, Features, Lane, Pool, Quote
from wickguard.telemetry.events import PolicyInForce
from wickguard.units import KIB

# Whose calls can share a job.
MERGERS: Mapping[Task, Merger] = {Task.EMBED: EmbeddingMerger(), Task.GENERATE: GenerationMerger()}
# A median request, for the credit of callers that nobody knows yet: one paragraph.
_MEDIAN_BYTES = 512
# Or a picture for a screen, as JPEG.
_MEDIAN_PICTURE = (1024, 768)
_MEDIAN_FILE = 200 * KIB


@dataclass(frozen=True, slots=True)
class Ground:
    """What no policy changes while a server runs: its models, what their calls cost, the dialects it speaks.

    weights: tokens per character of each model whose texts have been measured.
    """

    models: Mapping[str, ModelSpec]
    prices: Mapping[str, Priced]
    weights: Mapping[str, text.TokenWeights]
    dialects: Mapping[str, Dialect]


def build_decoder(policy: Policy, ground: Ground) -> Decoder:
    """The decode stage of a server."""
    return Decoder(
        {
            Service.EMBED: Embedding(ground.models, ground.dialects, policy.text, ground.weights),
            Service.GENERATE: Generation(ground.models, policy.generation, ground.weights),
            Service.CLASSIFY: Classification(ground.models, policy.image),
            Service.FORECAST: Forecasting(ground.models, policy.series),
            Service.INFER: Inference(ground.models, _limits(policy)),
        }
    )


def build_pricer(policy: Policy, ground: Ground) -> Pricer:
    """The price stage of a server."""
    return Pricer(ground.prices, policy.price)


@dataclass(frozen=True, slots=True)
class Site:
    """What a policy means where it is in force: what its zeros stand for, and what follows from models and key file.

    capacity: compute-seconds per second. memory_bytes: of all grants together. slots, long_slots: calls at once. dearest_s,
    median_s: what the dearest call inside the envelope and a median one reserve. tenants: that have a key.
    """

    capacity: float
    memory_bytes: int
    slots: int
    long_slots: int
    dearest_s: float
    median_s: float
    tenants: int

    @property
    def machine(self) -> Machine:
        """What calls share."""
        return Machine(self.capacity, self.memory_bytes)

    def event(self) -> PolicyInForce:
        """For the audit log: without it nobody could tell later what the policy meant here."""
        return PolicyInForce(at=clock.utc(), **dataclasses.asdict(self))


def survey(policy: Policy, models: Mapping[str, ModelSpec], pricer: Pricer) -> Site:
    """The site of a server on this machine. Raises ConfigError when the key file can't be read."""
    machine = Machine(policy.capacity, policy.server.memory_bytes())
    dearest = median = 0.0
    for spec in models.values():
        ordinary, *largest = _samples(policy, spec)
        dearest = max(dearest, *(_reserve_s(pricer, spec, features, machine) for features in largest))
        median = max(median, _reserve_s(pricer, spec, ordinary, machine))
    keys = load_keys(Path(policy.identity.keys)) if policy.identity.keys else {}
    return Site(
        capacity=machine.cores,
        memory_bytes=machine.memory_bytes,
        slots=policy.workers.calls(Lane.SHORT),
        long_slots=policy.workers.calls(Lane.LONG),
        dearest_s=dearest,
        median_s=median,
        tenants=len({tenant for tenant, _ in keys.values()}),
    )


def build_gate(policy: Policy, site: Site, seed: bytes) -> Gate:
    """The gate. `seed` is secret (control/roll.py)."""
    parts = Parts(
        slots=Slots(site.slots, site.long_slots),
        memory=MemoryReservation(site.memory_bytes, policy.admission.tenant_memory_share),
        quota=Quota(seed, policy.quota.quota()),
    )
    return Gate(parts, policy.admission)


def build_standings(policy: Policy, site: Site) -> Standings:
    """Who has which limits."""
    ladder = Ladder(policy.quota.ladder(site.capacity, min(site.dearest_s, policy.price.max_cpu_s), site.median_s))
    local = policy.identity.anonymous == "loopback" and not policy.identity.keys
    # Who has the server to itself shares it with nobody.
    alone = site.tenants == 1 and policy.identity.anonymous != "always"

    def tenancy(name: str) -> Tenancy:
        tenant = TenantSettings(share=1.0) if alone and name not in policy.tenants else policy.tenant(name)
        return Tenancy(tenant.plan(site.capacity), tenant.weight, tenant.group)

    return Standings(ladder, tenancy, local=local)


def build_admission(policy: Policy, site: Site, on_swarm: Callable[[], None]) -> Admission:
    """The admission stage of a server."""
    gate = build_gate(policy, site, secrets.token_bytes(32))
    return Admission(gate, build_standings(policy, site), site.machine, clock.now, on_swarm)


def restage(stages: Stages, policy: Policy, identity: Identity, ground: Ground) -> tuple[Stages, Site]:
    """The stages of a running server under another policy: what was spent, what waits and what runs is kept.

    `stages` lose nothing and forget nothing; those that have a state adopt the policy, the others are made anew. Raises
    ConfigError, and has then changed nothing.
    """
    pricer = build_pricer(policy, ground)
    pricer.widening, pricer.learned = stages.pricer.widening, stages.pricer.learned
    site = survey(policy, ground.models, pricer)
    standings = build_standings(policy, site)
    decoder = build_decoder(policy, ground)
    # Nothing fails from here on, so that no half of a policy is ever in force.
    gate = stages.admission.gate
    gate.adopt(policy.admission)
    gate.parts.quota.adopt(policy.quota.quota())
    stages.admission.adopt(standings, site.machine)
    stages.flight.adopt(policy.edge)
    stages.outbox.adopt(policy.edge)
    new = dataclasses.replace(stages, identity=identity, edge=policy.edge, decoder=decoder, pricer=pricer)
    return new, site


def _limits(policy: Policy) -> Limits:
    return Limits(policy.text, policy.series, policy.generation)


def _samples(policy: Policy, spec: ModelSpec) -> tuple[Features, ...]:
    """An ordinary request for a model, and the dearest ones inside the envelope, of each sort that its prices know."""
    if spec.image is not None:
        size = spec.image.height, spec.image.width
        ordinary = image_header.Header(image_header.Kind.JPEG, *_MEDIAN_PICTURE, 1, 24, 1)
        largest = image.largest(policy.image, policy.edge.picture_bytes, size)
        return image.measure(ordinary, _MEDIAN_FILE, size), largest
    if spec.series is not None:
        seen = reach(spec.series)
        ordinary_series = series.measure([seen.context], seen.piece, spec.series.samples, seen)
        return ordinary_series, series.largest(policy.series, seen)
    if spec.writer is not None:
        limit, settings = prompt_limit(spec), policy.generation
        prompt = generation.synthesize(_MEDIAN_BYTES, 0)
        usual = generation.measure(prompt, settings.default_max_tokens, limit)
        return usual, generation.largest(settings, limit), logits.largest(logits_limit(spec, _limits(policy)))
    bound = token_bound(spec)
    return text.measure(text.synthesize([_MEDIAN_BYTES]), bound), text.largest(policy.text, bound)


def _reserve_s(pricer: Pricer, spec: ModelSpec, features: Features, machine: Machine) -> float:
    caller = Caller("nobody", Pool.ANONYMOUS, "")
    quote = pricer.price(Call("", "", caller, spec.name, b"", features, Deadline(0.0)))
    # What is dearer than any call may be is refused before it reaches a quota.
    return machine.scalar_s(quote.reserve) if isinstance(quote, Quote) else pricer.most_s
