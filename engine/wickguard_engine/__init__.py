"""Text embeddings on candle with a memory ledger, for workers that may be killed at any time.

Decides whether this machine can run the native code before loading it: the code is built for x86-64-v3, and an older
processor would end the process with an illegal instruction instead of a message. Everything else is in the native
module; its promises are in `_engine.pyi`.
"""

import os
import platform
from collections.abc import Iterable

#: What Linux calls the features of x86-64-v3 in /proc/cpuinfo (lzcnt is listed as abm).
_NEEDED = ("avx2", "fma", "bmi1", "bmi2", "f16c", "abm", "movbe")


def _missing_cpu_features(lines: Iterable[str]) -> list[str]:
    """Features of x86-64-v3 that the first processor in the lines of /proc/cpuinfo does not have."""
    flags = next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), None)
    if flags is None:
        return []  # nothing to go by: not a reason to refuse
    return [name for name in _NEEDED if name not in flags]


def _check_cpu() -> None:
    """Raise ImportError if the native code can't run here."""
    if platform.machine().lower() not in ("x86_64", "amd64") or not os.path.exists("/proc/cpuinfo"):
        return
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
        missing = _missing_cpu_features(lines)
    if missing:
        raise ImportError(
            "wickguard-engine is built for x86-64-v3 processors (2013 and newer); this one lacks "
            f"{', '.join(missing)}. Run it on a newer machine, tell the virtual machine to pass these features "
            "through, or build engine/ from source without target-cpu in engine/.cargo/config.toml."
        )


_check_cpu()

from . import _engine  # noqa: E402  the check must come first
from ._engine import (  # noqa: E402
    LEDGER_BYTES,
    LEDGER_LAYOUT,
    BadShape,
    BadWeights,
    Batch,
    Cancelled,
    Classifier,
    Embedder,
    Embeddings,
    EngineError,
    Forecaster,
    Generator,
    Ledger,
    ModelSpec,
    OutOfMemory,
    Session,
    Step,
    Unsupported,
    __version__,
    attach_ledger,
    build_info,
    cancel,
    cancel_on_signal,
    clear_cancel,
    ledger,
    load,
    panicked,
    reset_peak,
    set_limit,
)

if hasattr(_engine, "faults"):
    faults = _engine.faults

__all__ = [
    "LEDGER_BYTES",
    "LEDGER_LAYOUT",
    "BadShape",
    "BadWeights",
    "Batch",
    "Cancelled",
    "Classifier",
    "Embedder",
    "Embeddings",
    "EngineError",
    "Forecaster",
    "Generator",
    "Ledger",
    "ModelSpec",
    "OutOfMemory",
    "Session",
    "Step",
    "Unsupported",
    "__version__",
    "attach_ledger",
    "build_info",
    "cancel",
    "cancel_on_signal",
    "clear_cancel",
    "ledger",
    "load",
    "panicked",
    "reset_peak",
    "set_limit",
]
