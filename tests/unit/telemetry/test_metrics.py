"""Metrics and fanout: what is counted, and that no caller can make a label."""

from __future__ import annotations

import re

from wickguard.records import Lane, OutcomeKind
from wickguard.rejection import Reason
from wickguard.telemetry import events
from wickguard.telemetry.events import Event
from wickguard.telemetry.fanout import Fanout
from wickguard.telemetry.metrics import Metrics

IDS = ("req-77", "key:mallory", "kid-88", "a detail")


def settled(outcome: OutcomeKind = OutcomeKind.COMPLETED) -> events.CallSettled:
    """A settled call of mallory."""
    return events.CallSettled(
        at=1.0, request_id="req-77", route="/v1/embeddings", tenant="key:mallory", pool="keyed", key_id="kid-88", model="m",
        lane=Lane.SHORT, features={"inputs": 1}, quoted_cpu_s=0.5, quoted_bytes=1, granted_cpu_s=1.0, granted_wall_s=1.0,
        granted_bytes=1, queued_s=0.1, cpu_s=0.25, wall_s=0.25, peak_bytes=1 << 20, outcome=outcome, charged_s=0.25,
        worker=1, status=200, reason=None, elapsed_s=0.3,
    )  # fmt: skip


def every_event() -> list[Event]:
    """One of each kind that the path emits."""
    refused = events.RequestRejected(
        at=1.0, request_id="req-77", route="/embed", tenant="key:mallory", pool="keyed", reason=Reason.MALFORMED,
        status=400, stage="decode", detail="a detail", body_bytes=1, elapsed_s=0.1,
    )  # fmt: skip
    admitted = events.CallAdmitted(
        at=1.0, request_id="req-77", tenant="key:mallory", model="m", lane=Lane.LONG, queued_s=0.5
    )
    return [
        settled(), refused, admitted, events.RequestReceived(at=1.0, route="/embed"),
        events.WorkerStarted(at=1.0, model="m", lane="short", worker=4711),
        events.WorkerEnded(at=1.0, model="m", lane="short", worker=4711, how="killed", cpu_s=1.0),
        events.SupervisionLost(at=1.0, what="zygote", model="m"), events.AuditDropped(at=1.0, count=3),
    ]  # fmt: skip


def samples(metrics: Metrics) -> dict[str, float]:
    """Sample -> value of a page."""
    page = metrics.render().decode()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in page.splitlines() if line[0] != "#"}


def test_every_event_is_counted_when_it_is_heard() -> None:
    """Requests, outcomes, time, memory, workers, supervision, lost lines."""
    metrics = Metrics()
    for event in every_event():
        metrics(event)
    found = samples(metrics)
    assert found['wickguard_requests_total{reason="none",route="/v1/embeddings",status="200"}'] == 1
    assert found['wickguard_requests_total{reason="malformed",route="/embed",status="400"}'] == 1
    assert found['wickguard_decisions_total{reason="malformed",stage="decode"}'] == 1
    assert found['wickguard_outcomes_total{lane="short",model="m",outcome="completed"}'] == 1
    assert found['wickguard_cpu_seconds_total{model="m",outcome="completed"}'] == 0.25
    assert found['wickguard_estimate_ratio_sum{model="m"}'] == 0.5
    assert found['wickguard_workers_ended_total{how="killed",lane="short",model="m"}'] == 1
    assert found["wickguard_audit_dropped_total"] == 3


def test_no_identity_becomes_a_label_when_events_carry_one() -> None:
    """Labels are memory that callers could make us spend, and pages that others may read."""
    metrics = Metrics()
    for event in every_event():
        metrics(event)
    page = metrics.render().decode()
    assert not any(secret in page for secret in IDS)
    assert set(re.findall(r"[{,](\w+)=", page)) <= {
        "route", "status", "reason", "stage", "model", "lane", "outcome", "how", "what", "mechanism", "le",
    }  # fmt: skip


def test_a_price_is_not_judged_when_the_call_did_not_complete() -> None:
    """A killed call says nothing about what a good one costs."""
    metrics = Metrics()
    metrics(settled(OutcomeKind.EXPIRED_CPU))
    assert 'wickguard_estimate_ratio_count{model="m"}' not in samples(metrics)


def test_gauges_are_read_when_the_page_is() -> None:
    """Never stored: they can't be stale."""
    metrics, value = Metrics(), [1.0]
    metrics.watch({("wickguard_x", "X."): lambda: value[0]})
    assert samples(metrics)["wickguard_x"] == 1.0
    value[0] = 2.0
    assert samples(metrics)["wickguard_x"] == 2.0


def test_the_others_hear_an_event_when_one_listener_fails() -> None:
    """And the failure is counted, not raised into the path."""
    heard: list[Event] = []

    def broken(event: Event) -> None:
        raise RuntimeError("disk")

    fanout = Fanout([broken, heard.append])
    fanout(settled())
    assert (len(heard), fanout.failures) == (1, 1)
