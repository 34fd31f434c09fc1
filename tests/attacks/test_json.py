"""Attacks with JSON and with bodies that are none (J01 to J17, P19 to P26), against both routes."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import json
import lzma
import zlib

import pytest
from tests.attacks.harness import Target, converse, siege
from tests.attacks.json_cases import EITHER, INVALID, VALID
from tests.e2e.server import MODEL

from wickguard.units import KIB, MIB

ROUTES = {"/v1/embeddings": b'{"model":"%s","input":' % MODEL.encode(), "/embed": b'{"inputs":'}
ROOM = MIB - 200
ASTRAL = "😀".encode()
# Refusing a megabyte takes some scans of it.
REFUSE_CPU_S = 0.15


def wrap(path: str, value: bytes, rest: bytes = b"") -> bytes:
    """A body whose input is `value`."""
    return ROUTES[path] + value + rest + b"}"


def fill(unit: bytes, size: int = ROOM) -> bytes:
    """`unit` as often as it fits."""
    return unit * (size // len(unit))


def colliding(count: int) -> bytes:
    """A list of integers that Python hashes to one value."""
    return b"[" + b",".join(b"%d" % (number * (2**61 - 1)) for number in range(1, count)) + b"]"


# Name: (input, what follows it, accepted status)
HOSTILE: dict[str, tuple[bytes, bytes, set[int]]] = {
    "J01-open-arrays": (fill(b"["), b"", {400, 413}),
    "J01-closed-arrays": (fill(b"[", ROOM // 2) + fill(b"]", ROOM // 2), b"", {400, 413}),
    "J01-open-objects": (fill(b'{"a":'), b"", {400}),
    "J02-empty-arrays": (b"[" + fill(b"[],") + b"[]]", b"", {413}),
    "J02-empty-objects": (b"[" + fill(b"{},") + b"{}]", b"", {413}),
    "J02-empty-strings": (b"[" + fill(b'"",') + b'""]', b"", {413}),
    "J03-unknown-keys": (b'"x"', b"," + b",".join(b'"k%d":0' % number for number in range(70_000)), {400}),
    "J03-long-key": (b'"x"', b',"' + fill(b"k", ROOM - 100) + ASTRAL + b'":1', {400}),
    "J05-colliding-ids": (colliding(40_000), b"", {400, 422}),
    "J06-digits": (b"[" + fill(b"9", ROOM - 100) + b"]", b"", {400}),
    "J06-digits-in-dimensions": (b'"x"', b',"dimensions":' + fill(b"9", ROOM - 100), {400}),
    "J06-4300-digits": (b'"x"', b',"dimensions":' + b"9" * 4300, {400}),
    "J07-infinite": (b"[1e400]", b"", {400}),
    "J07-mantissa": (b"[0." + fill(b"1", ROOM - 100) + b"]", b"", {400}),
    "J08-ascii": (b'"' + fill(b"a", ROOM - 100) + b'"', b"", {422}),
    "J08-astral": (b'"' + fill(b"a", ROOM - 100) + ASTRAL + b'"', b"", {422}),
    "J08-astral-in-list": (b'["","' + fill(b"a", ROOM - 100) + ASTRAL + b'"]', b"", {422}),
    "J11-wrong-elements": (b"[" + fill(b"null,", ROOM - 100) + b"1]", b"", {400, 413, 422}),
    "J11-wrong-among-strings": (b'["a",' + fill(b"1,", ROOM - 100) + b"1]", b"", {400}),
    "J12-base64": (b'"' + fill(b"QUJD", ROOM - 100) + b'"', b"", {422}),
    "J13-deep-unknown": (b'"x"', b',"z":' + fill(b"[", ROOM - 100), {400}),
    "J13-large-unknown": (b'"x"', b',"z":"' + fill(b"z", ROOM - 100) + b'"', {400}),
    "J13-echoed-value": (b'"x"', b',"encoding_format":" - at `$' + fill(b"a", ROOM - 100) + b'"', {400}),
}


@pytest.mark.parametrize("path", list(ROUTES))
@pytest.mark.parametrize("name", list(HOSTILE))
def test_a_body_is_refused_cheaply_when_its_structure_is_hostile(target: Target, name: str, path: str) -> None:
    """A refusal that can't be retried into success; time and bytes within a small factor of the body; a short answer."""
    value, rest, accepted = HOSTILE[name]
    with siege(target, cpu_s=REFUSE_CPU_S, front_bytes=6 * MIB):
        reply = target.post(wrap(path, value, rest), path=path)
    assert reply.status in accepted, reply.body
    assert b"x-should-retry: false" in reply.head
    assert len(reply.body) < 2 * KIB


@pytest.mark.parametrize("size", [1 * KIB, 256 * KIB, ROOM - 1000])
def test_j10_whitespace_is_read_in_linear_time_when_there_is_much(target: Target, size: int) -> None:
    """Inside the inputs it is legal; a list of one text."""
    body = wrap("/v1/embeddings", b"[" + b" \n\t" * (size // 3) + b'"x"]')
    with siege(target, cpu_s=REFUSE_CPU_S, front_bytes=6 * MIB):
        reply = target.post(body)
    assert reply.status == 200


@pytest.mark.parametrize("path", list(ROUTES))
@pytest.mark.parametrize(
    ("kind", "cases"), [("y", VALID), ("n", INVALID), ("i", EITHER)], ids=["valid", "invalid", "either"]
)
def test_j16_every_trap_is_answered_in_its_class_when_sent_as_body_and_as_input(
    target: Target, kind: str, cases: dict[str, bytes], path: str
) -> None:
    """Invalid JSON is 400 wherever it stands; valid JSON is never called invalid; nothing is ever a 5xx."""
    wrong: list[str] = []
    with siege(target, cpu_s=3.0, front_bytes=8 * MIB):
        for name, value in cases.items():
            for place, body in (
                ("body", value),
                ("input", wrap(path, value)),
                ("field", wrap(path, b'"x"', b',"z":' + value)),
            ):
                # One response is enough here, so nothing more is waited for.
                reply = target.talk(target.request(body, path=path), 0.001)
                status, text = reply.status or 599, reply.body.decode()
                called_invalid = "not valid JSON" in text
                fine = {"y": status < 500 and not called_invalid, "n": status in (400, 413, 422), "i": status < 500}[
                    kind
                ]
                if not fine:
                    wrong.append(f"{name} as {place}: {status} {text[:100]}")
    assert wrong == []


def test_j16_a_key_that_comes_twice_has_one_meaning_when_priced_and_run(target: Target) -> None:
    """The last one is measured, priced and computed: one vector."""
    body = b'{"model":"%s","input":["a","b","c"],"input":"x"}' % MODEL.encode()
    with siege(target, cpu_s=0.2, front_bytes=2 * MIB):
        reply = target.post(body)
    assert reply.status in {200, 400}
    if reply.status == 200:
        assert len(json.loads(reply.body)["data"]) == 1


def test_j15_bytes_in_flight_are_bounded_when_many_large_bodies_are_held_open(target: Target) -> None:
    """One caller's share, not the server's: its neighbour is served while the attacker gets 429."""
    body = fill(b" ", MIB - 10)
    with siege(target, cpu_s=3.0, front_bytes=60 * MIB), contextlib.ExitStack() as open_ones:
        connections = [open_ones.enter_context(target.connect()) for _ in range(48)]
        statuses = []
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.sendall(target.head(f"content-length: {MIB - 5}") + body)
        held = target.server.metric("wickguard_body_bytes_in_flight")
        for connection in connections:
            statuses.append(converse(connection, b"").status)
    assert held <= 16 * MIB + 64 * KIB
    assert 429 in statuses
    assert {status for status in statuses if status} <= {408, 429}


def bombs() -> dict[str, tuple[str, bytes]]:
    """Ten megabytes of JSON, packed: name -> (content encoding, body)."""
    plain = b'{"inputs":"' + b"a" * (10 * MIB) + b'"}'
    return {
        "P19-gzip": ("gzip", gzip.compress(plain)),
        "P19-deflate": ("deflate", zlib.compress(plain, 9)),
        "P19-raw-deflate": ("deflate", zlib.compress(plain, 9)[2:-4]),
        "P19-bzip2": ("bzip2", bz2.compress(plain)),
        "P19-xz": ("xz", lzma.compress(plain)),
        "P19-br": ("br", b"\x8b\x02\x80"),
        "P19-zstd": ("zstd", b"\x28\xb5\x2f\xfd\x04\x88" + b"\0" * 100),
        "P20-gzip-twice": ("gzip, gzip", gzip.compress(gzip.compress(plain))),
        "P20-gzip-64-times": (", ".join(["gzip"] * 64), gzip.compress(plain)),
        "P20-unknown": ("aes128gcm", b"x"),
    }


@pytest.mark.parametrize("name", list(bombs()))
def test_an_encoded_body_is_refused_unread_when_it_comes(target: Target, name: str) -> None:
    """415 on the head; nothing is ever unpacked."""
    encoding, body = bombs()[name]
    with siege(target, cpu_s=0.1, front_bytes=MIB):
        reply = target.post(body, f"content-encoding: {encoding}")
    assert reply.status == 415
    assert reply.closed


def test_p20_the_second_encoding_counts_when_the_first_is_harmless(target: Target) -> None:
    """Two headers say what one with a comma says."""
    with siege(target, cpu_s=0.1, front_bytes=MIB):
        reply = target.post(gzip.compress(b"{}"), "content-encoding: identity", "content-encoding: gzip")
    assert reply.status == 415


@pytest.mark.parametrize(("line", "key", "status"), [("/nope", None, 404), ("/embed", "wg-bad", 401)])
def test_p21_an_encoded_body_is_not_drained_when_the_head_is_refused(
    target: Target, line: str, key: str | None, status: int
) -> None:
    """Not even to be polite."""
    head = target.head("content-encoding: gzip", "content-length: 1048576", line=f"POST {line} HTTP/1.1", key=key)
    with siege(target, cpu_s=0.1, front_bytes=MIB):
        reply = target.talk(head)
    assert (reply.status, reply.closed) == (status, True)


PARTS = b"".join(b'--b\r\ncontent-disposition: form-data; name="f%d"\r\n\r\n\r\n' % number for number in range(15_000))
FORMS: dict[str, tuple[str, bytes]] = {
    "P22-empty-parts": ("multipart/form-data; boundary=b", PARTS[: MIB - 10] + b"--b--"),
    "P24-preamble": ("multipart/form-data; boundary=b", b"\r\n" * 400_000 + b"--b--"),
    "P24-dashes": ("multipart/form-data; boundary=" + "-" * 70, b"-" * 1_000_000),
    "P24-long-boundary": ("multipart/form-data; boundary=" + "b" * 10_000, b"x"),
    "P24-no-boundary": ("multipart/form-data", b"x"),
    "P26-ampersands": ("application/x-www-form-urlencoded", b"a=b&" * 250_000),
    "P26-semicolons": ("application/x-www-form-urlencoded", b";" * 1_000_000),
    "J17-msgpack": ("application/msgpack", b"\x81\xa6inputs\xa1x"),
    "J17-text": ("text/plain", b'{"inputs":"x"}'),
    "J17-json-lines": ("application/jsonl", b'{"inputs":"x"}\n'),
    "J17-json-utf-7": ("text/json; charset=utf-7", b'{"inputs":"x"}'),
    "J17-xml": ("application/xml", b'<!DOCTYPE x [<!ENTITY a "aaaa">]><x>&a;</x>'),
}


@pytest.mark.parametrize("path", list(ROUTES))
@pytest.mark.parametrize("name", list(FORMS))
def test_a_form_is_refused_unread_when_its_type_is_not_json(target: Target, name: str, path: str) -> None:
    """415 on the head: there is one way in, and no parser to attack behind the others."""
    media, body = FORMS[name]
    head = (
        f"POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {target.key}\r\ncontent-type: {media}\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    with siege(target, cpu_s=0.1, front_bytes=MIB):
        reply = target.talk(head.encode() + body)
    assert reply.status == 415
    assert reply.closed
