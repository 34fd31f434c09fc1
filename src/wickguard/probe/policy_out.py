"""The policy that follows from a run, and the cost file of a model behind an upstream.

Decides which measured limit becomes which key: inputs and bytes of one text, and the body that holds what both allow
together. Promises TOML that `wickguard policy check` accepts (values are brought into the keys' own ranges), with where each
number comes from beside it, and nothing about features that were not measured. It must not know the policy's code: it is
above the probe.
"""

from __future__ import annotations

from pathlib import Path
from typing import TextIO

import msgspec

from wickguard.probe.events import CurveFitted, LimitDerived, Started
from wickguard.probe.fit import Fit
from wickguard.probe.result import Result
from wickguard.units import KIB, MIB

COST_FORMAT = 1
# Feature -> section, key, and the range that the key accepts.
KEYS: dict[str, tuple[str, str, int, int]] = {
    "inputs": ("text", "max_inputs", 1, 4096),
    "bytes of one text": ("text", "max_text_bytes", 1, 16 * MIB),
    "bytes, as many inputs as each is long": ("edge", "max_body_bytes", KIB, 16 * MIB),
}
# Quotes, commas and escapes around the texts of a body.
_BODY_OVERHEAD = 1.25


class CostCurve(msgspec.Struct, frozen=True):
    """What a feature of an upstream costs: the fit, the sizes it holds for, and which costs were read."""

    feature: str
    channel: str
    fit: Fit
    smallest: float
    largest: float


class UpstreamCost(msgspec.Struct, frozen=True):
    """The cost file of a model that somebody else serves: measured from outside, so valid for that server alone."""

    format: int
    upstream: str
    dialect: str
    model: str
    measured_at: str
    probe: str
    curves: tuple[CostCurve, ...]


def write_policy(result: Result, file: TextIO) -> None:
    """Write the policy to `file`, and the cost file beside it (same name, `.cost.json`)."""
    file.write(policy_text(result))
    file.flush()
    cost = upstream_cost(result)
    if cost is not None:
        path = Path(file.name).with_suffix(".cost.json")
        path.write_bytes(msgspec.json.format(msgspec.json.encode(cost), indent=1) + b"\n")


def policy_text(result: Result) -> str:
    """The policy as TOML; comments only when no sweep gave a limit."""
    started = result.started
    lines = ["# Limits by `wickguard probe`.", *_provenance(started)]
    sections: dict[str, list[str]] = {}
    for limit in result.limits:
        if limit.feature in KEYS:
            section, key, least, most = KEYS[limit.feature]
            sections.setdefault(section, []).append(f"{key} = {_value(key, limit, least, most)}  # {limit.reason}")
        else:
            lines.append(f"# {limit.feature}: {limit.limit} ({limit.reason}); no key of the policy bounds it.")
    if not sections:
        lines.append("# No sweep of this run ended with a limit.")
    for section, keys in sorted(sections.items()):
        lines += ["", f"[{section}]", *keys]
    return "\n".join(lines) + "\n"


def upstream_cost(result: Result) -> UpstreamCost | None:
    """The cost file of a run, None when no sweep was fitted."""
    started = result.started
    curves = tuple(_curve(curve) for curve in result.curves if curve.case.startswith("sweep:"))
    if started is None or not curves:
        return None
    return UpstreamCost(
        format=COST_FORMAT,
        upstream=started.target,
        dialect=started.dialect,
        model=started.model,
        measured_at=started.began,
        probe=started.version,
        curves=curves,
    )


def _curve(curve: CurveFitted) -> CostCurve:
    return CostCurve(curve.feature, curve.channel, curve.fit, curve.points[0].size, curve.points[-1].size)


def _value(key: str, limit: LimitDerived, least: int, most: int) -> int:
    wanted = round(limit.limit * _BODY_OVERHEAD) if key == "max_body_bytes" else limit.limit
    return min(most, max(least, wanted))


def _provenance(started: Started | None) -> list[str]:
    if started is None:
        return []
    # A comment ends with its line; what the target calls itself must not continue it.
    facts = (
        f"target {started.target} {started.path}, model {started.model or '-'}",
        f"measured {started.began} by wickguard {started.version} on {started.host}, profile {started.profile}, "
        f"seed {started.seed}",
    )
    return ["# " + "".join(letter if letter.isprintable() else "?" for letter in fact) for fact in facts]
