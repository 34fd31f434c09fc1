"""Settings: one declaration gives the check, the error text and the explanation."""

from __future__ import annotations

import inspect
import math
import re
from dataclasses import dataclass
from typing import Annotated, Literal

import pytest
from msgspec import Meta

from wickguard.errors import SettingError
from wickguard.policy.schema import sections
from wickguard.setting import Setting, check, settings_of, summary_of

KINDS = [section.kind for section in sections()]
EVERY = [pytest.param(kind, item, id=f"{kind.__name__}.{item.key}") for kind in KINDS for item in settings_of(kind)]


@dataclass(frozen=True)
class Kettle:
    """A kettle, of which
    much is to be said.

    heat_s: how long,
        at least.
    most_bytes: as it says: all of them.
    """

    heat_s: Annotated[float, Meta(ge=0.5, le=2)] = 1.0
    most_bytes: Annotated[int, Meta(ge=1024, le=2048)] = 1024
    colour: Literal["red", "blue"] = "red"

    def __post_init__(self) -> None:
        check(self)


def test_a_setting_has_type_range_default_and_explanation_when_it_is_declared() -> None:
    """All from the class itself."""
    assert settings_of(Kettle) == (
        Setting("heat_s", float, 1.0, "how long, at least.", 0.5, 2),
        Setting("most_bytes", int, 1024, "as it says: all of them.", 1024, 2048),
        Setting("colour", str, "red", "", choices=("red", "blue")),
    )
    assert summary_of(Kettle) == "A kettle, of which much is to be said."


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"heat_s": 2.5}, "heat_s must be 0.5 to 2, not 2.5"),
        ({"heat_s": math.nan}, "heat_s must be 0.5 to 2, not nan"),
        ({"heat_s": -math.inf}, "heat_s must be 0.5 to 2, not -inf"),
        ({"most_bytes": 4096}, "most_bytes must be 1k to 2k, not 4k"),
        ({"most_bytes": 0}, "most_bytes must be 1k to 2k, not 0"),
        ({"colour": "pink {}"}, "colour must be red or blue, not 'pink {}'"),
    ],
)
def test_error_says_what_is_accepted_and_seen_when_a_value_is_outside(wrong: dict[str, float], says: str) -> None:
    """In one form."""
    with pytest.raises(SettingError) as caught:
        Kettle(**wrong)  # type: ignore[arg-type]
    assert str(caught.value) == says
    assert str(caught.value.inside("tea")) == f"tea.{says}"


@pytest.mark.parametrize(("kind", "setting"), EVERY)
def test_every_key_is_complete_when_it_is_in_the_policy(kind: type, setting: Setting) -> None:
    """An explanation, a type that the file can hold, both bounds, a default inside them."""
    assert setting.explanation
    assert "\n" not in setting.explanation
    assert setting.kind in (bool, int, float, str, tuple[str, ...])
    if setting.kind in (int, float):
        assert setting.low is not None
        assert setting.high is not None
        assert setting.low <= setting.default <= setting.high
        assert type(setting.default) is setting.kind


@pytest.mark.parametrize("kind", KINDS)
def test_no_key_is_explained_when_it_does_not_exist(kind: type) -> None:
    """A docstring that was not changed with its class would tell operators of a limit that there is not."""
    explained = re.findall(r"^([a-z_]+): ", inspect.getdoc(kind) or "", re.MULTILINE)
    assert explained == [item.key for item in settings_of(kind)]


@pytest.mark.parametrize(("kind", "setting"), EVERY)
def test_bounds_are_exact_when_a_value_is_at_or_just_outside(kind: type, setting: Setting) -> None:
    """The declared range is the one that is enforced (other keys may still disagree, which is another error)."""
    if setting.low is None or setting.high is None:
        return
    step = 1 if setting.kind is int else 1e-9
    for value in (setting.low - step, setting.high + setting.high * step + step):
        with pytest.raises(SettingError, match=rf"^{setting.key} must be .* to .*, not "):
            kind(**{setting.key: setting.kind(value)})
    for value in (setting.low, setting.high):
        try:
            kind(**{setting.key: setting.kind(value)})
        except SettingError as error:
            assert " to " not in str(error).split(", not")[0]
