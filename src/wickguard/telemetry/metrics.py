"""Metrics: every Prometheus metric of the server, named in this one file.

Decides names, labels and buckets. Promises closed label sets: no tenant, key, path or id ever becomes a label, because
labels are memory that callers could make us spend. Base units are in the names. It must not know where events come from.
"""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from wickguard.telemetry import events

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_BYTES = tuple(float(2**power) for power in range(16, 33, 2))
_RATIOS = (0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.85, 1, 1.2, 1.5, 2, 3, 5)

# What a scrape may ask of the running server: (name, help) -> value now.
Gauges = dict[tuple[str, str], Callable[[], float]]


class _Live(Collector):
    def __init__(self, gauges: Gauges) -> None:
        self._gauges = gauges

    def collect(self) -> list[GaugeMetricFamily]:
        return [GaugeMetricFamily(name, text, value=read()) for (name, text), read in self._gauges.items()]


class Metrics:
    """A listener that counts. One registry per server, so that tests and servers in one process don't mix."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        registry = self._registry
        self.requests = Counter(
            "wickguard_requests_total", "Requests answered.", ["route", "status", "reason"], registry=registry
        )
        self.decisions = Counter(
            "wickguard_decisions_total", "Requests refused, by stage.", ["stage", "reason"], registry=registry
        )
        self.outcomes = Counter(
            "wickguard_outcomes_total",
            "Executions, by how they ended.",
            ["model", "lane", "outcome"],
            registry=registry,
        )
        self.latency = Histogram(
            "wickguard_request_duration_seconds",
            "Arrival to settlement.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.queued = Histogram(
            "wickguard_queue_duration_seconds", "Waiting for a slot.", ["lane"], buckets=_SECONDS, registry=registry
        )
        self.cpu = Histogram(
            "wickguard_call_cpu_seconds", "CPU time of one call.", ["model"], buckets=_SECONDS, registry=registry
        )
        self.peak = Histogram(
            "wickguard_call_peak_bytes", "Peak memory of one call.", ["model"], buckets=_BYTES, registry=registry
        )
        self.estimate = Histogram(
            "wickguard_estimate_ratio", "CPU used over CPU expected.", ["model"], buckets=_RATIOS, registry=registry
        )
        self.spent = Counter(
            "wickguard_cpu_seconds_total", "CPU time by outcome.", ["model", "outcome"], registry=registry
        )
        self._watch_processes(registry)

    def _watch_processes(self, registry: CollectorRegistry) -> None:
        self.workers_started = Counter(
            "wickguard_workers_started_total", "Worker processes forked.", ["model", "lane"], registry=registry
        )
        self.workers_ended = Counter(
            "wickguard_workers_ended_total", "Worker processes reaped.", ["model", "lane", "how"], registry=registry
        )
        self.supervision = Counter(
            "wickguard_supervision_lost_total", "Zygotes and arbiters replaced.", ["what"], registry=registry
        )
        self.drifts = Counter(
            "wickguard_price_drifts_total", "Classes of calls found to cost more than their price.", ["model"],
            registry=registry,
        )  # fmt: skip
        self.reloads = Counter(
            "wickguard_policy_reloads_total", "Policies taken over or refused.", ["result"], registry=registry
        )
        self.swarms = Counter(
            "wickguard_swarms_total", "Alarms that many unknown identities attack together.", registry=registry
        )
        self.audit_dropped = Counter(
            "wickguard_audit_dropped_total", "Audit lines that could not be written.", registry=registry
        )
        self.tier = Gauge(
            "wickguard_confinement", "1 where a mechanism of the cage is active.", ["mechanism"], registry=registry
        )

    def watch(self, gauges: Gauges) -> None:
        """Register values that are read at each scrape."""
        self._registry.register(_Live(gauges))

    def set_tier(self, mechanisms: dict[str, bool]) -> None:
        """Export which confinement mechanisms are active."""
        for name, active in mechanisms.items():
            self.tier.labels(name).set(1 if active else 0)

    def render(self) -> bytes:
        """The page that Prometheus scrapes."""
        return generate_latest(self._registry)

    def __call__(self, event: events.Event) -> None:
        """Count one event."""
        match event:
            case events.RequestRejected():
                self.requests.labels(event.route, str(event.status), event.reason).inc()
                self.decisions.labels(event.stage, event.reason).inc()
            case events.CallSettled():
                self._settled(event)
            case events.CallAdmitted():
                self.queued.labels(event.lane).observe(event.queued_s)
            case _:
                self._of_server(event)

    def _of_server(self, event: events.Event) -> None:
        match event:
            case events.WorkerStarted():
                self.workers_started.labels(event.model, event.lane).inc()
            case events.WorkerEnded():
                self.workers_ended.labels(event.model, event.lane, event.how).inc()
            case events.SupervisionLost():
                self.supervision.labels(event.what).inc()
            case events.PriceDrifted():
                self.drifts.labels(event.model).inc()
            case events.PolicyReloaded():
                self.reloads.labels("refused" if event.refused else "taken over").inc()
            case events.SwarmSeen():
                self.swarms.inc()
            case events.AuditDropped():
                self.audit_dropped.inc(event.count)
            case _:
                pass

    def _settled(self, event: events.CallSettled) -> None:
        self.requests.labels(event.route, str(event.status), event.reason or "none").inc()
        self.outcomes.labels(event.model, event.lane, event.outcome).inc()
        self.latency.labels(event.route).observe(event.elapsed_s)
        self.cpu.labels(event.model).observe(event.cpu_s)
        self.peak.labels(event.model).observe(event.peak_bytes)
        self.spent.labels(event.model, event.outcome).inc(event.cpu_s)
        if event.outcome == "completed" and event.quoted_cpu_s > 0:
            self.estimate.labels(event.model).observe(event.cpu_s / event.quoted_cpu_s)
