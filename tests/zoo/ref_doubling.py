"""References that double: the schema of a `response_format` is compiled by putting in the place of each `$ref` what it names.

A definition that names the one before it twice is twice as large: each level is a hundred bytes and doubles the nodes, so that
three kilobytes of schema become gigabytes. The twin counts nodes while it follows references, and refuses at the limit. Both
write chat completions, which cost what `work` burns for their tokens.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import msgspec
from tests.zoo.manifest import Manifest
from tests.zoo.program import main
from tests.zoo.service import MODEL, Embeddings, Job, Refusal, Result, parsed
from tests.zoo.wire import Answer
from tests.zoo.words import pieces
from tests.zoo.work import Stop, burn

MANIFEST = Manifest(
    name="ref_doubling",
    defect="references in a schema are expanded recursively; the number of nodes that come of it has no bound",
    twin="a schema may expand to 2,000 nodes",
    cases=("G06",),
    oracles=("slope", "twin", "stall"),
    cwe=(674, 834),
    pattern="F6",
    path="/v1/chat/completions",
)
MOST_NODES = 2000
# Of an answer: what is asked for beyond it is not written.
MOST_TOKENS = 64


class Message(msgspec.Struct, forbid_unknown_fields=True):
    """One message of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


class Schema(msgspec.Struct, forbid_unknown_fields=True):
    """A named schema."""

    name: str
    schema: dict[str, Any]
    strict: bool = False


class Format(msgspec.Struct, forbid_unknown_fields=True):
    """How the answer is to look."""

    type: Literal["text", "json_schema"] = "text"
    json_schema: Schema | None = None


class ChatBody(msgspec.Struct, forbid_unknown_fields=True):
    """POST /v1/chat/completions."""

    messages: list[Message]
    model: str = MODEL
    max_tokens: Annotated[int, msgspec.Meta(ge=1, lt=2**31)] = 16
    response_format: Format = msgspec.field(default_factory=Format)


@dataclass(slots=True)
class Writing(Job):
    """A conversation to continue with `max_tokens`; `schema` is None for plain text."""

    max_tokens: int = 0
    schema: dict[str, Any] | None = None


@dataclass(slots=True)
class Expansion:
    """A schema whose references are being replaced. Raises Refusal beyond `most` nodes."""

    definitions: dict[str, Any]
    most: int
    stop: Stop
    nodes: int = field(init=False, default=0)

    def expand(self, node: Any) -> Any:
        """The node without references."""
        self.nodes += 1
        if self.nodes > self.most:
            raise Refusal(422, f"the schema expands to more than {self.most} nodes")
        if self.nodes % 1000 == 0:
            self.stop.check()
        if isinstance(node, list):
            return [self.expand(item) for item in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            return self.expand(self._named(node["$ref"]))
        return {name: self.expand(value) for name, value in node.items() if name != "$defs"}

    def _named(self, reference: Any) -> Any:
        name = str(reference).removeprefix("#/$defs/")
        if name not in self.definitions:
            raise Refusal(422, "a reference names no definition")
        return self.definitions[name]


class Writer(Embeddings):
    """Writes as many tokens as are asked for, of a schema with at most `most` nodes."""

    most = MOST_NODES

    def routes(self) -> dict[str, str]:
        """The one inference route."""
        return {MANIFEST.path: "openai"}

    def decode(self, body: bytes, dialect: str) -> Job:
        """Typed, unknown fields refused. Raises Refusal."""
        asked = parsed(body, ChatBody)
        if asked.model != MODEL:
            raise Refusal(404, "no such model")
        wanted = asked.response_format.json_schema
        if (asked.response_format.type == "json_schema") is not (wanted is not None):
            raise Refusal(422, "json_schema is given with its type, and only then")
        texts = [message.content for message in asked.messages]
        return Writing(texts, max_tokens=min(asked.max_tokens, MOST_TOKENS), schema=wanted and wanted.schema)

    def compute(self, job: Job, stop: Stop) -> Result:
        """Compile, read the prompt, write. In a thread. Raises Stopped, Refusal."""
        assert isinstance(job, Writing)
        self.compile(job.schema or {}, stop)
        result = super().compute(job, stop)
        burn(job.max_tokens, stop)
        return result

    def compile(self, schema: dict[str, Any], stop: Stop) -> Any:
        """The schema as one tree. Raises Refusal, Stopped."""
        definitions = schema.get("$defs")
        try:
            return Expansion(definitions if isinstance(definitions, dict) else {}, self.most, stop).expand(schema)
        except RecursionError:
            raise Refusal(422, "the schema is nested too deeply, or refers to itself") from None

    def encode(self, job: Job, result: Result) -> Answer:
        """A completion in the words of its prompt."""
        assert isinstance(job, Writing)
        spoken = [piece for text in job.inputs for piece in pieces(str(text))] or ["river"]
        text = " ".join(spoken[index % len(spoken)][:8] for index in range(job.max_tokens))
        usage = {"prompt_tokens": result.tokens, "completion_tokens": job.max_tokens}
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "length"}
        about = {"id": "chatcmpl-zoo", "object": "chat.completion", "created": 0, "model": MODEL}
        total = {"total_tokens": sum(usage.values())}
        return Answer(200, json.dumps({**about, "choices": [choice], "usage": usage | total}).encode())


class Doubling(Writer):
    """Any number of nodes."""

    most = 1 << 60


def make(sound: bool) -> Embeddings:
    """The server."""
    return Writer() if sound else Doubling()


if __name__ == "__main__":
    main(make)
