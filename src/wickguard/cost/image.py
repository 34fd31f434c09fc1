"""The analytic price of an image call: decoding by pixels and passes, the resize by what it makes, the network by operations.

The network's part is exact: every image has the size that the model sees. What decoding takes depends on the format and on
what is in the picture; the expectation is that of a photograph, the bound that of the slowest format found. Promises: monotone
in every feature, never zero, the ceiling never below the expectation. Pure. It must not know queues, tenants or processes.
"""

from __future__ import annotations

from wickguard.backend import ModelSpec
from wickguard.cost.analytic import CALL_OVERHEAD_S, PAYLOAD_BYTES_PER_BYTE, Estimate, PriceSettings, priced
from wickguard.modality.image import ImageFeatures
from wickguard.modality.tensor import PixelFeatures
from wickguard.records import Quote
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


def quote(spec: ModelSpec, features: ImageFeatures, flops_per_s: float, settings: PriceSettings) -> Quote:
    """The price of a picture."""
    shape = spec.image
    if shape is None:
        raise AssertionError(f"{spec.name} takes no pictures")
    network_s = shape.flops / flops_per_s
    work_s = CALL_OVERHEAD_S + UNPACK_S_PER_BYTE * features.file_bytes + VALUE_S * len(shape.labels)
    resize_s = RESIZE_S_PER_PIXEL * (features.planned_pixels + 2 * features.pixels)
    fixed_s = work_s + resize_s + network_s
    memory = (
        BYTES_PER_PIXEL * features.pixels
        + (FILE_COPIES + PAYLOAD_BYTES_PER_BYTE) * features.file_bytes
        + DECODER_BYTES
        + 64 * (features.width + features.height)
        + 64 * (shape.width + shape.height)
        + 16 * shape.width * shape.height
        + shape.network_bytes
    )
    estimate = Estimate(
        fixed_s + DECODE_S_PER_PIXEL * features.scan_pixels,
        fixed_s + DECODE_BOUND_S_PER_PIXEL * features.scan_pixels,
        memory,
    )
    return priced(estimate, features, settings)


def quote_pixels(spec: ModelSpec, features: PixelFeatures, flops_per_s: float, settings: PriceSettings) -> Quote:
    """The price of prepared images."""
    shape = spec.image
    if shape is None:
        raise AssertionError(f"{spec.name} takes no pictures")
    logits = features.images * len(shape.labels)
    expected_s = CALL_OVERHEAD_S + features.images * shape.flops / flops_per_s
    expected_s += UNPACK_S_PER_BYTE * features.value_bytes + VALUE_S * logits
    memory = shape.network_bytes + PAYLOAD_BYTES_PER_BYTE * features.value_bytes + 64 * logits
    return priced(Estimate(expected_s, expected_s, memory), features, settings)
