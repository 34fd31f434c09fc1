"""Messages and frames: whole, bounded, strict."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wickguard.errors import ProtocolError
from wickguard.workers.death import KillReason
from wickguard.workers.protocol import (
    CONTROL_BYTES,
    HEADER_BYTES,
    Arm,
    Disarm,
    Hold,
    JobFrame,
    Kill,
    LoadFailed,
    ToArbiter,
    encode_control,
    encode_frame,
    frame_length,
)


@pytest.mark.parametrize("message", [Arm(1, 2, 0.5, 99.0, 1 << 40), Disarm(7), Kill(3, KillReason.WALL), Hold()])
def test_message_survives_when_encoded_and_decoded(message: ToArbiter) -> None:
    """The tag tells the types apart."""
    assert msgspec.msgpack.Decoder(ToArbiter).decode(encode_control(message)) == message


def test_message_is_refused_when_it_is_over_a_packet() -> None:
    """A control message has a hard bound, checked before it is sent."""
    with pytest.raises(ProtocolError, match="LoadFailed"):
        encode_control(LoadFailed("m", "x" * CONTROL_BYTES))


@given(payload=st.binary(max_size=2000), limit=st.integers(0, 3000))
def test_frame_is_whole_or_refused_when_it_meets_the_bound(payload: bytes, limit: int) -> None:
    """Never truncated: either all bytes with their length in front, or an error."""
    job = JobFrame(1, 0.1, 0.2, 3, payload)
    size = len(msgspec.msgpack.encode(job))
    if size > limit:
        with pytest.raises(ProtocolError):
            encode_frame(job, limit)
        return
    frame = encode_frame(job, limit)
    assert frame_length(frame[:HEADER_BYTES], limit) == size == len(frame) - HEADER_BYTES
    assert msgspec.msgpack.decode(frame[HEADER_BYTES:], type=JobFrame) == job


@given(header=st.binary(min_size=4, max_size=4))
def test_length_is_bounded_when_the_header_is_anything(header: bytes) -> None:
    """Four arbitrary bytes give a length within the bound or an error."""
    try:
        assert frame_length(header, 1000) <= 1000
    except ProtocolError:
        assert int.from_bytes(header, "little") > 1000
