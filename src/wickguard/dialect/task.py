"""The neutral task: what any dialect asks for, once its spelling is gone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from wickguard.backend import EmbedResult
from wickguard.modality.text import InputLimits
from wickguard.rejection import Rejection


@dataclass(frozen=True, slots=True)
class EmbedTask:
    """Embed `inputs` (texts or token ids) with `model` (None: the server's default embedding model).

    truncate None: as the policy says. dimensions: asked for by the caller, None if not. field: how the dialect calls the
    inputs, for error messages.
    """

    model: str | None
    inputs: list[str] | list[list[int]]
    field: str
    truncate: bool | None = None
    normalize: bool = True
    encoding: Literal["float", "base64"] = "float"
    dimensions: int | None = None


class Spelling(Protocol):
    """How an API spells errors."""

    def render_rejection(self, rejection: Rejection, request_id: str) -> tuple[bytes, bytes]:
        """(content type, error body)."""
        ...


class Dialect(Spelling, Protocol):
    """One API's spelling of embeddings."""

    def parse_embed(self, body: bytes, limits: InputLimits) -> EmbedTask | Rejection:
        """The task in `body`. Nothing beyond `limits` is ever built: it is refused from its raw bytes."""
        ...

    def render_embed(self, model: str, result: EmbedResult) -> bytes:
        """The success body."""
        ...
