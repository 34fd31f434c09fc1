"""The server under siege: `wickguard serve` with the faulty model, in a process of its own.

python -m benches.siege.host POLICY.toml PORT
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from benches.siege import model
from wickguard.models import ModelSource, demo_models
from wickguard.policy.load import load
from wickguard.serve import Options, serve_until_signal
from wickguard.workers.settings import ZygoteSpec

ROOT = Path(__file__).parents[2]


def faulty(source: ModelSource) -> ZygoteSpec:
    """The model, loaded with its faults."""
    return ZygoteSpec(
        source.name, str(source.path), f"{model.__name__}:{model.load.__name__}", (("PYTHONPATH", str(ROOT)),)
    )


def main() -> None:
    """Serve until SIGTERM."""
    options = Options(load(Path(sys.argv[1])), demo_models(), "127.0.0.1", int(sys.argv[2]), zygote=faulty)
    asyncio.run(serve_until_signal(options))


if __name__ == "__main__":
    main()
