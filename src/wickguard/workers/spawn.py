"""Spawn: starts an arbiter or a zygote as a fresh program with nothing inherited that it does not need.

An exec'd interpreter has one thread and no lock held, whatever the parent was doing. It promises a scrubbed
environment (an allow-list plus what the caller names), one open descriptor beyond 0, 1, 2, and the same source tree
as the parent. It must not know what the program does.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterable
from pathlib import Path

import wickguard

CONTROL_FD = 3
_KEPT = ("PATH", "LANG", "TZ", "LD_LIBRARY_PATH")
# One thread everywhere; one malloc arena, so that memory limits see one heap.
COMPUTE_THREADS = 1
_FIXED = {
    "TOKENIZERS_PARALLELISM": "false",
    "RAYON_NUM_THREADS": str(COMPUTE_THREADS),
    "CANDLE_NUM_THREADS": str(COMPUTE_THREADS),
    "OMP_NUM_THREADS": str(COMPUTE_THREADS),
    "OPENBLAS_NUM_THREADS": str(COMPUTE_THREADS),
    "MALLOC_ARENA_MAX": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
}


def environment(extra: Iterable[tuple[str, str]] = ()) -> dict[str, str]:
    """The environment of an exec'd process. PYTHONPATH starts with what `extra` says and ends with our own tree."""
    env = {name: value for name, value in os.environ.items() if name in _KEPT or name.startswith("LC_")}
    env |= _FIXED
    env |= dict(extra)
    own = str(Path(wickguard.__file__).parents[1])
    env["PYTHONPATH"] = os.pathsep.join(part for part in (env.get("PYTHONPATH", ""), own) if part)
    return env


def spawn(module: str, control: socket.socket, extra: Iterable[tuple[str, str]] = ()) -> int:
    """Start `python -m module` in a session of its own, with `control` as descriptor 3. Returns its pid.

    A session of its own keeps a terminal's Ctrl-C away: the front drains, its workers are not interrupted.
    """
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        return os.posix_spawn(
            sys.executable,
            [sys.executable, "-P", "-s", "-m", module, str(os.getpid())],
            environment(extra),
            file_actions=[
                (os.POSIX_SPAWN_DUP2, null, 0),
                (os.POSIX_SPAWN_DUP2, control.fileno(), CONTROL_FD),
            ],
            setsid=True,
            setsigmask=[],
        )
    finally:
        os.close(null)
