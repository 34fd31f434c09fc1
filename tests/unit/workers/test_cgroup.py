"""Cgroup delegation: used when it is really there, and otherwise refused with the reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from wickguard.workers.cgroup import NotDelegatedError, create, own_parent

MOUNTS = "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"


def parent_group(root: Path, controllers: str = "cpu memory pids", processes: str = "") -> Path:
    """A directory that looks like a delegated group."""
    (root / "cgroup.controllers").write_text(controllers)
    (root / "cgroup.procs").write_text(processes)
    (root / "cgroup.subtree_control").write_text("")
    return root


def test_group_has_its_limits_when_the_parent_is_delegated(tmp_path: Path) -> None:
    """Controllers are enabled in the parent; the group does not die as a whole, has a bound, and takes processes."""
    parent = parent_group(tmp_path)
    group = create(parent, "wickguard-1", 12)
    assert (parent / "cgroup.subtree_control").read_text() == "+memory +pids"
    assert (group.path / "memory.oom.group").read_text() == "0"
    assert (group.path / "pids.max").read_text() == "12"
    group.join(77)
    assert (group.path / "cgroup.procs").read_text() == "77"


@pytest.mark.parametrize(
    ("controllers", "processes", "reason"),
    [
        ("cpu", "", "memory and pids"),
        ("memory pids", "12\n", "processes of its own"),
        ("cpu pids", "", "memory controller"),
    ],
)
def test_group_is_refused_when_it_could_not_be_controlled(
    tmp_path: Path, controllers: str, processes: str, reason: str
) -> None:
    """The reason is named, and no directory is left."""
    parent = parent_group(tmp_path, controllers, processes)
    with pytest.raises(NotDelegatedError, match=reason):
        create(parent, "wickguard-1", 12)
    assert not (parent / "wickguard-1").exists()


def test_group_is_refused_when_the_parent_is_not_there(tmp_path: Path) -> None:
    """An errno becomes a reason."""
    with pytest.raises(NotDelegatedError, match="No such file"):
        create(tmp_path / "missing", "wickguard-1", 12)


def test_parent_is_beside_us_when_we_are_in_a_group() -> None:
    """The leaf we run in is left; our siblings can be controlled."""
    assert own_parent("0::/user.slice/app/front\n", MOUNTS) == Path("/sys/fs/cgroup/user.slice/app")
    assert own_parent("0::/front\n", MOUNTS) == Path("/sys/fs/cgroup")


@pytest.mark.parametrize(
    ("memberships", "mounts"),
    [("0::/\n", MOUNTS), ("4:memory:/x\n", MOUNTS), ("0::/a/b\n", "30 24 0:26 / /tmp rw - tmpfs tmpfs rw\n")],
)
def test_parent_is_refused_when_there_is_none(memberships: str, mounts: str) -> None:
    """The top of what we can see, version 1 only, or no mount."""
    with pytest.raises(NotDelegatedError):
        own_parent(memberships, mounts)
