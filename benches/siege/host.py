"""The server under siege: `wickguard serve` with the faulty model, in a process of its own.

python -m benches.siege.host POLICY.toml PORT
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import uvloop

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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("policy", type=Path)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--keys", default="")
    parser.add_argument("--no-calibrate", action="store_true")
    chosen = parser.parse_args()
    policy = load(chosen.policy)
    policy = dataclasses.replace(
        policy,
        identity=dataclasses.replace(policy.identity, keys=chosen.keys or policy.identity.keys),
        price=dataclasses.replace(policy.price, calibrate=policy.price.calibrate and not chosen.no_calibrate),
    )
    options = Options(policy, demo_models(), "127.0.0.1", chosen.port, zygote=faulty)
    uvloop.run(serve_until_signal(options))


if __name__ == "__main__":
    main()
