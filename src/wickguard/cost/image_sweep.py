"""The sweep of a classifier: pictures of every size and of every noise, and prepared images.

Decides the mixture that a calibration takes for usual: PNG files from the smallest to the largest that a request can carry, as
hard to unpack as chance has it. Other formats unpack faster per pixel (the bounds hold for the slowest). Pure; it must not know
workers or prices.
"""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from wickguard.backend import ClassifyPayload, ImageShape, ModelSpec, PixelsPayload
from wickguard.cost.calibration import Point, Run
from wickguard.modality import image, image_header
from wickguard.modality.tensor import PixelFeatures
from wickguard.records import Features

TENSOR_SHARE = 0.15
# More pixels take longer to make than to classify.
_MOST_PIXELS = 1 << 20
_ANCHOR_SIDE = 64
_F32 = 4


@dataclass(frozen=True, slots=True)
class ImageSweep:
    """The sweep (calibration.Sweep) of one classifier. most_bytes: of a file. tensor_bytes: of prepared images."""

    shape: ImageShape
    settings: image.ImageSettings
    most_bytes: int
    tensor_bytes: int

    def point(self, size: float, order: random.Random) -> Point[Features]:
        """See Sweep: the pixels grow geometrically with size."""
        if order.random() < TENSOR_SHARE:
            each = 3 * self.shape.height * self.shape.width * _F32
            most = max(1, min(64, self.tensor_bytes // each))
            return self._tensor(max(1, round(most**size)), each)
        least = self.settings.min_side**2
        pixels = least * (min(_MOST_PIXELS, self.settings.max_pixels) / least) ** size
        side = self.settings.max_side
        width = min(side, max(self.settings.min_side, round(math.sqrt(pixels) * math.exp(order.gauss(0.0, 0.2)))))
        height = min(side, max(self.settings.min_side, round(pixels / width)))
        room = int(8 * 0.9 * self.most_bytes / (3 * width * height))
        return self._picture(width, height, min(order.randint(1, 8), room), order.randrange(1 << 32))

    def anchor(self) -> Point[Features]:
        """See Sweep."""
        return dataclasses.replace(self._picture(_ANCHOR_SIDE, _ANCHOR_SIDE, 4, 0), anchor=True)

    def learn(self, runs: Sequence[Run[Features]]) -> Mapping[str, float]:
        """Headers tell everything."""
        return {}

    def features(self, subject: Features, learned: Mapping[str, float]) -> Features:
        """See Sweep."""
        return subject

    def _picture(self, width: int, height: int, bits: int, seed: int) -> Point[Features]:
        file = image.synthesize(width, height, bits, seed)
        header = image_header.read(file)
        if isinstance(header, str):
            raise AssertionError(f"a picture of our own making is not one: {header}")
        found = image.measure(header, len(file), (self.shape.height, self.shape.width))
        top = min(5, len(self.shape.labels))
        return Point(msgspec.msgpack.encode(ClassifyPayload(file, header.pixels, top)), found)

    def _tensor(self, count: int, each_bytes: int) -> Point[Features]:
        values = bytes(count * each_bytes)
        return Point(msgspec.msgpack.encode(PixelsPayload(values, "raw")), PixelFeatures(count, len(values)))


def sweep_of(spec: ModelSpec, settings: image.ImageSettings, most_bytes: int, tensor_bytes: int) -> ImageSweep:
    """The sweep of a classifier whose pictures have at most `most_bytes`, and prepared images `tensor_bytes`."""
    if spec.image is None:
        raise AssertionError(f"{spec.name} takes no pictures")
    return ImageSweep(spec.image, settings, most_bytes, tensor_bytes)
