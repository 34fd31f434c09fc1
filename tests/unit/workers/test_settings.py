"""Settings: ranges at construction, defaults from the machine."""

from __future__ import annotations

import pytest

from wickguard.errors import ConfigError
from wickguard.records import Lane
from wickguard.workers.settings import WorkerSettings, ZygoteSpec, usable_cores


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("slots", -1),
        ("spares", 0),
        ("long_nice", 20),
        ("recycle_calls", 0),
        ("max_grant_bytes", 1),
        ("start_timeout_s", 0.0),
    ],
)
def test_settings_are_refused_when_a_number_is_out_of_range(name: str, value: float) -> None:
    """The message names the setting and what is accepted."""
    with pytest.raises(ConfigError, match=rf"^{name} must be .* to .*, not "):
        WorkerSettings(**{name: value})  # type: ignore[arg-type]


def test_workers_follow_the_cores_when_slots_are_not_given() -> None:
    """One slot per core, one less (but at least one) for long calls, spares on top."""
    settings = WorkerSettings(spares=2)
    assert settings.workers(Lane.SHORT) == usable_cores() + 2
    assert settings.workers(Lane.LONG) == max(1, usable_cores() - 1) + 2
    assert WorkerSettings(slots=5, long_slots=3).workers(Lane.LONG) == 4


@pytest.mark.parametrize("loader", ["", "module", "module:", ":load", "a b:load", "module:load()"])
def test_spec_is_refused_when_the_loader_is_no_name(loader: str) -> None:
    """Only module:function."""
    with pytest.raises(ConfigError):
        ZygoteSpec("m", "/x", loader)
