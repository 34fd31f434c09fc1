"""Cgroup: a cgroup v2 group for zygotes and workers, where an operator has delegated one; never required.

With it the kernel's out-of-memory killer ends one worker and not the whole container (memory.oom.group = 0; Kubernetes
sets 1), and the number of processes is bounded once more (pids.max). It promises to use only what is delegated: an empty,
writable parent group that has the memory and pids controllers; otherwise it says what is missing. It must not know models.

Source: Documentation/admin-guide/cgroup-v2.rst (delegation, no internal processes).
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

_NEEDED = ("memory", "pids")


class NotDelegatedError(Exception):
    """There is no group that we may use; the message says why."""


@dataclass(frozen=True, slots=True)
class Group:
    """A group of our own."""

    path: Path

    def join(self, pid: int) -> None:
        """Put a process, and so everything it forks, into the group. Raises OSError."""
        (self.path / "cgroup.procs").write_text(str(pid))

    def remove(self) -> None:
        """Remove the group once its processes have been reaped."""
        with contextlib.suppress(OSError):
            self.path.rmdir()


def own_parent(memberships: str, mounts: str) -> Path:
    """The group in which ours lives, from the texts of /proc/self/cgroup and /proc/self/mountinfo.

    Raises NotDelegatedError when there is no cgroup v2, or when we live in the topmost group that we can see.
    """
    inside = next((line[3:] for line in memberships.splitlines() if line.startswith("0::")), None)
    mount = next((line.split()[4] for line in mounts.splitlines() if " - cgroup2 " in line), None)
    if inside is None or mount is None:
        raise NotDelegatedError("no cgroup v2")
    if inside.strip("/") == "":
        raise NotDelegatedError("this process is in the topmost group it can see")
    return Path(mount) / inside.strip("/").rpartition("/")[0]


def create(parent: Path, name: str, max_processes: int) -> Group:
    """A group `name` under `parent` with its limits. Raises NotDelegatedError, leaving nothing behind."""
    try:
        available = (parent / "cgroup.controllers").read_text().split()
        lacking = [controller for controller in _NEEDED if controller not in available]
        if lacking:
            raise NotDelegatedError(f"the {' and '.join(lacking)} controller is not available in {parent}")
        if (parent / "cgroup.procs").read_text().strip():
            raise NotDelegatedError(f"{parent} has processes of its own, so it can't have controlled groups below")
        if not os.access(parent / "cgroup.subtree_control", os.W_OK):
            raise NotDelegatedError(f"{parent} is not delegated to this user")
        (parent / "cgroup.subtree_control").write_text(" ".join(f"+{controller}" for controller in _NEEDED))
        group = Group(parent / name)
        group.path.mkdir()
    except OSError as error:
        raise NotDelegatedError(f"{parent}: {error.strerror}") from error
    try:
        (group.path / "memory.oom.group").write_text("0")
        (group.path / "pids.max").write_text(str(max_processes))
    except OSError as error:
        group.remove()
        raise NotDelegatedError(f"{group.path}: {error.strerror}") from error
    return group


def delegated(name: str, max_processes: int) -> Group:
    """A group beside our own, if we may have one. Raises NotDelegatedError."""
    try:
        memberships = Path("/proc/self/cgroup").read_text()
        mounts = Path("/proc/self/mountinfo").read_text()
    except OSError as error:
        raise NotDelegatedError(f"/proc: {error.strerror}") from error
    return create(own_parent(memberships, mounts), name, max_processes)
