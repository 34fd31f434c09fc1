"""Open Inference Protocol: which model a URL means, and what its metadata says of its inputs.

Decides the route that is attacked: of the model, the version and the prefix that the URL names, never of others. Promises that
what can't be understood is a ConfigError that says what to give. It must not know sockets.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from urllib.parse import quote, unquote

from wickguard.errors import ConfigError
from wickguard.probe.spelling import Tensor

MODELS = "/v2/models/"
# Of one input whose shape is fixed: beyond it the body of one ordinary request would be hundreds of megabytes.
_MOST_ELEMENTS = 1 << 24


@dataclass(frozen=True, slots=True)
class Place:
    """A model of a server. prefix: what stands before /v2. version: "" for the server's own choice."""

    prefix: str
    model: str
    version: str = ""

    @property
    def about(self) -> str:
        """The path of its metadata."""
        version = f"/versions/{quote(self.version, safe='')}" if self.version else ""
        return f"{self.prefix}{MODELS}{quote(self.model, safe='')}{version}"

    @property
    def infer(self) -> str:
        """The path under test."""
        return f"{self.about}/infer"


def locate(path: str, model: str | None) -> Place:
    """The model that a URL's path means, or that the operator names beside a base. Raises ConfigError."""
    prefix, found, rest = path.partition(MODELS)
    if not found:
        if not model:
            raise ConfigError(f"{path or '/'}: an OIP server does not list its models; give --model NAME")
        return Place(path.removesuffix("/models").removesuffix("/v2"), model)
    parts = rest.removesuffix("/infer").split("/")
    if not parts[0] or len(parts) not in (1, 3) or (len(parts) == 3 and (parts[1] != "versions" or not parts[2])):
        raise ConfigError(f"{path}: give the URL of a model, e.g. /v2/models/NAME/infer, or of one of its versions")
    named = unquote(parts[0])
    if model and model != named:
        raise ConfigError(f"the URL names the model {named} and --model {model}: give one of them")
    return Place(prefix, named, unquote(parts[2]) if len(parts) == 3 else "")


def tensors(metadata: object, path: str) -> tuple[Tensor, ...]:
    """The inputs that a model's metadata, served at `path`, describes. Raises ConfigError."""
    inputs = metadata.get("inputs") if isinstance(metadata, dict) else None
    if not isinstance(inputs, list) or not inputs:
        raise ConfigError(f"{path} says nothing of the model's inputs; is the name right?")
    return tuple(_tensor(item, path) for item in inputs)


def _tensor(item: object, path: str) -> Tensor:
    name, datatype, shape = (
        (item.get(key) for key in ("name", "datatype", "shape")) if isinstance(item, dict) else (None,) * 3
    )
    sizes = _sizes([] if shape is None else shape)
    if not isinstance(name, str) or not isinstance(datatype, str) or sizes is None:
        raise ConfigError(f"{path}: an input needs a name, a datatype and a shape of whole numbers, -1 for any size")
    if math.prod(size for size in sizes if size > 0) > _MOST_ELEMENTS:
        raise ConfigError(f"{path}: one request of the shape {list(sizes)} is too large to probe; give another model")
    return Tensor(name, datatype, sizes)


def _sizes(shape: object) -> tuple[int, ...] | None:
    try:
        sizes = tuple(int(size) for size in shape) if isinstance(shape, list) else None
    except (TypeError, ValueError, OverflowError):
        # TypeError: null or an object. ValueError: a word. OverflowError: 1e999.
        return None
    return sizes if sizes is not None and all(size >= -1 for size in sizes) else None
