"""The plan: which cases run, in which order, and the most that each may send.

Decides by profile, dialect and risk; what is left out is planned, too, with the reason. Promises that nothing is sent, and that
no trace is larger than `MOST_BYTES`. It must not know what cases do.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, fields, replace

from wickguard.probe.case import Case, Profile
from wickguard.probe.events import Planned
from wickguard.probe.rails import Limits, refuse_case
from wickguard.probe.spelling import TargetSpelling
from wickguard.probe.sweep import sweeps
from wickguard.probe.trace import Request
from wickguard.units import MIB, format_bytes

# What one measured size sends beside the attack: its twin and up to three controls; and all of it once more to confirm.
_CONTROLS = 3
_CONFIRMED = 2
# Of one trace; a case ends before the first size that is larger.
MOST_BYTES = 16 * MIB
_MOST = format_bytes(MOST_BYTES)


@dataclass(frozen=True, slots=True)
class Row:
    """A case, and what was planned for it. It runs unless `planned.skip` says why not."""

    case: Case
    planned: Planned


class _TooLarge(Exception):  # noqa: N818 -- a fact, not an error
    """So many bytes were made that the trace can't be small enough."""


@dataclass(frozen=True, slots=True)
class _Metered(TargetSpelling):
    """Ends a trace while it is made, before it fills the memory of the probe itself."""

    made: list[int] = field(default_factory=list)

    def json(self, document: object, path: str | None = None) -> Request:
        """As ever. Raises _TooLarge."""
        request = TargetSpelling.json(self, document, path)
        self.made.append(request.size_bytes)
        if sum(self.made) > 2 * MOST_BYTES:
            raise _TooLarge
        return request


def _metered(plain: TargetSpelling) -> _Metered:
    return _Metered(**{each.name: getattr(plain, each.name) for each in fields(plain)})


def make_plan(
    spelling: TargetSpelling, catalogue: tuple[Case, ...], profile: Profile, limits: Limits, seed: int
) -> list[Row]:
    """Sweeps first, then the catalogue in its own order."""
    return [_row(case, spelling, profile, limits, seed) for case in (*sweeps(spelling), *catalogue)]


def _row(case: Case, spelling: TargetSpelling, profile: Profile, limits: Limits, seed: int) -> Row:
    # What this route will never run is not promised for another profile.
    foreign = spelling.dialect in case.dialects and case.takes is not None and case.takes not in spelling.takes
    skip = f"not for a route that takes no {case.takes}" if foreign else refuse_case(case, profile, spelling.dialect)
    requests = sent = 0
    sizes: list[int] = []
    for size in case.sizes if not skip else ():
        try:
            attack = case.attack(_metered(spelling), size, random.Random(f"{seed}:{case.id}:{size}"))
        except _TooLarge:
            attack = None
        if attack is None or attack.payload_bytes > MOST_BYTES:
            # What a row of a tensor weighs is the target's affair: thousands of the largest would be gigabytes.
            skip = skip or (
                "" if sizes else f"an ordinary request of this target is too large: more than {_MOST} in one trace"
            )
            break
        sizes.append(size)
        twin = case.twin(spelling, size, random.Random(f"{seed}:{case.id}:{size}:twin")) if case.twin else None
        steps = len(attack.steps) + (len(twin.steps) if twin else 1) + _CONTROLS
        requests += steps * limits.repeats * _CONFIRMED
        sent += (attack.payload_bytes + (twin.payload_bytes if twin else 0)) * limits.repeats * _CONFIRMED
    return Row(
        replace(case, sizes=tuple(sizes) or case.sizes),
        Planned(
            at_s=0.0,
            case=case.id,
            title=case.title,
            risk=str(case.risk),
            requests=requests,
            bytes=sent,
            feature=case.feature,
            sizes=tuple(sizes) or case.sizes,
            oracles=tuple(sorted(case.oracles)),
            taxonomy=case.taxonomy,
            skip=skip,
        ),
    )
