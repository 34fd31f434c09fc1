"""`wickguard policy backtest`: what is read, replayed, counted and printed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.traffic import Shot, record

from wickguard.backtest.command import site_of
from wickguard.backtest.comparison import Side, compare
from wickguard.backtest.recording import read
from wickguard.backtest.replay import Replay
from wickguard.cli import main
from wickguard.errors import ConfigError
from wickguard.guard.identity import add_key
from wickguard.policy.load import parse
from wickguard.policy.schema import Policy
from wickguard.records import OutcomeKind
from wickguard.telemetry.events import AuditDropped, CallSettled, Event, PolicyInForce, RequestRejected

BASE = '[workers]\nslots = 2\n[quota]\ncapacity = 2\n[server]\nmemory_budget_bytes = "4G"\n'


class Site:
    """A folder with keys of two tenants, and what was recorded there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "audit.jsonl"
        self.alice, self.bob = (add_key(folder / "keys", tenant) for tenant in ("alice", "bob"))

    def policy(self, text: str) -> Policy:
        """A policy with the keys."""
        return parse(f'[identity]\nkeys = "{self.folder / "keys"}"\n{BASE}{text}', "p.toml")

    def record(self, text: str, shots: list[Shot]) -> list[Event]:
        """Send `shots` under a policy."""
        return record(self.policy(text), shots, self.log)

    def backtest(self, text: str, *more: str) -> int:
        """Run the command against another policy."""
        path = self.folder / "new.toml"
        path.write_text(BASE + text)
        return main(["policy", "backtest", str(self.log), "--policy", str(path), *more])


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A fresh one."""
    return Site(tmp_path)


def shots(key: str, count: int, gap_s: float = 1.0, texts: int = 1, wall_s: float = 0.1) -> list[Shot]:
    """`count` alike, `gap_s` apart."""
    return [
        Shot(gap_s * number, key, "192.0.2.1", (f"{number} some words",) * texts, OutcomeKind.COMPLETED, wall_s)
        for number in range(1, count + 1)
    ]


def found_json(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What was printed."""
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


TIGHT = "[tenants.alice]\nrequests_per_minute = 3\n"


def test_gained_and_lost_are_counted_per_tenant_when_the_policy_is_another(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    """Alice had three requests a minute and gets six; bob had no such limit and gets two."""
    site.record(TIGHT, shots(site.alice, 8) + shots(site.bob, 8, 1.01))
    assert (
        site.backtest("[tenants.alice]\nrequests_per_minute = 6\n[tenants.bob]\nrequests_per_minute = 2\n", "--json")
        == 0
    )
    alice, bob = found_json(capsys)["rows"]
    assert (alice["tenant"], alice["class"], bob["tenant"]) == ("key:alice", "short", "key:bob")
    assert (alice["was"]["admitted"], alice["was"]["refused"]) == (3, {"over_quota": 5})
    assert (alice["would"]["admitted"], alice["would"]["refused"]) == (6, {"over_quota": 2})
    assert (alice["gained"], alice["lost"]) == (3, 0)
    assert (bob["was"]["admitted"], bob["would"]["admitted"], bob["lost"]) == (8, 2, 6)
    assert alice["was"]["spent_s"] == pytest.approx(0.3, abs=1e-4)
    assert bob["would"]["spent_s"] == pytest.approx(0.2, abs=1e-4)


def test_a_change_of_any_limit_is_seen_when_features_are_recorded(site: Site) -> None:
    """Bytes, inputs, price, open requests, queue: each refuses what it would have refused."""
    site.record("", shots(site.alice, 6, 0.01, texts=4, wall_s=5.0))
    recording = read([site.log])
    for text, reason, count in (
        ("", None, 6),
        ("[edge]\nmax_body_bytes = 1024\n", None, 6),
        ("[text]\nmax_inputs = 3\n", "batch_too_large", 6),
        ("[text]\nmax_text_bytes = 5\n", "out_of_envelope", 6),
        ("[price]\nmax_bytes = 33000000\nfloor_bytes = 2000000\n", "unaffordable", 6),
        ("[edge]\nmax_open_per_caller = 3\n", "over_share", 3),
        ("[admission]\ntenant_queue_s = 0.001\n", "over_share", 3),
        ("[tenants.alice]\nconcurrent_calls = 4\n", "over_quota", 2),
        ("[tenants.alice]\ntokens_per_minute = 2000\n", None, 6),
        ("[tenants.alice]\ntokens_per_minute = 30\n", "beyond_quota", 6),
    ):
        policy = site.policy(text)
        fates = Replay(policy, site_of(policy, recording)).run(recording.requests)
        if reason is None:
            assert {fate.reason for fate in fates} == {None}, text
        else:
            assert sum(fate.reason == reason for fate in fates) == count, (text, [fate.reason for fate in fates])


def test_requests_refused_on_their_heads_are_replayed_as_typical_ones_when_there_is_room(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    """And are said to be guessed."""
    written = site.record(TIGHT, shots(site.alice, 8))
    heads = [event for event in written if isinstance(event, RequestRejected) and event.stage == "glance"]
    assert len(heads) == 5
    assert site.backtest("", "--json") == 0
    found = found_json(capsys)
    assert found["all"]["guessed"] == len(heads)
    assert found["all"]["gained"] == len(heads)
    assert f"replayed as typical requests of their tenants: {len(heads)}" in " ".join(found["notes"])


def test_what_no_policy_decides_is_refused_again_when_it_is_replayed(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong key, a wrong body."""
    wrong = shots("wg-nobody", 3)
    empty = [Shot(1.0, site.alice, "192.0.2.1", (), OutcomeKind.COMPLETED, 0.1)]
    site.record("", wrong + empty + shots(site.alice, 2))
    assert site.backtest("", "--json") == 0
    found = found_json(capsys)
    assert found["all"]["was"] == found["all"]["would"]
    assert found["all"]["would"]["refused"] == {"out_of_envelope": 1, "unauthenticated": 3}
    assert "3 unauthenticated, 1 out_of_envelope" in " ".join(found["notes"])


def test_a_table_is_printed_when_nothing_else_is_asked_for(
    site: Site, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what changed as `was -> would`, and notes on stderr."""
    monkeypatch.setenv("COLUMNS", "200")
    site.record(TIGHT, shots(site.alice, 5))
    assert site.backtest("[tenants.alice]\nrequests_per_minute = 4\n", "--by-size") == 0
    printed = capsys.readouterr()
    assert "3 -> 4" in printed.out
    assert "over_quota 2 -> 1" in " ".join(printed.out.split())
    assert "5 requests in 4 s" in printed.err


def test_zeros_mean_what_they_meant_where_the_log_was_written(site: Site) -> None:
    """Not what they mean on the machine that replays it; what the new policy says itself goes first."""
    written = site.record("", shots(site.alice, 1))
    (there,) = [event for event in written if isinstance(event, PolicyInForce)]
    recording = read([site.log])
    bare = site_of(Policy(), recording)
    assert (bare.capacity, bare.memory_bytes, bare.slots, bare.long_slots) == (2.0, 4 << 30, 2, 1)
    assert (bare.dearest_s, bare.median_s, bare.tenants) == (there.dearest_s, there.median_s, 2)
    chosen = site_of(parse("[workers]\nslots = 5\n[quota]\ncapacity = 3\n", "p.toml"), recording)
    assert (chosen.capacity, chosen.slots, chosen.long_slots) == (3.0, 5, 4)


def test_the_machine_is_guessed_when_the_log_does_not_say(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """And that is said, like everything else that is missing."""
    written = site.record("", shots(site.alice, 4))
    settled = [event for event in written if isinstance(event, CallSettled)]
    old = msgspec.structs.replace(settled[0], request_id="req-old", asked=None)
    lines: list[Event] = [*settled, old, AuditDropped(at=1.0, count=7)]
    site.log.write_bytes(b"\n".join(map(msgspec.json.encode, lines)) + b"\n")
    assert site.backtest("", "--json") == 0
    found = found_json(capsys)
    assert found["all"]["would"]["admitted"] == 4
    notes = " ".join(found["notes"])
    assert "does not say which machine" in notes
    assert "log lost: 7" in notes
    assert "did not record their prices: 1" in notes


def test_error_names_file_and_line_when_a_log_is_wrong(site: Site) -> None:
    """But for a last line that is still being written."""
    site.record("", shots(site.alice, 2))
    good = site.log.read_bytes()
    site.log.write_bytes(good + b'{"type":"CallSett')
    assert len(read([site.log]).requests) == 2
    site.log.write_bytes(good + b'{"type":"CallSett\n')
    last = len(good.splitlines()) + 1
    with pytest.raises(ConfigError, match=rf"audit.jsonl:{last}: not a line of an audit log"):
        read([site.log])
    site.log.write_bytes(good)
    with pytest.raises(ConfigError, match="twice"):
        read([site.log, site.log])
    with pytest.raises(ConfigError, match="can't be read"):
        read([site.folder / "absent"])


def test_nothing_is_replayed_when_the_log_is_empty(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """No error."""
    site.log.write_bytes(b"")
    assert site.backtest("", "--json") == 0
    assert found_json(capsys)["rows"] == []


def test_rotated_parts_are_one_log_when_they_are_given_in_any_order(site: Site, tmp_path: Path) -> None:
    """Requests are put in order of time."""
    site.record("", shots(site.alice, 6))
    lines = site.log.read_bytes().splitlines(keepends=True)
    newer, older = tmp_path / "a", tmp_path / "a.1"
    older.write_bytes(b"".join(lines[:4]))
    newer.write_bytes(b"".join(lines[4:]))
    assert read([newer, older]).requests == read([site.log]).requests


def test_every_request_is_counted_once_on_either_side_when_it_is_compared(site: Site) -> None:
    """Rows add up to the last one."""
    site.record(TIGHT, shots(site.alice, 5) + shots(site.bob, 3, 1.1, texts=60))
    recording, policy = read([site.log]), site.policy("")
    rows, everything = compare(Replay(policy, site_of(policy, recording)).run(recording.requests))
    for side in ("was", "would"):
        total = sum(getattr(row, side).admitted + getattr(row, side).refused.total() for row in rows)
        assert total == len(recording.requests)
        whole: Side = getattr(everything, side)
        assert whole.admitted + whole.refused.total() == total


@pytest.mark.parametrize(("count", "expected"), [(0, 0.0), (1, 1.0), (20, 19.0), (100, 95.0), (101, 96.0)])
def test_waits_are_the_nearest_rank_when_they_are_summed_up(count: int, expected: float) -> None:
    """The 95th percentile of 1 to count."""
    side = Side()
    for number in range(count, 0, -1):
        side.count(None, float(number), 0.0)
    assert side.waited_s == expected
