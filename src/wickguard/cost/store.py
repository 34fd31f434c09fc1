"""The cost file: a calibration on disk, for people to read and for later starts to load.

Decides the format (JSON, one file per model) and for what a file holds: exactly the weights, the engine build, the threads and
the CPU that it was measured with. A file of anything else is refused with what to do; a price from another machine is no price.
Promises that a file is whole or not there. It must not know how a calibration is made.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec

from wickguard.cost.calibration import Calibrated, Quality
from wickguard.cost.curve import Band, Curve
from wickguard.cost.model import CostModel
from wickguard.errors import ConfigError

FORMAT = 1


class Identity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a calibration holds for. weights: digest of the model's files. engine: version and digest of what computes."""

    weights: str
    engine: str
    threads: int
    cpu: str


class BandRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """curve.Band, as ln(actual / expected); tail may be missing in a curve without one."""

    name: str
    from_s: float
    spread: float
    reserve: float
    tail: float


class CostFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file. cpu_s, wall_s: seconds per unit of each term; peak_bytes: bytes per unit. learned: see Sweep.learn."""

    format: int
    model: str
    identity: Identity
    measured_at: str
    flops_per_s: float
    quality: Quality
    learned: dict[str, float]
    cpu_s: dict[str, float]
    wall_s: dict[str, float]
    peak_bytes: dict[str, float]
    wall_reserve: float
    bands: dict[str, list[BandRow]]

    def calibrated(self, model: CostModel) -> Calibrated:
        """The calibration in it. Raises ConfigError when its terms are not those of `model`."""
        if tuple(self.cpu_s) != model.terms or tuple(self.wall_s) != model.terms:
            raise ConfigError(_outdated(f"its terms are {', '.join(self.cpu_s)}, not {', '.join(model.terms)}"))
        if tuple(self.peak_bytes) != model.memory_terms or not set(model.kinds) <= set(self.bands):
            raise ConfigError(_outdated("it describes another kind of model"))
        if not _sound(self):
            raise ConfigError(_outdated("a number in it is negative or missing, and a price can't be"))
        bands = {
            kind: tuple(Band(row.name, row.from_s, row.spread, row.reserve, row.tail) for row in rows)
            for kind, rows in self.bands.items()
        }
        curve = Curve(
            tuple(self.cpu_s.values()), tuple(self.wall_s.values()), tuple(self.peak_bytes.values()), self.wall_reserve,
            bands,
        )  # fmt: skip
        return Calibrated(curve, self.learned, self.quality)


def file_of(
    name: str, identity: Identity, measured_at: str, flops_per_s: float, found: tuple[CostModel, Calibrated]
) -> CostFile:
    """The file that holds this calibration."""
    model, calibrated = found
    curve = calibrated.curve
    return CostFile(
        format=FORMAT,
        model=name,
        identity=identity,
        measured_at=measured_at,
        flops_per_s=flops_per_s,
        quality=calibrated.quality,
        learned=dict(calibrated.learned),
        cpu_s=dict(zip(model.terms, curve.cpu, strict=True)),
        wall_s=dict(zip(model.terms, curve.wall, strict=True)),
        peak_bytes=dict(zip(model.memory_terms, curve.memory, strict=True)),
        wall_reserve=curve.wall_reserve,
        bands={
            kind: [BandRow(band.name, band.from_s, band.spread, band.reserve, band.tail) for band in bands]
            for kind, bands in curve.bands.items()
        },
    )


def save(path: Path, content: CostFile) -> None:
    """Write the file, whole or not at all. Raises ConfigError."""
    text = msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, made = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(made, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(made)
            raise
    except OSError as error:
        raise ConfigError(f"the cost file {path} can't be written: {error.strerror}") from error


def load(path: Path, identity: Identity) -> CostFile:
    """The file at `path`, if it holds for `identity`. Raises ConfigError that says what to do."""
    found = _read(path)
    for name, have, want in _differences(found.identity, identity):
        raise ConfigError(f"{path}: {_outdated(f'it was measured with another {name} ({have}, not {want})')}")
    return found


def model_of(path: Path) -> str:
    """The name of the model that a file is about. Raises ConfigError when it is no cost file."""
    return _read(path).model


def default_path(folder: str, name: str, identity: Identity, environment: Mapping[str, str]) -> Path:
    """Where the cost file of a model is kept: in `folder`, or in the user's state directory (XDG)."""
    state = environment.get("XDG_STATE_HOME") or str(Path(environment.get("HOME", "/")) / ".local" / "state")
    base = Path(folder) if folder else Path(state) / "wickguard" / "costs"
    readable = re.sub(r"[^\w.-]", "_", name)[:100]
    return base / f"{readable}-{identity.weights.rpartition(':')[2][:12]}.json"


def _read(path: Path) -> CostFile:
    try:
        found = msgspec.json.decode(path.read_bytes(), type=CostFile)
    except OSError as error:
        raise ConfigError(f"the cost file {path} can't be read: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise ConfigError(f"{path}: {_outdated(str(error))}") from error
    if found.format != FORMAT:
        raise ConfigError(f"{path}: {_outdated(f'its format is {found.format}, not {FORMAT}')}")
    return found


def _differences(have: Identity, want: Identity) -> list[tuple[str, str, str]]:
    names = {"weights": "model", "engine": "engine build", "threads": "number of threads", "cpu": "CPU"}
    return [
        (word, str(getattr(have, name)), str(getattr(want, name)))
        for name, word in names.items()
        if getattr(have, name) != getattr(want, name)
    ]


def _outdated(why: str) -> str:
    return f"the cost file does not hold here: {why}; make a new one with `wickguard calibrate`"


def _sound(file: CostFile) -> bool:
    numbers = [*file.cpu_s.values(), *file.wall_s.values(), *file.peak_bytes.values(), file.wall_reserve]
    for rows in file.bands.values():
        starts = [row.from_s for row in rows]
        if not rows or starts[0] != 0 or starts != sorted(starts):
            return False
        numbers += [value for row in rows for value in (row.spread, row.reserve, row.tail)]
        if min(row.spread for row in rows) <= 0:
            return False
    return min(numbers) >= 0 and max(file.cpu_s.values()) > 0 and file.flops_per_s > 0
