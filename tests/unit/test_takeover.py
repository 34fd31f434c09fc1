"""Takeover: a changed policy is in force from the next request on, or not at all; nothing that runs notices."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path

import pytest
from tests.fakes import MINILM, PRICES, Exchange, Rig, RigSettings, body, rig, scope, settle_down

from wickguard.assembly import Ground
from wickguard.dialect.openai import OpenAI
from wickguard.guard.identity import IdentitySettings, add_key
from wickguard.policy.load import load
from wickguard.takeover import Takeover
from wickguard.telemetry.events import Event, PolicyInForce, PolicyReloaded


class Site:
    """A front, its policy file, and the takeover between them."""

    def __init__(self, folder: Path, before: str = "", front: Rig | None = None) -> None:
        self.path = folder / "p.toml"
        self.path.write_text(before)
        policy = load(self.path)
        self.front = front or rig(RigSettings(identity=policy.identity))
        ground = Ground({MINILM.name: MINILM}, PRICES, {}, {"openai": OpenAI()})
        self.reported = asyncio.Event()
        self.takeover = Takeover(policy, lambda: load(self.path), self.front.pipeline, ground, self._emit)

    def _emit(self, event: Event) -> None:
        self.front.events.append(event)
        self.front.metrics(event)
        self.reported.set()

    async def change(self, text: str) -> PolicyReloaded:
        """Write another policy and ask for it; what was reported."""
        self.path.write_text(text)
        taken = await self.takeover.attempt()
        event = [event for event in self.front.events if isinstance(event, PolicyReloaded)][-1]
        assert taken == (event.refused is None)
        # What a policy means here is on record exactly when it is in force.
        assert isinstance(self.front.events[-1], PolicyInForce) == taken
        return event

    async def ask(self, *texts: str, key: str = "", timeout_ms: int = 0) -> int:
        """The status of one request."""
        return (await self.start(*texts, key=key, timeout_ms=timeout_ms)[1]).status

    def start(self, *texts: str, key: str = "", timeout_ms: int = 0) -> tuple[Exchange, asyncio.Task[Exchange]]:
        """Begin a request."""
        data = json.dumps({"model": MINILM.name, "input": list(texts)}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(data))]
        headers += [(b"authorization", b"Bearer " + key.encode())] if key else []
        headers += [(b"x-request-timeout-ms", b"%d" % timeout_ms)] if timeout_ms else []
        exchange = Exchange(body(data))

        async def run() -> Exchange:
            await self.front.application(scope(headers=headers), exchange.receive, exchange.send)
            return exchange

        return exchange, asyncio.create_task(run())


LONG = "word " * 400


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("[edge]\nmax_body_bytes = 1024\n", 413),
        ('[identity]\nanonymous = "never"\n', 403),
        ("[text]\nmax_text_bytes = 100\n", 422),
        ("[price]\nmax_cpu_s = 0.01\nfloor_cpu_s = 0.01\n", 422),
        ("[admission]\nefficiency = 0.5\n", 200),
        ("[quota]\ncapacity = 0.0001\n", 200),
        ("[tenants.a]\nweight = 2\n", 200),
    ],
)
def test_next_request_meets_the_new_policy_when_it_was_taken_over(text: str, status: int, tmp_path: Path) -> None:
    """Of every section that can change while the server runs."""

    async def scenario() -> None:
        site = Site(tmp_path)
        assert await site.ask(LONG) == 200
        event = await site.change(text)
        assert len(event.changed) == text.count(" = ") or event.changed == ("tenants.a",)
        assert await site.ask(LONG) == status
        assert (await site.change("")).refused is None
        assert await site.ask(LONG) == 200

    asyncio.run(scenario())


def test_a_tenant_meets_its_new_quota_and_what_it_spent_stays_spent_when_the_policy_changes(tmp_path: Path) -> None:
    """A reload is no refill, and a raise is one at once."""
    key = add_key(tmp_path / "keys", "alice")
    base = f'[identity]\nkeys = "{tmp_path / "keys"}"\n[quota]\ncapacity = 1\n[tenants.alice]\n'

    async def scenario() -> None:
        site = Site(tmp_path, base)
        await site.change(base + "requests_per_minute = 2\n")
        assert [await site.ask("x", key=key) for _ in range(3)] == [200, 200, 429]
        await site.change(base + "requests_per_minute = 2\nweight = 2\n")
        assert await site.ask("x", key=key) == 429
        await site.change(base + "requests_per_minute = 4\n")
        assert [await site.ask("x", key=key) for _ in range(3)] == [200, 200, 429]

    asyncio.run(scenario())


def test_calls_end_as_they_were_admitted_when_the_policy_changes_meanwhile(tmp_path: Path) -> None:
    """Running, waiting, and half received; every hold is given back."""

    async def scenario() -> None:
        site = Site(tmp_path, front=rig(script=lambda job: None))
        started = [site.start(f"text {number}")[1] for number in range(5)]
        data = json.dumps({"model": MINILM.name, "input": ["a", "b", "c"]}).encode()
        half = Exchange(body(data[:10], more=True))
        reading = asyncio.create_task(
            site.front.application(scope(size_bytes=len(data)), half.receive, half.send)  # type: ignore[arg-type]
        )
        await settle_down()
        assert (site.front.holds()["running"], site.front.holds()["waiting"]) == (2, 3)
        event = await site.change(
            "[edge]\nmax_open_per_caller = 1\n[admission]\ntenant_memory_share = 0.9\nlong_floor = 0.1\n"
            "[text]\nmax_inputs = 3\n[price]\nslowdown = 2.0\n[quota]\nrefusal_s = 0.5\ncapacity = 3\n"
        )
        assert event.refused is None
        half.feed(data[10:], more=False)
        await settle_down()
        while site.front.backend.running:
            site.front.backend.finish(site.front.backend.running[0])
            await settle_down()
        assert [(await task).status for task in started] == [200] * 5
        await reading
        assert half.status == 200
        assert set(site.front.holds().values()) == {0}

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[text]\nmax_inputs = 1\n[edge]\nmax_headers = 500\n", "p.toml:4: edge.max_headers must be 1 to 100, not 500"),
        ("[text]\nmax_inputs = 1\n[server]\nbacklog = 7\n", "server.backlog: 1024 -> 7; nothing of the new policy"),
        ('[text]\nmax_inputs = 1\n[identity]\nkeys = "/nowhere/keys"\n', "key file /nowhere/keys can't be read"),
        ("[text", "not valid TOML"),
    ],
)
def test_nothing_changes_when_the_policy_is_refused(
    text: str, says: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whole: also not what was right in it. Logged and counted."""

    async def scenario() -> None:
        site = Site(tmp_path)
        stages = site.front.pipeline.stages
        event = await site.change(text)
        assert says in (event.refused or "")
        assert site.front.pipeline.stages is stages
        assert await site.ask("a", "b") == 200
        assert b'wickguard_policy_reloads_total{result="refused"} 1.0' in site.front.metrics.render()

    with caplog.at_level(logging.ERROR, "wickguard"):
        asyncio.run(scenario())
    assert says in caplog.text
    assert "the old one stays in force" in caplog.text


def test_keys_come_and_go_when_only_the_key_file_changes(tmp_path: Path) -> None:
    """Without a word in the policy."""
    keys = tmp_path / "keys"
    old = add_key(keys, "alice")

    async def scenario() -> None:
        text = f'[identity]\nkeys = "{keys}"\n'
        site = Site(tmp_path, text, rig(RigSettings(identity=IdentitySettings(str(keys)))))
        keys.write_text("")
        new = add_key(keys, "bob")
        assert [await site.ask("x", key=key) for key in (old, new)] == [200, 401]
        assert (await site.change(text)).changed == ()
        assert [await site.ask("x", key=key) for key in (old, new)] == [401, 200]

    asyncio.run(scenario())


def test_the_server_goes_on_when_taking_over_breaks(tmp_path: Path) -> None:
    """A mistake of ours is counted as a refusal."""

    async def scenario() -> None:
        site = Site(tmp_path)
        site.takeover._read = lambda: 1 / 0  # type: ignore[assignment,return-value]
        asked = asyncio.Event()
        running = asyncio.create_task(site.takeover.run(asked))
        for _ in range(2):
            site.reported.clear()
            asked.set()
            await site.reported.wait()
        running.cancel()
        assert [getattr(event, "refused", "") for event in site.front.events] == ["internal error; see the log"] * 2
        assert await site.ask("a") == 200

    asyncio.run(scenario())
