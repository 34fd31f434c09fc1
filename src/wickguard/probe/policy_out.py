"""The policy that follows from a run, and the cost file of a model behind an upstream.

Decides which measured limit becomes which key, by the feature and the kind of route; and, from what the curves predict at
those limits, the deadline, the most that one call may be granted, and the rate of callers without a key. Promises TOML that
`wickguard policy check` accepts (values are brought into the keys' own ranges), with the curve that each number comes from
beside it, nothing about features that were not measured, and beside each key that had to stay out the reason. Promises
that a policy in use is not replaced by one that says nothing, and that the cost file beside a policy is of the same run. It
must not know the policy's code: it is above the probe.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

import msgspec

from wickguard.probe.events import Arm, CurveFitted, LimitDerived, Planned, Started, Verdict
from wickguard.probe.fit import Fit
from wickguard.probe.limits import why_none
from wickguard.probe.output import Output
from wickguard.probe.printable import printable
from wickguard.probe.result import Result
from wickguard.probe.sweep import PREFIX
from wickguard.units import KIB, MIB, format_bytes, format_seconds

COST_FORMAT = 1
# What is written to by the names in here is no file that another could stand beside, whatever is behind it.
_DEVICES, _PROCESSES = Path("/dev"), Path("/proc")
_SQUARE = "bytes, as many inputs as each is long"
# Feature -> section, key, and the range that the key accepts.
_TEXT = {
    "inputs": ("text", "max_inputs", 1, 4096),
    "bytes of one text": ("text", "max_text_bytes", 1, 16 * MIB),
    _SQUARE: ("edge", "max_body_bytes", KIB, 16 * MIB),
}
_PROMPT = {
    "max_tokens": ("generation", "most_tokens", 1, 1 << 20),
    "bytes of one text": ("generation", "max_prompt_bytes", 1, 16 * MIB),
}
_PICTURE = {"pixels of a picture": ("image", "max_pixels", 1, 1 << 30)}
_SERIES = {
    "series": ("series", "max_series", 1, 4096),
    "points of one series": ("series", "max_points", 1, 1 << 20),
    "horizon": ("series", "max_horizon", 1, 4096),
}
# End of a path -> its keys; the others are of texts.
KEYS: dict[str, dict[str, tuple[str, str, int, int]]] = {
    "completions": _PROMPT,
    "/classify": _PICTURE,
    "/forecast": _SERIES,
}
# Quotes, commas and escapes around the texts of a body.
_BODY_OVERHEAD = 1.25
# A deadline is so many times the longest that a call inside the limits is predicted to take; the key's own default is the most.
_DEADLINES, _MOST_DEADLINE_S = 10.0, 60.0
# What the kernel stops at, over what is predicted: a measurement is no bound.
_SLACK, _LEAST_CPU_S, _MOST_CPU_S = 10.0, 0.25, 60.0
_BYTES_SLACK, _LEAST_BYTES, _MOST_BYTES = 4.0, 32 * MIB, 1024 * MIB
# A caller without a key may send one call at the limits in so many seconds.
_ANONYMOUS_S, _LEAST_RATE, _MOST_RATE = 10.0, 0.0001, 65_536.0


@dataclass(frozen=True, slots=True)
class _Dearest:
    """The most that one channel is predicted to cost at a limit, and whose curve says so."""

    cost: float
    feature: str
    limit: int
    channel: str
    grows: str

    def say(self) -> str:
        seen = format_bytes(self.cost) if self.channel == "memory_bytes" else format_seconds(self.cost)
        return f"{seen} predicted at {self.limit} of {self.feature} ({self.channel}, {self.grows})"


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


class PolicyFiles:
    """The policy's file and the cost file beside it: opened at once, written together or not at all. Raises ConfigError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with ExitStack() as stack:
            self._policy = stack.enter_context(Output(path))
            beside = cost_path(path)
            self._cost = stack.enter_context(Output(beside)) if beside is not None else None
            self._open = stack.pop_all()

    def write(self, result: Result, unfit: str = "") -> list[str]:
        """Write both, or leave both as they are; returns why, in sentences. unfit: why no policy is made of such a run."""
        why = unfit or ("" if _sections(result) else "no key of it follows from what was measured")
        if why:
            left = f"; {self._path} is left as it was" if self._policy.kept else ""
            return [f"no policy was written: {why}{left}", *([] if unfit else left_out(result))]
        write_policy(result, self._policy.begin())
        cost = upstream_cost(result)
        if self._cost is not None and cost is not None:
            self._cost.begin().write(msgspec.json.format(msgspec.json.encode(cost), indent=1).decode() + "\n")
        elif self._cost is not None:
            self._cost.discard()
        return []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()


def cost_path(policy: Path) -> Path | None:
    """The cost file's place, beside a policy that is open: same name, `.cost.json`. None beside a pipe or /dev/stdout."""
    folder = policy.parent.resolve()
    if not policy.is_file() or folder == _DEVICES or _PROCESSES in folder.parents:
        return None
    return policy.with_suffix(".cost.json")


def write_policy(result: Result, file: TextIO) -> None:
    """Write the policy to `file`."""
    file.write(policy_text(result))
    file.flush()


def policy_text(result: Result) -> str:
    """The policy as TOML; comments only when no sweep gave a limit."""
    keys = _keys(result)
    lines = ["# Limits by `wickguard probe`.", *_provenance(result.started)]
    lines += [
        _comment(f"{limit.feature}: {limit.limit} ({limit.reason}); no key of the policy bounds it.")
        for limit in result.limits
        if limit.feature not in keys
    ]
    lines += [_comment(reason) for reason in left_out(result)]
    sections = _sections(result)
    if not sections:
        lines.append("# No sweep of this run ended with a limit.")
    for section, found in sorted(sections.items()):
        lines += ["", f"[{section}]", *found]
    return "\n".join(lines) + "\n"


def _sections(result: Result) -> dict[str, list[str]]:
    """The lines of each section; empty when no limit has a key."""
    keys = _keys(result)
    sections: dict[str, list[str]] = {}
    for limit in result.limits:
        if limit.feature in keys:
            section, key, least, most = keys[limit.feature]
            value = min(most, max(least, _value(key, limit, result.limits)))
            why = "a body holds no more" if key == "max_text_bytes" and value < limit.limit else limit.reason
            sections.setdefault(section, []).append(f"{key} = {value}  # sweep of {limit.feature}: {why}")
    for section, line in _consequences(result, keys) if sections else ():
        sections.setdefault(section, []).append(line)
    return sections


def _keys(result: Result) -> dict[str, tuple[str, str, int, int]]:
    path = result.started.path.partition("?")[0] if result.started else ""
    return next((found for end, found in KEYS.items() if path.endswith(end)), _TEXT)


def left_out(result: Result) -> list[str]:
    """Of each sweep that was to run and gave no limit: which key stays out, and why."""
    limited, keys = {limit.feature for limit in result.limits}, _keys(result)
    found = []
    for planned in result.planned:
        if planned.case.startswith(PREFIX) and not planned.skip and planned.feature not in limited:
            section, key, _, _ = keys.get(planned.feature, ("", "", 0, 0))
            name = f"{section}.{key} is left out" if key else "no limit"
            choose = "; choose one" if key else ""
            found.append(f"{name}: {planned.feature}: {_why_none(result, planned)}{choose}")
    return found


def _why_none(result: Result, planned: Planned) -> str:
    ended = next((case for case in result.cases if case.case == planned.case), None)
    if ended is None or ended.verdict is Verdict.SKIPPED:
        return "it was not measured" + (f" ({ended.reason})" if ended and ended.reason else "")
    samples = [sample for sample in result.samples if sample.case == planned.case and sample.arm is Arm.ATTACK]
    curves = {curve.channel: curve for curve in result.curves if curve.case == planned.case}
    why = why_none(samples, curves, planned.sizes) or "what it should take is below the smallest size"
    return f"{why} ({ended.reason})" if ended.reason else why


def _consequences(result: Result, keys: Mapping[str, object]) -> list[tuple[str, str]]:
    """Section and line of each key that follows from what a call at the limits costs."""
    found = []
    if (slowest := _dearest(result, keys, ("latency_s",))) is not None:
        deadline_s = min(_MOST_DEADLINE_S, max(1.0, _DEADLINES * slowest.cost))
        found.append(("edge", f"default_timeout_s = {_round(deadline_s)}  # {_DEADLINES:g} times {slowest.say()}"))
    if (dearest := _dearest(result, keys, ("cpu_s", "latency_s"))) is not None:
        granted_s = min(_MOST_CPU_S, max(_LEAST_CPU_S, _SLACK * dearest.cost))
        found.append(("price", f"max_cpu_s = {_round(granted_s)}  # {_SLACK:g} times {dearest.say()}"))
        rate = min(_MOST_RATE, max(_LEAST_RATE, dearest.cost / _ANONYMOUS_S))
        found.append(
            ("quota", f"anonymous_rate = {_round(rate)}  # one such call in {_ANONYMOUS_S:g} s: {dearest.say()}")
        )
    if (largest := _dearest(result, keys, ("memory_bytes",))) is not None:
        granted = -(-int(min(_MOST_BYTES, max(_LEAST_BYTES, _BYTES_SLACK * largest.cost))) // MIB) * MIB
        found.append(("price", f"max_bytes = {granted}  # {_BYTES_SLACK:g} times {largest.say()}"))
    return found


def _dearest(result: Result, keys: Mapping[str, object], channels: Sequence[str]) -> _Dearest | None:
    """Over all sweeps with a key; of each the first of the channels that it has a curve in."""
    found = []
    limits = {limit.feature: limit.limit for limit in result.limits}
    for feature in dict.fromkeys(curve.feature for curve in result.curves if _is_sweep(curve)):
        curves = {curve.channel: curve for curve in result.curves if curve.feature == feature and _is_sweep(curve)}
        curve = next((curves[channel] for channel in channels if channel in curves), None)
        if curve is not None and feature in keys:
            # What has no limit is called all the same, and must fit into what follows: at its smallest, at least.
            size = limits.get(feature, int(curve.points[0].size))
            found.append(_Dearest(curve.fit.predict(size), feature, size, curve.channel, curve.fit.describe()))
    return max(found, key=lambda one: one.cost, default=None)


def upstream_cost(result: Result) -> UpstreamCost | None:
    """The cost file of a run, None when no sweep was fitted."""
    started = result.started
    curves = tuple(_curve(curve) for curve in result.curves if _is_sweep(curve))
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


def _is_sweep(curve: CurveFitted) -> bool:
    return curve.case.startswith(PREFIX)


def _value(key: str, limit: LimitDerived, limits: Sequence[LimitDerived]) -> int:
    if key == "max_body_bytes":
        return round(limit.limit * _BODY_OVERHEAD)
    # A text that no body holds is none that a caller should be promised.
    bodies = [round(other.limit * _BODY_OVERHEAD) for other in limits if other.feature == _SQUARE]
    return min([limit.limit, *bodies]) if key == "max_text_bytes" else limit.limit


def _round(value: float) -> float:
    """Three digits, as people write settings."""
    return float(f"{value:.3g}")


def _provenance(started: Started | None) -> list[str]:
    if started is None:
        return []
    facts = (
        f"target {started.target} {started.path}, model {started.model or '-'}",
        f"measured {started.began} by wickguard {started.version} on {started.host}, profile {started.profile}, "
        f"seed {started.seed}",
    )
    return [_comment(fact) for fact in facts]


def _comment(text: str) -> str:
    """A comment ends with its line; what the target calls itself and its parts must not continue it."""
    return f"# {printable(text)}"
