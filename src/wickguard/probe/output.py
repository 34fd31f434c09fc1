"""An output: a file that a run writes to.

Promises that a path that can't be written is an error before the run, and that a run that comes to nothing (no such
target, no ownership) leaves the file of an earlier one as it was, and none where there was none. It must not know what
is written.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from wickguard.errors import ConfigError


class Output:
    """Opened at once, made if there is none, emptied when the first word is written. Raises ConfigError."""

    def __init__(self, path: Path) -> None:
        self._path, self._made = path, not path.exists()
        try:
            self._file: TextIO = path.open("a", encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"{path} can't be written: {error.strerror}") from error
        self._begun = self._unwanted = False

    def begin(self) -> TextIO:
        """The file, to write to; what an earlier run left in it is gone after the first call."""
        if not self._begun:
            self._begun = True
            # Only a file holds what an earlier run wrote; a pipe, a terminal or /dev/null can't be cut short.
            if stat.S_ISREG(os.fstat(self._file.fileno()).st_mode):
                self._file.truncate(0)
        return self._file

    @property
    def kept(self) -> bool:
        """Whether there is a file of an earlier run, which stays unless something is written."""
        return not self._made and stat.S_ISREG(os.fstat(self._file.fileno()).st_mode)

    def discard(self) -> None:
        """Remove the file at the end: what an earlier run left in it holds no longer, and there is nothing to put there."""
        self._unwanted = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if self._unwanted or (self._made and not self._begun):
            self._path.unlink(missing_ok=True)
