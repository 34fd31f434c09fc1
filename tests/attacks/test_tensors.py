"""Attacks with raw tensors (R01 to R15): shapes, lengths and names that don't belong to what came."""

from __future__ import annotations

import json
import socket
import struct
import time

import pytest
from tests.attacks.harness import Reply, Target, at_once, siege
from tests.e2e.server import MODEL

from wickguard.units import MIB

DIGITS = "digits-vit"
WRITER = "stories-llama"
PIXELS = 3 * 32 * 32


def request(target: Target, model: str, described: object, raw: bytes = b"", length: str | None = None) -> bytes:
    """One request, raw data behind its JSON."""
    head = described if isinstance(described, bytes) else json.dumps(described).encode()
    lines = ["host: x", f"authorization: Bearer {target.key}", f"content-length: {len(head) + len(raw)}"]
    if raw or length is not None:
        lines.append(f"inference-header-content-length: {len(head) if length is None else length}")
    first = f"POST /v2/models/{model}/infer HTTP/1.1"
    return "\r\n".join([first, *lines, "", ""]).encode() + head + raw


def infer(target: Target, model: str, described: object, raw: bytes = b"", length: str | None = None) -> Reply:
    """Send one request."""
    return target.talk(request(target, model, described, raw, length))


def pixels(shape: object, size: int | None = None, **fields: object) -> dict[str, object]:
    """A request with one tensor of pixels, raw if a size is given."""
    one = {"name": "pixel_values", "datatype": "FP32", "shape": shape} | fields
    return {"inputs": [one | ({} if size is None else {"parameters": {"binary_data_size": size}})]}


def ids(rows: list[list[int]], **more: list[list[int]]) -> dict[str, object]:
    """A request with token ids."""
    tensors = {"input_ids": rows} | more
    return {
        "inputs": [
            {"name": name, "datatype": "INT64", "shape": [len(value), len(value[0]) if value else 0], "data": value}
            for name, value in tensors.items()
        ]
    }


FULL = bytes(PIXELS * 4)
IMAGES: dict[str, tuple[object, bytes]] = {
    "R01-wraps-to-zero": (pixels([65536] * 4, len(FULL)), FULL),
    "R01-wraps-to-one-image": (pixels([2**62 + 1, 3, 32, 32], len(FULL)), FULL),
    "R02-zero-hides-huge": (pixels([0, 2**62, 32, 32], len(FULL)), FULL),
    "R03-negative": (pixels([-1, -3, 32, 32], len(FULL)), FULL),
    "R03-float": (pixels([1.5, 3, 32, 32], len(FULL)), FULL),
    "R03-1e30": (pixels([1e30, 3, 32, 32], len(FULL)), FULL),
    "R04-one-byte-short": (pixels([1, 3, 32, 32], len(FULL) - 1), FULL[:-1]),
    "R04-one-float-short": (pixels([1, 3, 32, 32], len(FULL) - 4), FULL[:-4]),
    "R04-other-sides": (pixels([1, 3, 16, 64], len(FULL)), FULL),
    "R05-rank": (pixels([1] * 3000, len(FULL)), FULL),
    "R07-more-than-came": (pixels([1, 3, 32, 32], len(FULL)), FULL[:-4]),
    "R07-less-than-came": (pixels([1, 3, 32, 32], len(FULL)), FULL + b"abcd"),
    "R10-too-many-images": (pixels([65, 3, 32, 32], 65 * len(FULL)), FULL * 65),
    "R13-nan": (pixels([1, 3, 32, 32], len(FULL)), struct.pack("<f", float("nan")) + FULL[4:]),
    "R14-shared-memory": (pixels([1, 3, 32, 32], parameters={"shared_memory_region": "r", "shared_memory_byte_size": 4}), b""),
    "R15-hidden-states": (pixels([1, 3, 32, 32], len(FULL)) | {"outputs": [{"name": "hidden_states"}]}, FULL),
    "R09-other-tensor": ({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}]}, b""),
    "type-confusion": (pixels([1, 3, 32, 32], len(FULL)) | {"inputs": [
        {"name": "pixel_values", "datatype": "INT64", "shape": [1, 3, 32, 32], "parameters": {"binary_data_size": 8 * PIXELS}}
    ]}, FULL * 2),
}  # fmt: skip


@pytest.mark.parametrize("name", list(IMAGES))
def test_pixels_are_refused_when_they_are_not_what_is_described(gallery: Target, name: str) -> None:
    """4xx before a worker is asked, whatever 64-bit arithmetic would make of the shape."""
    described, raw = IMAGES[name]
    with siege(gallery, cpu_s=0.15, front_bytes=8 * MIB):
        reply = infer(gallery, DIGITS, described, raw)
    assert reply.status in {400, 413, 422}, reply.body
    assert len(reply.body) < 1000


TOKENS: dict[str, object] = {
    "R12-outside-the-vocabulary": ids([[101, 99_999, 102]]),
    "R12-negative": ids([[101, -5, 102]]),
    "R12-2^31": ids([[101, 2**31, 102]]),
    "R10-mask-broadcast": ids([[101, 7592, 102]] * 4, attention_mask=[[1, 1, 1]]),
    "R10-mask-square": ids([[101, 7592, 102]], attention_mask=[[1, 1, 1]] * 3),
    "R10-mask-with-holes": ids([[101, 7592, 102]], attention_mask=[[1, 0, 1]]),
    "R10-mask-of-zeros": ids([[101, 7592, 102]], attention_mask=[[0, 0, 0]]),
    "R10-mask-of-twos": ids([[101, 7592, 102]], attention_mask=[[2, 2, 2]]),
    "R10-batch": ids([[101, 102]] * 65),
    "R10-too-long": ids([[101] * 513]),
    "R12-types": ids([[101, 102]], token_type_ids=[[0, 1]]),
    "R04-ragged": {"inputs": [{"name": "input_ids", "datatype": "INT64", "shape": [2, 2], "data": [[1, 2], [3]]}]},
    "R02-empty": ids([]),
    "text-and-ids": {"inputs": [*ids([[101, 102]])["inputs"],  # type: ignore[misc]
                                {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["a"]}]},
    "mask-alone": {"inputs": [{"name": "attention_mask", "datatype": "INT64", "shape": [1, 1], "data": [1]}]},
    "nothing": {"inputs": []},
}  # fmt: skip


@pytest.mark.parametrize("name", list(TOKENS))
def test_tokens_are_refused_when_the_model_can_not_take_them(gallery: Target, name: str) -> None:
    """4xx by name; masks are exact or refused, never broadcast."""
    with siege(gallery, cpu_s=0.3, front_bytes=8 * MIB):
        reply = infer(gallery, MODEL, TOKENS[name])
    assert reply.status in {400, 413, 422}, reply.body


def row(count: int, **fields: object) -> dict[str, object]:
    """A request with raw ids in one row."""
    one = {"name": "input_ids", "datatype": "INT64", "shape": [1, count], "parameters": {"binary_data_size": 8 * count}}
    return {"inputs": [one | fields]}


WRITTEN: dict[str, tuple[object, bytes, str]] = {
    "R12-outside-the-vocabulary": (ids([[5, 1024]]), b"", "out_of_envelope"),
    "R12-2^62": (row(2), struct.pack("<2q", 5, 2**62), "out_of_envelope"),
    "R12-negative": (ids([[5, -1]]), b"", "out_of_envelope"),
    "R10-mask-with-padding": (ids([[5, 6, 7]], attention_mask=[[1, 1, 0]]), b"", "unsupported_field"),
    "R10-mask-of-zeros": (ids([[5, 6]], attention_mask=[[0, 0]]), b"", "unsupported_field"),
    "R10-mask-of-twos": (ids([[5, 6]], attention_mask=[[2, 2]]), b"", "unsupported_field"),
    "R10-mask-broadcast": (ids([[5, 6]] * 4, attention_mask=[[1, 1]]), b"", "out_of_envelope"),
    "R10-one-over": (row(1025), bytes(8 * 1025), "too_many_tokens"),
    "R10-rows": (ids([[5]] * 65), b"", "batch_too_large"),
    "R10-body-full-of-ids": (row(130_000), bytes(8 * 130_000), "too_many_tokens"),
    "R06-answer-of-a-gibibyte": (row(1024, shape=[64, 1024]), bytes(8 * 1024), "malformed"),
    "R06-answer-of-a-quarter": (row(65_536, shape=[64, 1024]), bytes(8 * 65_536), "out_of_envelope"),
    "R06-answer-spelled": (row(1024), bytes(8 * 1024), "out_of_envelope"),
    "R01-wraps-to-one": (row(1, shape=[2**62, 4]), bytes(8), "malformed"),
    "R03-negative-shape": (row(1, shape=[-1, -1]), bytes(8), "malformed"),
    "R05-rank": (row(1, shape=[1, 1, 1]), bytes(8), "out_of_envelope"),
    "R05-flat": (row(4, shape=[4]), bytes(32), "out_of_envelope"),
    "R09-types": (ids([[5]], token_type_ids=[[0]]), b"", "unknown_field"),
    "R09-past": (ids([[5]], past_key_values=[[0]]), b"", "unknown_field"),
    "R15-hidden-states": (ids([[5]]) | {"outputs": [{"name": "hidden_states"}]}, b"", "unknown_field"),
    "parameters": (ids([[5]]) | {"parameters": {"temperature": 1}}, b"", "unknown_field"),
    "text": ({"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["a"]}]}, b"", "unknown_field"),
    "mask-alone": ({"inputs": [{"name": "attention_mask", "datatype": "INT64", "shape": [1, 1], "data": [1]}]}, b"",
                   "malformed"),
    "type-confusion": ({"inputs": [{"name": "input_ids", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]}, b"",
                       "unsupported_field"),
}  # fmt: skip


@pytest.mark.parametrize("name", list(WRITTEN))
def test_ids_for_a_writer_are_refused_when_they_are_not_what_it_takes(gallery: Target, name: str) -> None:
    """By name, before a worker is asked: the size of the answer, which is a thousand times the request's, too."""
    described, raw, code = WRITTEN[name]
    with siege(gallery, cpu_s=0.25, front_bytes=8 * MIB):
        reply = infer(gallery, WRITER, described, raw)
    assert reply.status in {400, 413, 422}, reply.body
    assert reply.code == code, reply.body
    assert len(reply.body) < 1000


def test_r06_largest_answers_are_paid_for_when_many_are_asked_for(gallery: Target) -> None:
    """Six at once of four mebibytes each: answered, or told to come back, and the neighbour is served meanwhile."""
    described = row(1024, shape=[2, 512]) | {"parameters": {"binary_data_output": True}}
    # Two of them may be unread at once, and each exists a few times while it is put together.
    with siege(gallery, cpu_s=6.0, front_bytes=2 * 4 * 8 * MIB):
        replies = at_once(6, lambda: infer(gallery, WRITER, described, bytes(8 * 1024)))
    assert {reply.status for reply in replies} <= {200, 429, 503}
    assert any(reply.status == 200 for reply in replies)
    assert gallery.server.metric("wickguard_reserved_bytes") == 0


def test_r06_front_holds_two_answers_of_a_caller_when_it_reads_none(gallery: Target) -> None:
    """Eight requests for eight mebibytes, whose answers nobody reads: six are refused before anything is computed."""
    count = 2 * 1023
    described = row(count, shape=[2, 1023]) | {"parameters": {"binary_data_output": True}}
    raw, held = bytes(8 * count), []
    with siege(gallery, cpu_s=3.0, front_bytes=2 * 4 * 8 * MIB):
        for _ in range(8):
            connection = gallery.connect()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.sendall(request(gallery, WRITER, described, raw))
            held.append(connection)
        statuses = sorted(connection.recv(12)[9:] for connection in held)
        assert statuses == [b"200"] * 2 + [b"429"] * 6
        assert 8 * MIB < gallery.server.metric("wickguard_answer_bytes_held") <= 16 * MIB
        for connection in held:
            connection.close()
    give_up = time.monotonic() + 20
    while gallery.server.metric("wickguard_answer_bytes_held") > 0:
        assert time.monotonic() < give_up
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("shape", "parameters"),
    [([1, 3], {"horizon": 10**6}), ([1, 3], {"num_samples": 10**6}), ([3], {}), ([1, 1, 3], {}), ([3, 1], {"horizon": 0}),
     ([1, 3], {"horizon": -1}), ([1, 3], {"priority": 1}), ([1, 3], {"temperature": 0}), ([1, 3], {"top_k": 0})],
)  # fmt: skip
def test_series_are_refused_when_their_shape_or_parameters_are_outside(
    gallery: Target, shape: list[int], parameters: dict[str, object]
) -> None:
    """The same envelope as at /v1/forecast, and no parameter that is not known."""
    one = {"name": "series", "datatype": "FP32", "shape": shape, "data": [1, 2, 3]}
    reply = infer(gallery, "series-chronos", {"inputs": [one], "parameters": parameters})
    assert reply.status in {400, 422}, reply.body


def test_parameters_are_refused_when_a_model_takes_none(gallery: Target) -> None:
    """A horizon means nothing to a classifier."""
    described = pixels([1, 3, 32, 32], len(FULL)) | {"parameters": {"horizon": 5}}
    assert infer(gallery, DIGITS, described, FULL).status == 400


def test_r08_texts_are_refused_when_their_lengths_lie(gallery: Target) -> None:
    """Four gigabytes in four bytes."""
    for raw in (b"\xff\xff\xff\xff", b"\xff\xff\xff\x7fabc", b"\5\0\0\0abc", b"\1\0\0\0\xff"):
        one = {"name": "text", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": len(raw)}}
        with siege(gallery, cpu_s=0.1, front_bytes=2 * MIB):
            reply = infer(gallery, MODEL, {"inputs": [one]}, raw)
        assert (reply.status, reply.code) == (400, "malformed")


@pytest.mark.parametrize("length", ["0", "-1", "1e3", "99999999", "9" * 400, "0x20", "+5", "abc"])
def test_r07_length_of_the_json_is_refused_when_it_is_not_within_the_body(gallery: Target, length: str) -> None:
    """One number of digits, at most the body."""
    reply = infer(gallery, DIGITS, pixels([1, 3, 32, 32], len(FULL)), FULL, length)
    assert (reply.status, reply.code) == (400, "malformed"), reply.body


def test_same_limits_hold_when_a_model_is_asked_through_this_door(gallery: Target) -> None:
    """The longest text of /v1/embeddings is the longest here; a million names of models are one 404 each."""
    for size, status in ((64 * 1024 + 1, 422), (100, 200)):
        one = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["a" * size]}
        assert infer(gallery, MODEL, {"inputs": [one]}).status == status
    names = ["nobody", "..%2f..%2fetc", "a" * 1500, "%00", "digits-vit%20"]
    assert {infer(gallery, name, {"inputs": []}).status for name in names} == {404}
    labels = [line for line in gallery.server.fetch("/metrics")[1].splitlines() if "/v2/models" in line]
    assert not any("nobody" in line for line in labels)
