"""Control channels: order, descriptors, bounds, the end."""

from __future__ import annotations

import os
import socket

import msgspec
import pytest

from wickguard.errors import ProtocolError
from wickguard.workers.channel import Channel, ChannelClosedError, control_pair
from wickguard.workers.protocol import Arm, Disarm, Hold, ToArbiter


@pytest.fixture
def ends() -> tuple[Channel[ToArbiter], Channel[ToArbiter]]:
    """Two non-blocking ends."""
    left, right = control_pair()
    left.setblocking(False)
    right.setblocking(False)
    return tuple(Channel(end, msgspec.msgpack.Decoder(ToArbiter)) for end in (left, right))  # type: ignore[return-value]


def test_messages_keep_their_order_when_the_peer_is_slow(ends: tuple[Channel[ToArbiter], Channel[ToArbiter]]) -> None:
    """More than the socket holds is queued, and arrives complete and in order."""
    left, right = ends
    sent = [Arm(number, 1, 0.1, 0.2, 3) for number in range(20_000)]
    for message in sent:
        left.send(message)
    assert left.pending
    got: list[ToArbiter] = []
    while len(got) < len(sent):
        while (received := right.receive()) is not None:
            got.append(received[0])
        left.flush()
    assert got == sent
    assert not left.pending
    left.close()
    right.close()


def test_descriptor_is_the_same_file_when_it_is_passed(ends: tuple[Channel[ToArbiter], Channel[ToArbiter]]) -> None:
    """A pipe end sent along still leads to the same pipe, is close-on-exec, and survives the sender's close."""
    left, right = ends
    read, write = os.pipe()
    left.send(Hold(), (write,))
    os.close(write)
    received = right.receive()
    assert received is not None
    message, (passed,) = received
    assert message == Hold()
    assert not os.get_inheritable(passed)
    os.write(passed, b"through")
    assert os.read(read, 10) == b"through"
    os.close(passed)
    os.close(read)
    left.close()
    right.close()


def test_end_is_reported_when_the_peer_has_closed(ends: tuple[Channel[ToArbiter], Channel[ToArbiter]]) -> None:
    """What was sent before the end is still delivered; after it both directions raise."""
    left, right = ends
    left.send(Disarm(4))
    left.close()
    assert right.receive() == (Disarm(4), [])
    with pytest.raises(ChannelClosedError):
        right.receive()
    with pytest.raises(ChannelClosedError):
        right.send(Hold())
    right.close()


@pytest.mark.parametrize("data", [b"\xc0", b"garbage", msgspec.msgpack.encode({"type": "Hold", "more": 1})])
def test_message_is_refused_when_it_is_not_what_was_agreed(data: bytes) -> None:
    """Strict: unknown types and fields are a ProtocolError."""
    left, right = control_pair()
    channel: Channel[ToArbiter] = Channel(right, msgspec.msgpack.Decoder(ToArbiter))
    left.send(data)
    with pytest.raises(ProtocolError):
        channel.receive()
    left.close()
    channel.close()


def test_message_is_refused_when_it_is_larger_than_a_packet() -> None:
    """A packet that would have to be cut is an error, not a shorter message."""
    left, right = control_pair()
    left.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    channel: Channel[ToArbiter] = Channel(right, msgspec.msgpack.Decoder(ToArbiter))
    left.send(bytes(70_000))
    with pytest.raises(ProtocolError, match="over"):
        channel.receive()
    left.close()
    channel.close()
