"""What all tests share: how hypothesis is used here, and where the reference outputs are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# No deadline: a noisy machine is not a failure. No database: a run depends on nothing that an earlier one left.
settings.register_profile(
    "wickguard", deadline=None, database=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("wickguard")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with fixtures made by the reference libraries; skips when this machine does not have it."""
    beside = Path(__file__).resolve().parents[1].parent / "shared"
    found = Path(os.environ.get("WICKGUARD_SHARED", beside))
    if not (found / "fixtures").is_dir():
        pytest.skip("the reference outputs are not here; set WICKGUARD_SHARED")
    return found
