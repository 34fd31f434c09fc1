"""Attacks on the price, the quota and the breakers: each caller pays for its own, and nobody else notices.

The server runs the real model with two planted faults (benches/siege/model.py): texts with a hidden word never end, or end
their process. Every test has a tenant of its own, so that the order of tests means nothing.
"""

from __future__ import annotations

import dataclasses
import json
import re
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from benches.siege.model import ABORT, SPIN
from tests.attacks.harness import Reply, Target, converse, siege
from tests.e2e.server import MODEL, Server, add_key

from wickguard.units import KIB, MIB

TENANTS = (
    "attacker",
    "neighbour",
    "spender",
    "poisoner",
    "tripper",
    "bystander",
    "killed",
    "asker",
    "sender",
    "quoter",
    "scraper",
)
POLICY = """
[identity]
anonymous = "always"

[text]
max_inputs = 2

[quota]
burst_s = 1.0
anonymous_rate = 0.0001

[tenants.spender]
rate = 0.001

[tenants.asker]
rate = 0.001

[tenants.sender]
rate = 0.001

[tenants.quoter]
rate = 0.001

[tenants.scraper]
rate = 0.001

[calibration]
cost_dir = "{folder}"

[audit]
path = "{folder}/audit.jsonl"
"""
LONG = "the " * 480


class FaultyServer(Server):
    """The same server, its model with faults."""

    program = (sys.executable, "-m", "benches.siege.host")


@dataclasses.dataclass(frozen=True, slots=True)
class Stage:
    """A server with the faulty model, keys by tenant, and its audit log."""

    target: Target
    keys: dict[str, str]
    audit: Path

    def of(self, tenant: str) -> Target:
        """The target as `tenant` sees it."""
        return dataclasses.replace(self.target, key=self.keys[tenant])

    def lines(self, tenant: str, kind: str = "CallSettled") -> list[dict[str, object]]:
        """What was written about a tenant, once it is written (the log is flushed ten times a second)."""
        give_up = time.monotonic() + 10
        while time.monotonic() < give_up:
            found = [json.loads(line) for line in self.audit.read_text().splitlines()]
            found = [entry for entry in found if entry["type"] == kind and entry["tenant"] == f"key:{tenant}"]
            if found:
                return found
            time.sleep(0.05)
        raise AssertionError(f"nothing was written about {tenant}")


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The server of this module."""
    folder = tmp_path_factory.mktemp("stage")
    keys = {tenant: add_key(folder / "keys", tenant) for tenant in TENANTS}
    server = FaultyServer(folder, POLICY.format(folder=folder), keys=folder / "keys")
    with server.running():
        target = Target(server, keys["attacker"], keys["neighbour"])
        yield Stage(target, keys, folder / "audit.jsonl")


def body(value: object) -> bytes:
    """An embeddings request."""
    return json.dumps({"model": MODEL, "input": value}).encode()


def header(reply: Reply, name: str) -> str | None:
    """The value of a header."""
    found = re.search(rf"^{name}: (.*?)\r?$", reply.head.decode(), re.IGNORECASE | re.MULTILINE)
    return found[1] if found else None


def allowance(reply: Reply) -> tuple[int, int]:
    """r and t of the RateLimit field: milliseconds of compute time left, seconds."""
    found = re.fullmatch(r'"compute";r=(\d+);t=(\d+)', header(reply, "ratelimit") or "")
    assert found, reply.head
    return int(found[1]), int(found[2])


def spend(target: Target) -> Reply:
    """Use up a quota with dear calls; the first refusal."""
    for _ in range(60):
        reply = target.post(body([LONG] * 2))
        if reply.status != 200:
            return reply
    raise AssertionError("the quota never ended")


def exhaust(target: Target) -> None:
    """Use up what is left in cheap calls, and then by being refused, which is not free either."""
    empty = 0
    for _ in range(400):
        reply = target.post(body("good morning"))
        # What is shown as 0 may be almost a millisecond, and one the next moment; the refusal after it takes that as well.
        empty = empty + 1 if reply.status == 429 and allowance(reply)[0] == 0 else 0
        if empty == 2:
            return
    raise AssertionError("the quota never ended")


def quote(target: Target, value: object, *headers: str) -> Reply:
    """Ask for a quote."""
    asked = {"route": "/v1/embeddings", "request": {"model": MODEL, "input": value}}
    return target.post(json.dumps(asked).encode(), *headers, path="/v1/quote")


def test_a_caller_is_refused_on_its_head_when_its_quota_is_used_up(stage: Stage) -> None:
    """429 before a byte of the body came, with headers that say what is left and when to come back; RFC 9110, 10.2.3."""
    spender = stage.of("spender")
    with siege(spender, cpu_s=20.0, front_bytes=8 * MIB):
        first = spender.post(body("good morning"))
        assert first.status == 200
        assert header(first, "ratelimit-policy")
        assert allowance(first)[0] > 0
        refused = spend(spender)
        assert (refused.status, refused.code) == (429, "over_quota")
        # Too dear for the rest of the quota; now the rest, in cheap calls, and then by being refused, which is not free.
        exhaust(spender)
        for _ in range(3):
            # A body is announced and never sent: an answer at once was made without it.
            reply = spender.talk(spender.head("content-length: 900000"))
            assert (reply.status, reply.code) == (429, "over_quota")
            left, reset = allowance(reply)
            assert left <= 5
            assert int(header(reply, "retry-after") or 0) >= reset >= 1


@pytest.mark.parametrize(("tenant", "status"), [("sender", 413), ("quoter", 200)])
def test_large_bodies_are_paid_for_when_nothing_runs_for_them(stage: Stage, tenant: str, status: int) -> None:
    """Refused once they are read, or quoted: each takes milliseconds of the front, and soon the next is refused unread."""
    sender, words = stage.of(tenant), "some words " * 5_000
    if status == 200:
        large, path = {"route": "/v1/embeddings", "request": {"model": MODEL, "input": [words] * 2}}, "/v1/quote"
    else:
        large, path = {"model": MODEL, "input": [words] * 8}, "/v1/embeddings"
    data = json.dumps(large).encode()
    with siege(sender, cpu_s=20.0, front_bytes=8 * MIB):
        left = allowance(spend(sender))[0]
        first = sender.post(data, path=path)
        assert first.status == status
        price = 1 + len(data) / (128 * KIB)
        assert left - allowance(first)[0] >= price - 1
        statuses, begin = list[int | None](), time.monotonic()
        # A millisecond of it comes back in every second.
        while len(statuses) < (left + time.monotonic() - begin) / price + 8:
            statuses.append(sender.post(data, path=path).status)
        assert statuses[-1] == 429
        assert set(statuses) == {status, 429}
        assert sender.talk(sender.head("content-length: 900000")).status == 429


def test_pages_of_metrics_are_paid_for_when_they_are_asked_for_with_a_key(stage: Stage) -> None:
    """To make one takes longer than a refusal; a millisecond each."""
    scraper, refused = stage.of("scraper"), body(["a"] * 3)
    left = allowance(scraper.post(refused))[0]
    for _ in range(20):
        assert scraper.talk(scraper.head(line="GET /metrics HTTP/1.1")).status == 200
    assert left - allowance(scraper.post(refused))[0] >= 18


def test_an_address_is_refused_unread_soon_when_it_never_asks_for_anything_that_runs(stage: Stage) -> None:
    """Its bodies are refused once they are read, so nothing was ever reserved: what the front does is charged all the same."""
    asked = body(["a"] * 3)
    lines = ["POST /v1/embeddings HTTP/1.1", "host: x", "content-type: application/json"]
    data = "\r\n".join([*lines, f"content-length: {len(asked)}", "", ""]).encode() + asked
    statuses = [stage.target.talk(data, source="127.0.9.9").status for _ in range(60)]
    assert statuses[0] == 413
    assert statuses[-1] == 429
    assert stage.target.talk(data, source="127.0.9.10").status == 413


def test_a_request_is_quarantined_when_it_has_ended_two_workers(stage: Stage) -> None:
    """Stopped at its grant, tried once more where nobody would miss the worker, then refused unrun; others still run."""
    poisoner = stage.of("poisoner")
    with siege(poisoner, cpu_s=3.0, front_bytes=4 * MIB):
        replies = [poisoner.post(body(f"poison {SPIN}")) for _ in range(4)]
        assert [(reply.status, reply.code) for reply in replies] == [
            (422, "cpu_exceeded"), (422, "cpu_exceeded"), (422, "poisoned"), (422, "poisoned"),
        ]  # fmt: skip
        assert stage.of("bystander").post(body(f"poison {SPIN}")).code == "poisoned"
        assert poisoner.post(body("no poison")).status == 200


def test_nobody_else_is_stopped_when_a_tenant_trips_its_breaker(stage: Stage) -> None:
    """Crashes of one tenant, all different, in the class of everybody's calls: only that tenant has to wait."""
    tripper, bystander = stage.of("tripper"), stage.of("bystander")
    with siege(tripper, cpu_s=6.0, front_bytes=4 * MIB):
        replies = [tripper.post(body(f"crash {ABORT} {number:02}")) for number in range(20)]
        codes = [reply.code for reply in replies]
        opened = codes.index("own_circuit_open")
        assert set(codes[:opened]) == {"worker_crashed"}
        assert set(codes[opened:]) == {"own_circuit_open"}
        assert opened <= 10
        assert replies[-1].status == 429
        assert int(header(replies[-1], "retry-after") or 0) >= 1
        for number in range(5):
            assert bystander.post(body(f"crash {ABORT[:-2]}xy {number:02}")).status == 200


def test_a_kill_is_charged_with_its_respawn_when_a_call_spends_its_grant(stage: Stage) -> None:
    """What was used, what was used beyond the price once more, and the new process: the audit log has the bill."""
    killed = stage.of("killed")
    with siege(killed, cpu_s=2.0, front_bytes=4 * MIB):
        assert killed.post(body(f"bill {SPIN}")).code == "cpu_exceeded"
    (bill,) = stage.lines("killed")
    cpu_s, respawn_s, charged_s = (float(str(bill[name])) for name in ("cpu_s", "respawn_s", "charged_s"))
    assert bill["outcome"] == "expired_cpu"
    assert respawn_s > 0
    assert charged_s >= cpu_s + respawn_s
    assert charged_s >= float(str(bill["granted_cpu_s"]))


def test_nothing_is_refilled_when_addresses_are_sprayed(stage: Stage) -> None:
    """One address uses up what strangers get; then hundreds of others ask once, from as many networks."""
    target = stage.target

    def ask(source: str) -> int | None:
        text = body("good morning")
        lines = ["POST /v1/embeddings HTTP/1.1", "host: x", "content-type: application/json"]
        head = "\r\n".join([*lines, f"content-length: {len(text)}", "", ""])
        with socket.create_connection(("127.0.0.1", target.server.port), 10, (source, 0)) as made:
            return converse(made, head.encode() + text, 0.0005).status

    with siege(target, cpu_s=12.0, front_bytes=8 * MIB):
        assert 429 in [ask("127.9.9.9") for _ in range(60)]
        statuses = {ask(f"127.{20 + number // 250}.{number % 250}.5") for number in range(500)}
        assert statuses <= {200, 503}
        assert ask("127.9.9.9") == 429


def test_a_quote_is_what_admission_then_does_when_the_same_call_comes(stage: Stage) -> None:
    """The same price and the same refusal; asking takes nothing."""
    asker = stage.of("asker")
    with siege(asker, cpu_s=20.0, front_bytes=8 * MIB):
        first, second = (json.loads(quote(asker, LONG).body) for _ in range(2))
        assert first["admitted"] is True
        assert second["quota"]["available_s"] == pytest.approx(first["quota"]["available_s"], abs=0.002)
        assert asker.post(body(LONG)).status == 200
        (settled,) = stage.lines("asker")
        assert round(float(str(settled["quoted_cpu_s"])), 6) == first["expected"]["cpu_s"]
        assert round(float(str(settled["granted_cpu_s"])), 6) == first["grant"]["cpu_s"]

        # Time enough for the body, and far too little for the call.
        hurry = "x-request-timeout-ms: 40"
        told = json.loads(quote(asker, [LONG] * 2, hurry).body)["refusal"]
        refused = asker.post(body([LONG] * 2), hurry)
        assert (told["code"], told["status"]) == (refused.code, refused.status) == ("deadline_infeasible", 422)

        assert spend(asker).code == "over_quota"
        told = json.loads(quote(asker, [LONG] * 2).body)["refusal"]
        refused = asker.post(body([LONG] * 2))
        assert (told["code"], told["status"]) == (refused.code, refused.status) == ("over_quota", 429)
        before = json.loads(quote(asker, [LONG] * 2).body)["quota"]["available_s"]
        for _ in range(5):
            after = json.loads(quote(asker, [LONG] * 2).body)["quota"]["available_s"]
        assert before - after <= 5 * 0.001 + 0.002
