"""The cost of a picture: decoding by pixels and passes, the resize by what it makes, the network by operations.

The network's part is exact: every image has the size that the model sees. What decoding takes depends on the format and on
what is in the picture; assumed is a photograph, the bound is the slowest format found. Promises: monotone in every feature,
never zero. Pure. It must not know queues, tenants or processes.
"""

from __future__ import annotations

from wickguard.backend import ImageShape, ModelSpec
from wickguard.cost.analytic import CALL_OVERHEAD_S, GIGA, LEAST_SHARE, PAYLOAD_BYTES_PER_BYTE
from wickguard.cost.curve import Curve, uncalibrated
from wickguard.cost.model import Bounds
from wickguard.modality.image import ImageFeatures
from wickguard.modality.tensor import PixelFeatures
from wickguard.records import Features
from wickguard.units import MIB

# Measured on one core with the engine's decoders: JPEG photographs at 5 to 10, lossless WebP at 40 to 60 (seconds per pixel).
DECODE_S_PER_PIXEL = 1.5e-8
DECODE_BOUND_S_PER_PIXEL = 8.0e-8
# One value of three channels through one pass of the resize, whose filter has at least two taps.
RESIZE_S_PER_PIXEL = 1.0e-8
# A file's bytes are unpacked once, and base64 before that.
UNPACK_S_PER_BYTE = 1.0e-8
# Values: copied, and spelled as JSON where they are asked for.
VALUE_S = 1.0e-6
# As in engine/src/picture.rs, whose bound a test compares with this one.
BYTES_PER_PIXEL = 18
FILE_COPIES = 3
DECODER_BYTES = 2 * MIB
_MEGA = 1e6


class ImageCost:
    """The cost model (cost.model.CostModel) of a classifier of images; it prices picture files and prepared images."""

    terms = ("call", "megabyte", "megapixel decoded", "megapixel resized", "giga-operation", "million values")
    memory_terms = ("call", "byte as computed")
    kinds = ("tensor", "picture")

    def __init__(self, spec: ModelSpec, flops_per_s: float) -> None:
        if spec.image is None:
            raise AssertionError(f"{spec.name} takes no pictures")
        self._shape: ImageShape = spec.image
        self._speed = flops_per_s

    def prices(self, features: Features) -> bool:
        """See CostModel."""
        return isinstance(features, ImageFeatures | PixelFeatures)

    def kind(self, features: Features) -> str:
        """What is in a prepared image makes no difference; what is in a picture does."""
        return "picture" if isinstance(features, ImageFeatures) else "tensor"

    def basis(self, features: Features) -> tuple[float, ...]:
        """See CostModel."""
        labels = len(self._shape.labels)
        if isinstance(features, ImageFeatures):
            resized = features.planned_pixels + 2 * features.pixels
            sizes = (features.file_bytes, features.scan_pixels, resized)
            count, values = 1, labels
        else:
            found = _pixels(features)
            sizes, count, values = (found.value_bytes, 0, 0), found.images, found.images * labels
        megas = [size / _MEGA for size in sizes]
        return 1.0, *megas, count * self._shape.flops / GIGA, values / _MEGA

    def shared(self, features: Features) -> tuple[float, ...]:
        """See CostModel."""
        return ()

    def memory_basis(self, features: Features) -> tuple[float, ...]:
        """See CostModel."""
        return 1.0, float(self._bytes(features))

    def bounds(self, features: Features) -> Bounds:
        """See CostModel."""
        call, file, decoded, resized, operations, values = self.basis(features)
        network_s = operations * GIGA / self._speed
        work_s = CALL_OVERHEAD_S * call + UNPACK_S_PER_BYTE * _MEGA * file + VALUE_S * _MEGA * values
        picture_s = (DECODE_BOUND_S_PER_PIXEL * decoded + RESIZE_S_PER_PIXEL * resized) * _MEGA
        return Bounds(LEAST_SHARE * network_s, work_s + picture_s + network_s, self._bytes(features))

    def assumed(self) -> Curve:
        """The curve of a model that has not been calibrated."""
        cpu = (
            CALL_OVERHEAD_S, UNPACK_S_PER_BYTE * _MEGA, DECODE_S_PER_PIXEL * _MEGA, RESIZE_S_PER_PIXEL * _MEGA,
            GIGA / self._speed, VALUE_S * _MEGA,
        )  # fmt: skip
        return uncalibrated(cpu, (0.0, 1.0), self.kinds)

    def _bytes(self, features: Features) -> int:
        shape = self._shape
        if not isinstance(features, ImageFeatures):
            found = _pixels(features)
            logits = found.images * len(shape.labels)
            return shape.network_bytes + PAYLOAD_BYTES_PER_BYTE * found.value_bytes + 64 * logits
        return (
            BYTES_PER_PIXEL * features.pixels
            + (FILE_COPIES + PAYLOAD_BYTES_PER_BYTE) * features.file_bytes
            + DECODER_BYTES
            + 64 * (features.width + features.height)
            + 64 * (shape.width + shape.height)
            + 16 * shape.width * shape.height
            + shape.network_bytes
        )


def _pixels(features: Features) -> PixelFeatures:
    assert isinstance(features, PixelFeatures)  # noqa: S101 - CostModel.prices was asked
    return features
