"""Errors: what can go wrong on the operator's side.

A request never raises one of these: what a caller does wrong is a `Rejection` (a value, see rejection.py). An error here
means that the server can't start, a file is wrong, or a part of wickguard broke its promise to another. It promises that
the message says what to do next. It must not know HTTP.
"""

from __future__ import annotations


class WickguardError(Exception):
    """Base of all errors that wickguard raises on purpose."""


class ConfigError(WickguardError):
    """A policy, key file or command line is wrong; the message names the file, the line or key, and what is accepted."""


class SettingError(ConfigError):
    """A setting is not what is accepted.

    rule has one {} for each of `keys`, so that whoever knows their section can name it: "{} must be at most {}". keys: the
    one to change comes first. seen: its value, spelled.
    """

    def __init__(self, rule: str, *keys: str, seen: str = "") -> None:
        self.rule = rule
        self.keys = keys
        self.seen = seen
        super().__init__(rule.format(*keys) + (f", not {seen}" if seen else ""))

    def inside(self, section: str) -> SettingError:
        """The same error with `section.` before every key."""
        return SettingError(self.rule, *(f"{section}.{key}" for key in self.keys), seen=self.seen)


class ModelError(WickguardError):
    """A model can't be loaded or served; the message names the directory and the reason."""


class WorkerError(WickguardError):
    """The worker processes can't be started or have broken the protocol."""


class ProtocolError(WorkerError):
    """A frame between two of our processes is too large, cut off or not what was agreed."""
