"""The wait: what the terminal shows while models load and are calibrated.

Decides one line: a spinner while nobody knows how long it takes, a bar while a calibration runs. It must not know what is
waited for.
"""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn


class Wait:
    """A line on `console` that disappears when it is over; use as a context manager."""

    def __init__(self, console: Console, what: str) -> None:
        self._progress = Progress(
            SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn(),
            console=console, transient=True,
        )  # fmt: skip
        self._task = self._progress.add_task(what, total=None)

    def __enter__(self) -> Wait:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def calibrating(self, model: str, done: float) -> None:
        """A calibration has come this far (0 to 1)."""
        self._progress.update(self._task, description=f"calibrating {model} (once)", total=1.0, completed=done)

    def stop(self) -> None:
        """It is over. Idempotent."""
        self._progress.stop()
