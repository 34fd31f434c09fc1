"""Spellings: how one target wants its requests, in each dialect.

Decides which JSON a list of texts becomes on a route. Promises that `request` is well-formed for the target as discovered,
and that nothing is sent here. It must not know sockets, costs or cases.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from wickguard.modality import image, series
from wickguard.probe.case import Intake
from wickguard.probe.openapi import Growth, SchemaWriter, with_query
from wickguard.probe.trace import Request

_ENCODER = msgspec.json.Encoder()
# An untokenised text is about four bytes a token; used where a tensor of ids or numbers stands for a text.
BYTES_PER_TOKEN = 4
# A row of so many numbers at most is an element of something long, and not a picture.
_NUMBERS_OF_A_ROW = 64
# Answers of generators are kept short: what is probed is the input, unless a case says otherwise.
MAX_TOKENS = 8
# The same for forecasts: steps.
HORIZON = 8

Writer = Callable[[str, Sequence[str]], dict[str, Any]]


def encode(document: object) -> bytes:
    """A document as JSON; bytes stay what they are."""
    return document if isinstance(document, bytes) else _ENCODER.encode(document)


def openai_embeddings(model: str, inputs: Sequence[str]) -> dict[str, Any]:
    """POST /v1/embeddings."""
    return {"model": model, "input": list(inputs)}


def openai_chat(model: str, inputs: Sequence[str]) -> dict[str, Any]:
    """POST /v1/chat/completions: one message for each text."""
    messages = [{"role": "user", "content": text} for text in inputs]
    return {"model": model, "messages": messages, "max_tokens": MAX_TOKENS}


def openai_completions(model: str, inputs: Sequence[str]) -> dict[str, Any]:
    """POST /v1/completions: the texts as one prompt."""
    return {"model": model, "prompt": "\n".join(inputs), "max_tokens": MAX_TOKENS}


def tei_embed(model: str, inputs: Sequence[str]) -> dict[str, Any]:
    """POST /embed. The server knows its model."""
    return {"inputs": list(inputs)}


_QUESTION = {"type": "text", "text": "What is this?"}
# By the first two bytes of a file.
_MEDIA = {b"\x89P": "image/png", b"\xff\xd8": "image/jpeg", b"GI": "image/gif", b"RI": "image/webp"}


def _part(address: str) -> dict[str, Any]:
    """A part of a message."""
    return {"type": "image_url", "image_url": {"url": address}}


def classify(model: str, inputs: Sequence[str]) -> dict[str, Any]:
    """POST /v1/classify: a small picture, whatever the texts."""
    return {"model": model, "input": picture(32, 32)}


def forecast(model: str, inputs: Sequence[str]) -> dict[str, Any]:
    """POST /v1/forecast: each text stands for a series of as many points as it has tokens."""
    lengths = [max(1, len(text.encode()) // BYTES_PER_TOKEN) for text in inputs]
    return {"model": model, "series": series.synthesize(lengths), "horizon": HORIZON}


def picture(width: int, height: int) -> str:
    """A grey PNG of this size, in base64."""
    return base64.b64encode(image.synthesize(width, height)).decode()


# Last part of a path -> the dialect it belongs to and how its body is written.
ROUTES: dict[str, tuple[str, Writer]] = {
    "/embeddings": ("openai", openai_embeddings),
    "/chat/completions": ("openai", openai_chat),
    "/completions": ("openai", openai_completions),
    "/classify": ("openai", classify),
    "/forecast": ("openai", forecast),
    "/embed": ("tei", tei_embed),
    "/embed_all": ("tei", tei_embed),
}


_TAKES: dict[Writer, frozenset[Intake]] = {
    openai_embeddings: frozenset({Intake.TEXT}),
    openai_chat: frozenset({Intake.TEXT, Intake.PROMPT}),
    openai_completions: frozenset({Intake.TEXT, Intake.PROMPT}),
    classify: frozenset({Intake.PICTURE}),
    forecast: frozenset({Intake.SERIES}),
    tei_embed: frozenset({Intake.TEXT}),
}


def known(path: str) -> tuple[str, Writer] | None:
    """The dialect and the writer of a route whose path is known."""
    ending = next((end for end in sorted(ROUTES, key=len, reverse=True) if path.endswith(end)), None)
    return ROUTES[ending] if ending is not None else None


@dataclass(frozen=True, slots=True)
class Tensor:
    """One input of an OIP model: name, datatype and shape; -1 is a free dimension."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TensorWriter:
    """Open Inference Protocol: texts as BYTES, or as token ids or numbers of as many elements as they have tokens."""

    tensors: tuple[Tensor, ...]

    def __call__(self, model: str, inputs: Sequence[str]) -> dict[str, Any]:
        """The body of POST /v2/models/MODEL/infer."""
        return {"inputs": [self._write(tensor, inputs) for tensor in self.tensors]}

    def _write(self, tensor: Tensor, inputs: Sequence[str]) -> dict[str, Any]:
        longest = max((len(text.encode()) for text in inputs), default=1)
        free = max(1, -(-longest // BYTES_PER_TOKEN))
        shape = list(tensor.shape) or [-1]
        if tensor.datatype == "BYTES":
            shape = [len(inputs), *(1 for _ in shape[1:])]
            return {"name": tensor.name, "datatype": "BYTES", "shape": shape, "data": list(inputs)}
        # The one free size of a row of numbers is a length; that of pictures is how many there are.
        row = math.prod(size for size in shape if size != -1)
        only = sum(size == -1 for size in shape) == 1 and row <= _NUMBERS_OF_A_ROW
        rows = len(inputs) * (free if only else 1)
        shape = [
            rows if index == 0 and size == -1 else free if size == -1 else size for index, size in enumerate(shape)
        ]
        return {"name": tensor.name, "datatype": tensor.datatype, "shape": shape, "data": fill(tensor, shape)}


def fill(tensor: Tensor, shape: Sequence[int]) -> list[float] | list[int] | list[bool]:
    """Harmless data of a shape: ones for masks, small ids, numbers between 0 and 1."""
    count = 1
    for size in shape:
        count *= size
    if tensor.datatype == "BOOL":
        return [True] * count
    if tensor.datatype.startswith(("INT", "UINT")):
        return [1] * count if "mask" in tensor.name else [100 + index % 400 for index in range(count)]
    return [((index * 37) % 101) / 101 for index in range(count)]


@dataclass(frozen=True, slots=True)
class TargetSpelling:
    """See case.Spelling. writers: path -> writer, for the route under test and its aliases. sees: whether a message may hold
    pictures.
    """

    dialect: str
    path: str
    model: str
    writers: Mapping[str, Writer]
    aliases: tuple[str, ...] = ()
    limits: dict[str, int] = field(default_factory=dict)
    sees: bool = False

    def request(self, inputs: Sequence[str], **fields: object) -> Request:
        """See Spelling."""
        return self.json({**self.writers[self.path](self.model, inputs), **fields})

    def showing(self, *pictures: str) -> Request:
        """See Spelling."""
        if self._chats:
            return self.request((), messages=[{"role": "user", "content": [_QUESTION, *map(_part, pictures)]}])
        return self.request((), input=pictures[0] if len(pictures) == 1 else list(pictures))

    def as_text(self, picture: bytes) -> str:
        """See Spelling."""
        spelled = base64.b64encode(picture).decode()
        return f"data:{_MEDIA.get(picture[:2], 'image/png')};base64,{spelled}" if self._chats else spelled

    @property
    def _chats(self) -> bool:
        return self.writers[self.path] is openai_chat

    def on(self, path: str, inputs: Sequence[str]) -> Request:
        """See Spelling."""
        return self.json(self.writers[path](self.model, inputs), path)

    def json(self, document: object, path: str | None = None) -> Request:
        """See Spelling."""
        return Request("POST", path or self.path, body=encode(document))

    @property
    def input_at(self) -> tuple[str | int, ...]:
        """See Spelling."""
        writer = self.writers[self.path]
        if isinstance(writer, SchemaWriter):
            return writer.at
        if isinstance(writer, TensorWriter):
            return ("inputs", 0, "data")
        body = writer(self.model, ("a",))
        return (next(name for name in ("input", "inputs", "prompt", "messages", "series") if name in body),)

    @property
    def takes(self) -> frozenset[Intake]:
        """See Spelling. The fixed routes by what they are for, the others by whether words reach them as they are."""
        if self.dialect in ("openai", "tei") and (found := known(self.path)) is not None:
            return _TAKES[found[1]] | ({Intake.PICTURE} if self.sees else set())
        return frozenset({Intake.TEXT} if b"wickguard" in self.request(["wickguard"]).body else ())

    @property
    def growths(self) -> tuple[Growth, ...]:
        """What a caller can make larger, as the target's own document says; empty for the other dialects."""
        writer = self.writers[self.path]
        return writer.growths if isinstance(writer, SchemaWriter) else ()

    def grown(self, growth: Growth, size: int) -> Request:
        """An ordinary request with one part of it as large."""
        writer = self.writers[self.path]
        if not isinstance(writer, SchemaWriter):
            raise TypeError(f"{self.dialect} has no schema")
        body = writer(self.model, ("quiet river",))
        if growth.query:
            path = with_query(self.path, growth.keys[0], growth.value(writer.document, size))
            return self.json(body, path)
        return self.json(writer.grown(body, growth, size))
