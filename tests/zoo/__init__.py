"""The zoo: small servers, each with one planted and documented defect, and a sound twin of each. The probe's ground truth.

`python -m tests.zoo.NAME --port P [--sound]` starts one; `manifest(NAME)` says what is planted; `running.Running` starts one
for a test or a bench. A module is imported only when it is asked for, so that each can also be run as a program.
"""

from __future__ import annotations

from importlib import import_module

from tests.zoo.manifest import Manifest

NAMES = (
    "cliff",
    "deep_json",
    "error_list",
    "evicting_limiter",
    "exponential",
    "inflation",
    "int_collisions",
    "late_check",
    "leak",
    "loop_stall",
    "nms",
    "orphaned_work",
    "padding",
    "picture_bomb",
    "quadratic_tokenizer",
    "ragged_series",
    "ref_doubling",
    "regex",
    "retryable",
    "second_route",
    "slow_head",
    "slow_reader",
    "unbounded_count",
)


def manifest(name: str) -> Manifest:
    """What is planted in the server `name`."""
    found = import_module(f"tests.zoo.{name}").MANIFEST
    assert isinstance(found, Manifest)
    return found


def manifests() -> tuple[Manifest, ...]:
    """All of them, by name."""
    return tuple(manifest(name) for name in NAMES)
