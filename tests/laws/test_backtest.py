"""The backtest's law: under the policy that was in force, a replay is what happened."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.traffic import Shot, record, volley

from wickguard.backtest.command import site_of
from wickguard.backtest.recording import Recording, read
from wickguard.backtest.replay import Fate, Replay
from wickguard.guard.identity import add_key
from wickguard.policy.load import parse
from wickguard.policy.schema import Policy
from wickguard.records import OutcomeKind

POLICY = """
[identity]
keys = "{keys}"
anonymous = "always"
[quota]
capacity = 2
[workers]
slots = 2
long_slots = 1
[server]
memory_budget_bytes = "4G"
[edge]
max_open_per_caller = 6
[admission]
queue_s = 6
tenant_queue_s = 3
[tenants.bob]
rate = 0.5
requests_per_minute = 30
trust = "new"
"""


class Place:
    """A folder with a key file and a policy."""

    def __init__(self, folder: Path) -> None:
        self.keys = [add_key(folder / "keys", tenant) for tenant in ("alice", "bob")]
        self.policy = parse(POLICY.format(keys=folder / "keys"), "p.toml")
        self.log = folder / "audit.jsonl"

    def recorded(self, shots: list[Shot]) -> Recording:
        """The recording of these requests under the policy."""
        record(self.policy, shots, self.log)
        return read([self.log])


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    """One for all examples: adding keys is slow."""
    with tempfile.TemporaryDirectory() as folder:
        yield Place(Path(folder))


def replayed(policy: Policy, recording: Recording) -> list[Fate]:
    """The fates of all requests; nothing is held at the end."""
    replay = Replay(policy, site_of(policy, recording))
    fates = replay.run(recording.requests)
    assert set(replay.held().values()) == {0}
    return fates


@given(seed=st.integers(0, 1 << 32), count=st.integers(1, 80), gap_s=st.sampled_from([0.05, 0.2, 0.5, 2.0]))
@settings(max_examples=40)
def test_every_request_has_the_fate_that_it_had_when_the_policy_is_the_same(
    place: Place, seed: int, count: int, gap_s: float
) -> None:
    """Crowds, kills, callers who leave, deadlines, quotas in two currencies: same reasons, same waits, same charges."""
    recording = place.recorded(volley(seed, place.keys, count, gap_s))
    for fate in replayed(place.policy, recording):
        happened = fate.request.happened
        if fate.request.guessed:
            # Refused on its head: nobody knows what it was, so it may be refused for another reason, or not at all.
            continue
        assert fate.reason == happened.reason
        assert fate.queued_s == pytest.approx(happened.queued_s, abs=1e-4)
        assert fate.spent_s == pytest.approx(happened.spent_s, abs=1e-4)


@given(seed=st.integers(0, 1 << 32), count=st.integers(1, 40))
@settings(max_examples=25)
def test_whatever_was_admitted_is_admitted_when_nobody_competed(place: Place, seed: int, count: int) -> None:
    """One call at a time, far below every quota: all of it admitted, at once, for the same charge."""
    shots = [
        Shot(60.0 * number, shot.key, shot.peer, shot.texts[:2], OutcomeKind.COMPLETED, shot.wall_s)
        for number, shot in enumerate(volley(seed, place.keys, count, 1.0))
    ]
    recording = place.recorded(shots)
    assert len(recording.requests) == count
    admitted = [fate for fate in replayed(place.policy, recording) if fate.request.happened.reason is None]
    assert len(admitted) >= sum(bool(shot.key) for shot in shots)
    for fate in admitted:
        assert (fate.reason, fate.queued_s) == (None, 0.0)
        assert fate.spent_s == pytest.approx(fate.request.happened.spent_s, abs=1e-5)
