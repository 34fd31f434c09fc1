"""Whether the sections of a policy go together: what each of them alone can't see.

Decides by one list of rules, all of them about two keys or more. A policy that breaks one is refused, because some call could
never run, some limit would never apply, or more is promised than the machine has. Advice (`warnings`) is for what works and
yet may surprise. Promises that every error names its keys, the one to change first. It must not know files.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from wickguard.control.ladder import DEPTH_OVER_DEAREST
from wickguard.errors import SettingError
from wickguard.setting import settings_of
from wickguard.units import format_bytes, spell_bytes

if TYPE_CHECKING:
    from wickguard.policy.schema import Policy

# Tenants rarely all call at once, so their rates may add up to more than there is; beyond this a rate means nothing.
MOST_OVERSOLD = 3.0

# (a, b, why): a must be at most b.
_ORDERED = (
    ("price.max_bytes", "workers.max_grant_bytes", "such a call could never run"),
    ("price.max_cpu_s", "edge.max_timeout_s", "such a call could never be answered in time"),
    ("edge.max_body_bytes", "workers.max_job_bytes", "such a body would never reach a worker"),
    ("generation.max_logits_bytes", "workers.max_result_bytes", "such an answer would never leave its worker"),
    ("edge.body_timeout_s", "edge.max_timeout_s", "a body would be waited for when its answer is long overdue"),
    ("edge.rate_grace_s", "edge.body_timeout_s", "the least rate would never be asked for"),
    ("workers.backoff_base_s", "workers.backoff_max_s", "the first wait would be longer than the longest"),
)


def disagreements(policy: Policy) -> list[SettingError]:
    """Every rule that `policy` breaks, one error each."""
    found = [_order(policy, *rule) for rule in _ORDERED]
    found += [rule(policy) for rule in _RULES]
    return [error for error in found if error is not None]


def warnings(policy: Policy) -> list[str]:
    """What works and yet may surprise, one line each."""
    return [text for text in (_small(policy), _oversold(policy), _flat(policy), _cut(policy)) if text is not None]


def _order(policy: Policy, low: str, high: str, why: str) -> SettingError | None:
    value = _value(policy, low)
    if value <= _value(policy, high):
        return None
    shown = spell_bytes(value) if isinstance(value, int) and "bytes" in low else f"{value:g}"
    return SettingError(f"{{}} must be at most {{}} ({why})", low, high, seen=shown)


def _budget(policy: Policy) -> SettingError | None:
    share, most = _memory_share(policy), policy.price.max_bytes
    if most <= share or not policy.server.memory_budget_bytes:
        return None
    rule = f"{{}} must be at most {{}} times {{}}, which is {spell_bytes(share)} (such a call could never run)"
    keys = ("price.max_bytes", "server.memory_budget_bytes", "admission.tenant_memory_share")
    return SettingError(rule, *keys, seen=spell_bytes(most))


def _pictures(policy: Policy) -> SettingError | None:
    most = policy.edge.picture_bytes
    if most <= policy.workers.max_job_bytes:
        return None
    rule = "{} must be at most {} (such a picture would never reach a worker)"
    return SettingError(rule, "edge.max_picture_bytes", "workers.max_job_bytes", seen=spell_bytes(most))


def _drain(policy: Policy) -> SettingError | None:
    server = policy.server
    if server.drain_s == 0 or server.header_timeout_s < server.drain_s:
        return None
    rule = "{} must be 0 or above {} (connections that idle would outlast the drain)"
    return SettingError(rule, "server.drain_s", "server.header_timeout_s", seen=f"{server.drain_s:g}")


def _promised(policy: Policy) -> SettingError | None:
    total = _rates(policy)
    if total <= MOST_OVERSOLD * policy.capacity:
        return None
    largest = max(policy.tenants, key=lambda name: policy.tenants[name].rate)
    rule = (
        f"{{}} and the other tenants' rates add up to {total:g} compute-seconds per second; they must be at most "
        f"{MOST_OVERSOLD:g} times {{}}, which is {policy.capacity:g}"
    )
    return SettingError(rule, f"tenants.{largest}.rate", "quota.capacity")


_RULES: tuple[Callable[[Policy], SettingError | None], ...] = (_budget, _pictures, _drain, _promised)


def _small(policy: Policy) -> str | None:
    """Not an error where the budget follows from the machine: the same file must load on a small one too."""
    share, most = _memory_share(policy), policy.price.max_bytes
    if most <= share:
        return None
    return (
        f"price.max_bytes is {spell_bytes(most)}, but a tenant may hold only {format_bytes(share)} on this machine: "
        "larger calls are refused; set server.memory_budget_bytes, or raise admission.tenant_memory_share"
    )


def _oversold(policy: Policy) -> str | None:
    total = _rates(policy)
    if total <= policy.capacity:
        return None
    return (
        f"the tenants' rates add up to {total:g} compute-seconds per second, {total / policy.capacity:.2g} times "
        "quota.capacity: when they all call at once, each gets less than its rate"
    )


def _flat(policy: Policy) -> str | None:
    """A depth is raised to what the dearest call needs; whoever chose burst_s should know where it has no effect."""
    quota, floor = policy.quota, DEPTH_OVER_DEAREST * policy.price.max_cpu_s
    default = next(item.default for item in settings_of(type(quota)) if item.key == "burst_s")
    if quota.burst_s == default or quota.burst_s * policy.capacity >= floor:
        return None
    return (
        f"quota.burst_s may have no effect: every bucket holds {DEPTH_OVER_DEAREST} times the dearest call, and "
        f"price.max_cpu_s lets that be {floor:g} compute-seconds"
    )


def _cut(policy: Policy) -> str | None:
    cut = [name for name, tenant in policy.tenants.items() if tenant.rate > tenant.share * policy.capacity]
    if not cut:
        return None
    return f"tenants.{cut[0]}.rate is more than its share of the capacity, which is what it gets; raise its share"


def _memory_share(policy: Policy) -> int:
    return int(policy.server.memory_bytes() * policy.admission.tenant_memory_share)


def _rates(policy: Policy) -> float:
    # A rate that is not set is a share of what is free, not a promise.
    return sum(tenant.rate for tenant in policy.tenants.values())


def _value(policy: Policy, name: str) -> float:
    section, key = name.split(".")
    value: float = getattr(getattr(policy, section), key)
    return value
