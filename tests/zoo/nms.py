"""NMS: non-maximum suppression over all the boxes that a caller sends, each compared with each that was kept.

A detector's post-processing as a service of its own, in the Open Inference Protocol: tensor `boxes` of shape [n, 5]. Boxes
that don't overlap are all kept, and n of them cost n^2 / 2 comparisons. The twin takes the 256 best first.
"""

from __future__ import annotations

import asyncio
import json

import msgspec
from tests.zoo.manifest import Manifest
from tests.zoo.program import main
from tests.zoo.service import Embeddings, Refusal, parsed
from tests.zoo.wire import Answer, Request
from tests.zoo.work import OVERHEAD_TOKENS, Stop, burn

MANIFEST = Manifest(
    name="nms",
    defect="suppression compares every box with every other; their number has no bound",
    twin="only the 256 best boxes are compared",
    cases=("I13", "R10", "sweep:rows"),
    oracles=("slope",),
    cwe=(407,),
    pattern="F5",
    exponent=2.0,
    dialect="oip",
    path="/v2/models/nms/infer",
)
MOST_BOXES = 5000
BEST = 256
OVERLAP = 0.5
MODEL = "/v2/models/nms"

Box = tuple[float, float, float, float, float]


class Tensor(msgspec.Struct):
    """One input tensor, data in JSON, flat or nested."""

    name: str
    shape: list[int]
    datatype: str
    data: list[float | list[float]]


class Inference(msgspec.Struct):
    """POST /v2/models/nms/infer."""

    inputs: list[Tensor]
    id: str = ""


class Suppression(Embeddings):
    """The protocol; the number of boxes that are compared is `most`."""

    most = BEST

    def routes(self) -> dict[str, str]:
        """The one inference route."""
        return {MANIFEST.path: "oip"}

    def admit(self, head: Request) -> int | Answer:
        """As ever, and the protocol's own routes."""
        free = ("/v2", MODEL, f"{MODEL}/ready", "/v2/health/live", "/v2/health/ready")
        return 0 if head.path in free and head.method == "GET" else super().admit(head)

    def plain(self, request: Request) -> Answer:
        """Metadata and health."""
        if request.path == MODEL:
            boxes = {"name": "boxes", "datatype": "FP32", "shape": [-1, 5]}
            kept = {"name": "kept", "datatype": "INT64", "shape": [-1]}
            about = {"name": "nms", "versions": ["1"], "platform": "zoo", "inputs": [boxes], "outputs": [kept]}
            return Answer(200, json.dumps(about).encode())
        if request.path == "/v2":
            return Answer(200, b'{"name":"zoo","version":"1","extensions":[]}')
        if request.path.startswith("/v2/"):
            return Answer(200, b'{"ready":true,"live":true}')
        return super().plain(request)

    async def infer(self, request: Request, dialect: str) -> Answer:
        """Decode, check, suppress in a thread."""
        boxes = await asyncio.to_thread(decode, request.body)
        stop = Stop()
        try:
            kept = await asyncio.to_thread(self.suppress, boxes, stop)
        except asyncio.CancelledError:
            stop.set()
            raise
        output = {"name": "kept", "datatype": "INT64", "shape": [len(kept)], "data": kept}
        return Answer(200, json.dumps({"model_name": "nms", "outputs": [output]}).encode())

    def suppress(self, boxes: list[Box], stop: Stop) -> list[int]:
        """Indices of the boxes that are kept, best first."""
        burn(OVERHEAD_TOKENS, stop)
        order = sorted(range(len(boxes)), key=lambda i: -boxes[i][4])[: self.most]
        kept: list[int] = []
        for i in order:
            stop.check()
            if not any(overlaps(boxes[i], boxes[j]) for j in kept):
                kept.append(i)
        return kept


class Everything(Suppression):
    """All boxes are compared."""

    most = 1 << 40


def decode(body: bytes) -> list[Box]:
    """The boxes of a request. Raises Refusal."""
    asked = parsed(body, Inference)
    if len(asked.inputs) != 1 or asked.inputs[0].name != "boxes" or asked.inputs[0].datatype != "FP32":
        raise Refusal(422, "one input is wanted: boxes, FP32, [n, 5]")
    tensor = asked.inputs[0]
    flat = [number for item in tensor.data for number in (item if isinstance(item, list) else [item])]
    if len(tensor.shape) != 2 or tensor.shape[1] != 5 or tensor.shape[0] * 5 != len(flat) or not flat:
        raise Refusal(422, "shape must be [n, 5] and agree with the data")
    if tensor.shape[0] > MOST_BOXES:
        raise Refusal(413, f"at most {MOST_BOXES} boxes")
    return [(flat[i], flat[i + 1], flat[i + 2], flat[i + 3], flat[i + 4]) for i in range(0, len(flat), 5)]


def overlaps(a: Box, b: Box) -> bool:
    """Intersection over union above the threshold."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return False
    both = width * height
    return both > OVERLAP * ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def make(sound: bool) -> Embeddings:
    """The server."""
    return Suppression() if sound else Everything()


if __name__ == "__main__":
    main(make)
