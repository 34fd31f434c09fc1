"""A scene: one fresh server, good tenants, one attack; what the clients saw and what the server's own records say.

    warm-up, calm, attack, after

Good tenants and attackers are processes of their own, so that a busy attacker doesn't make good clients late; they and the
server share the machine, so what they used is part of the evidence.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benches.server import WICKGUARD, free_port, tree_cpu_s
from benches.siege.attacks import ATTACKS, Attack, Field
from benches.siege.population import KINDS, Identity, Sample, Tenant, embedding, inputs_of, live, post, settle_down

ROOT = Path(__file__).parents[2]
WARM_UP_S = 2.5
CALM_S = 5.0
ATTACK_S = 12.0
AFTER_S = 3.0
GOOD_LOAD = 0.3
CORES = len(os.sched_getaffinity(0))
GOOD = tuple(f"good{number}" for number in range(sum(kind.tenants for kind in KINDS)))
# Whoever serves only addresses vouches for them together: they may use the server, and one of them what a key may.
ADDRESSES = f"""
[quota]
anonymous_rate = {CORES / 2}
anonymous_share = 0.9
alarmed_share = 0.5
"""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a scene leaves. cpu_s: of the front, the server, the machine, good clients and attackers, in the attack's window;
    audit and samples: in seconds after the calm began; tenants: good ones by the name that the server gives them.
    """

    samples: list[Sample]
    answers: Counter[str]
    cpu_s: dict[str, float]
    audit: list[dict[str, Any]]
    tenants: dict[str, Tenant]


def play(attack: Attack, *, keyed: bool, seed: int, policy: str) -> Evidence:
    """Play one scene."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as closing:
        folder = Path(name)
        good, attackers = _cast(attack, folder, keyed=keyed)
        port, front = closing.enter_context(_server(folder, _policy(folder, policy, keyed=keyed)))
        costs = _costs(port, good[0])
        tenants = settle_down(good, GOOD_LOAD * CORES, costs)
        with ProcessPoolExecutor(2) as pool:
            started = time.monotonic() + WARM_UP_S
            wall = time.time() + WARM_UP_S
            calm_s = attack.history_s + CALM_S
            end_s = calm_s + ATTACK_S + AFTER_S
            living = pool.submit(_live, port, tenants, started, end_s, seed)
            attacking = pool.submit(_attack, attack.code, port, attackers, started + calm_s, seed)
            _sleep_until(started + calm_s)
            before = _usage(front)
            _sleep_until(started + calm_s + ATTACK_S)
            used = {name: value - before[name] for name, value in _usage(front).items()}
            samples, good_s = living.result()
            answers, attack_s = attacking.result()
        closing.close()
        audit = [json.loads(line) for line in (folder / "audit.jsonl").read_text().splitlines()]
    for entry in audit:
        entry["at"] -= wall + attack.history_s
    samples = [replace(sample, due_s=sample.due_s - attack.history_s) for sample in samples]
    used |= {"good": good_s * ATTACK_S / end_s, "attack": attack_s}
    prefix = "key:" if keyed else "ip:"
    named = {f"{prefix}{t.identity.name if keyed else t.identity.source}": t for t in tenants}
    return Evidence(samples, answers, used, audit, named)


def _cast(attack: Attack, folder: Path, *, keyed: bool) -> tuple[list[Identity], list[Identity]]:
    """Good ones and attackers. Addresses are in networks of their own: in one, its limit would stop them all."""
    good = [Identity(name, None, f"127.0.{number + 1}.7") for number, name in enumerate(GOOD)]
    count = attack.many or attack.tenants
    bad = [Identity(f"bad{n}", None, f"127.{1 + n // 250}.{n % 250}.9") for n in range(count)]
    if keyed:
        good = [Identity(one.name, _key(folder, one.name), one.source) for one in good]
        if not attack.many:
            bad = [Identity(one.name, _key(folder, one.name), one.source) for one in bad]
    return good, bad


def _key(folder: Path, tenant: str) -> str:
    command = [WICKGUARD, "keys", "add", str(folder / "keys"), tenant]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _policy(folder: Path, policy: str, *, keyed: bool) -> Path:
    keys = f'keys = "{folder / "keys"}"\n' if keyed else ""
    parts = [policy, f'[identity]\nanonymous = "always"\n{keys}', f'[audit]\npath = "{folder / "audit.jsonl"}"\n']
    parts += [] if keyed else [ADDRESSES]
    path = folder / "policy.toml"
    path.write_text("\n".join(parts))
    return path


@contextlib.contextmanager
def _server(folder: Path, policy: Path) -> Iterator[tuple[int, int]]:
    port, log = free_port(), folder / "server.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "benches.siege.host", str(policy), "--port", str(port)],
            stdout=out,
            stderr=out,
            cwd=ROOT,
        )
    try:
        _await_ready(port, process, log)
        yield port, process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(40)
        finally:
            process.kill()


def _await_ready(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    # A first start measures the model.
    for _ in range(3600):
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.returncode}:\n{log.read_text()}")
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready") as page:
            if page.status == 200:
                return
        time.sleep(0.05)
    raise RuntimeError("the server did not become ready")


def _costs(port: int, identity: Identity) -> dict[str, float]:
    """CPU-seconds of a call of each class, as the server quotes them."""
    found: dict[str, float] = {}
    for kind in KINDS:
        request = {"route": "/v1/embeddings", "request": embedding(inputs_of(kind.name)[0])}
        head, _, body = post("/v1/quote", request, identity).partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
        asked = urllib.request.Request(f"http://127.0.0.1:{port}/v1/quote", body, headers)
        with urllib.request.urlopen(asked) as answer:  # noqa: S310 (our own server)
            found[kind.name] = json.loads(answer.read())["expected"]["cpu_s"]
    return found


def _live(port: int, tenants: list[Tenant], started: float, end_s: float, seed: int) -> tuple[list[Sample], float]:
    samples = asyncio.run(live(port, tenants, started, end_s, seed))
    return samples, time.process_time()


def _attack(code: str, port: int, identities: list[Identity], begin: float, seed: int) -> tuple[Counter[str], float]:
    attack = next(one for one in ATTACKS if one.code == code)
    field = Field(port, identities, begin, begin + ATTACK_S, random.Random(seed))

    async def run() -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(
                asyncio.get_running_loop().time() + begin + ATTACK_S + 1.0 - time.monotonic()
            ):
                await attack.plan(field)

    before = time.process_time()
    asyncio.run(run())
    return field.answers, time.process_time() - before


def _sleep_until(instant: float) -> None:
    time.sleep(max(0.0, instant - time.monotonic()))


def _usage(front: int) -> dict[str, float]:
    """CPU-seconds so far: of the front, of the whole server, and of everything on this machine."""
    words = Path(f"/proc/{front}/stat").read_text().rpartition(")")[2].split()
    busy = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    tick = os.sysconf("SC_CLK_TCK")
    # All but idle (4th) and waiting for disks (5th).
    return {
        "front": (int(words[11]) + int(words[12])) / tick,
        "server": tree_cpu_s(front),
        "machine": (sum(busy) - busy[3] - busy[4]) / tick,
    }
