"""Attacks on who is charged: sprayed keys, forged addresses, and labels that callers would like to make."""

from __future__ import annotations

import secrets

import pytest
from tests.attacks.harness import Target, siege
from tests.e2e.server import MODEL

from wickguard.units import KIB, MIB

BODY = b'{"model":"%s","input":"x"}' % MODEL.encode()

KEYS = {
    "empty": "Bearer ",
    "no-scheme": "wg-x",
    "basic": "Basic d2ctYTpi",
    "wrong": "Bearer wg-" + "a" * 43,
    "long": "Bearer " + "k" * 8000,
    "latin-1": "Bearer w\xe9\xff",
    "many-spaces": "Bearer" + " " * 4000 + "x",
    "quoted": 'Bearer "%s"',
    "digest": "Digest username=x",
}


@pytest.mark.parametrize("name", list(KEYS))
def test_a_caller_is_refused_unread_when_its_key_is_hostile(target: Target, name: str) -> None:
    """401 before the body, and a challenge that says what would do."""
    head = (
        f"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nauthorization: {KEYS[name]}\r\n"
        f"content-length: {len(BODY)}\r\n\r\n"
    )
    with siege(target, cpu_s=0.1, front_bytes=MIB):
        reply = target.talk(head.encode("latin-1") + BODY)
    assert reply.status == 401
    assert b"www-authenticate: Bearer" in reply.head


def test_two_keys_are_none_when_sent_together(target: Target) -> None:
    """A proxy in front may have believed the other one."""
    with siege(target, cpu_s=0.1, front_bytes=MIB):
        reply = target.post(BODY, "authorization: Bearer wg-other")
    assert reply.status == 401


def test_a_forwarded_address_is_ignored_when_no_proxy_is_trusted(target: Target) -> None:
    """Nobody becomes somebody else by saying so; nor by saying nonsense."""
    with siege(target, cpu_s=0.5, front_bytes=MIB):
        for value in ("127.0.0.1", "10.0.0.1, 127.0.0.1", "nonsense", "," * 500):
            assert target.post(BODY, f"x-forwarded-for: {value}", f"forwarded: for={value}").status == 200


def test_state_is_bounded_when_keys_are_sprayed(target: Target) -> None:
    """Three thousand callers that do not exist: refused, and forgotten."""
    before = len(target.server.fetch("/metrics")[1])
    with siege(target, cpu_s=6.0, front_bytes=4 * MIB):
        for _ in range(3000):
            head = target.head(f"content-length: {len(BODY)}", key=f"wg-{secrets.token_urlsafe(32)}")
            assert target.talk(head + BODY, 0.001, source=f"127.0.1.{1 + secrets.randbelow(250)}").status == 401
    # One page of metrics more or less: a label for each would be hundreds of kilobytes.
    assert len(target.server.fetch("/metrics")[1]) - before < 4 * KIB


def test_no_label_is_made_when_callers_invent_names(target: Target) -> None:
    """Models, paths, methods, users: none of them becomes memory of ours."""
    before = len(target.server.fetch("/metrics")[1])
    with siege(target, cpu_s=3.0, front_bytes=4 * MIB):
        for number in range(300):
            target.talk(target.request(b'{"model":"m%d","input":"x","user":"u%d"}' % (number, number)), 0.001)
            target.talk(target.head(line=f"POST /p{number} HTTP/1.1"), 0.001)
            target.talk(target.head(line=f"M{number} /embed HTTP/1.1"), 0.001)
    page = target.server.fetch("/metrics")[1]
    assert len(page) - before < 4 * KIB
    assert "m299" not in page
    assert "/p299" not in page


def test_a_body_changes_nobody_when_it_names_a_user(target: Target) -> None:
    """`user` is accepted, because clients send it, and ignored, because anybody could."""
    with siege(target, cpu_s=0.3, front_bytes=MIB):
        reply = target.post(b'{"model":"%s","input":"x","user":"neighbour"}' % MODEL.encode())
    assert reply.status == 200


@pytest.mark.parametrize("value", ["0", "-1", "1e9", "99999999999", "NaN", "0x10", "1, 2", "\xb2", "", "1" * 5000])
def test_a_timeout_is_refused_when_it_is_no_time(target: Target, value: str) -> None:
    """A limit that is misread is a limit that is off."""
    with siege(target, cpu_s=0.1, front_bytes=MIB):
        reply = target.post(BODY, f"x-request-timeout-ms: {value}")
    assert reply.status == 400
