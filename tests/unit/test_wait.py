"""What the terminal shows while people wait."""

from __future__ import annotations

import io

from rich.console import Console

from wickguard.wait import Wait


def shown(interactive: bool) -> str:
    """What a terminal (or a file) gets of a start with a calibration."""
    out = io.StringIO()
    with Wait(Console(file=out, force_terminal=interactive, width=100), "loading a model") as wait:
        wait.calibrating("minilm", 0.0)
        wait.calibrating("minilm", 0.42)
        wait.stop()
        wait.stop()
    return out.getvalue()


def test_the_bar_shows_how_much_is_done_when_a_model_is_calibrated() -> None:
    """With its name and a percentage."""
    assert "calibrating minilm" in shown(interactive=True)
    assert "42%" in shown(interactive=True)


def test_a_log_is_not_filled_when_nobody_watches() -> None:
    """A service's standard error is a file: no animation in it."""
    assert "calibrating" not in shown(interactive=False)
