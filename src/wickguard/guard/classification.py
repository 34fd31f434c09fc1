"""The classification endpoint: pictures become calls, classes become bodies.

Decides whether a picture's header is inside the envelope and whether it is the kind of file that the request says. Promises
law 7: a picture is never decoded here, nothing is allocated from a number in it. It must not know prices, queues or processes.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from wickguard.backend import ClassifyPayload, ClassifyResult, ModelSpec, Task
from wickguard.dialect import classify
from wickguard.guard.catalogue import find_model
from wickguard.guard.endpoint import Body
from wickguard.modality import image
from wickguard.modality.image_header import Header, read
from wickguard.records import Call, RawRequest
from wickguard.rejection import Reason, Rejection

_RESULT = msgspec.msgpack.Decoder(ClassifyResult)
_ENCODER = msgspec.msgpack.Encoder()


class Classification:
    """Pictures for the classifiers that are loaded (see endpoint.Endpoint)."""

    def __init__(self, models: Mapping[str, ModelSpec], settings: image.ImageSettings) -> None:
        self._models = models
        self._settings = settings

    def decode(self, raw: RawRequest, dialect: str) -> Call | Rejection:
        """See Endpoint."""
        task = classify.parse(raw.body, raw.media, raw.query)
        if isinstance(task, Rejection):
            return task
        spec = find_model(self._models, Task.CLASSIFY, task.model)
        if isinstance(spec, Rejection):
            return spec
        shape = spec.image
        if shape is None:
            raise AssertionError(f"{spec.name} classifies, and has no shape")
        if not 1 <= task.top_k <= len(shape.labels):
            return Rejection(
                Reason.OUT_OF_ENVELOPE, "the model has not so many classes", "top_k", limit=len(shape.labels),
                seen=task.top_k, unit="classes", accepted=f"1 to {len(shape.labels)}",
            )  # fmt: skip
        header = self._header(task)
        if isinstance(header, Rejection):
            return header
        return Call(
            id=raw.id,
            route=raw.route,
            caller=raw.caller,
            model=spec.name,
            payload=_ENCODER.encode(ClassifyPayload(task.image, header.pixels, task.top_k)),
            features=image.measure(header, len(task.image), (shape.height, shape.width)),
            deadline=raw.deadline,
        )

    def render(self, call: Call, result: bytes, dialect: str) -> Body:
        """See Endpoint."""
        return Body(classify.render(_RESULT.decode(result).data))

    def _header(self, task: classify.ClassifyTask) -> Header | Rejection:
        header = read(task.image)
        if isinstance(header, str):
            return Rejection(Reason.MALFORMED, header, task.field, accepted="a PNG, JPEG or WebP file")
        if task.kind is not None and header.kind is not task.kind:
            return Rejection(
                Reason.MALFORMED, f"it is said to be {task.kind} and is {header.kind}", task.field, accepted=header.kind
            )
        return image.check(header, self._settings, task.field) or header
