"""The panel: who can open which breaker, and what is forgotten."""

from __future__ import annotations

from wickguard.control.breaker import State, Verdict
from wickguard.control.panel import Panel, Passage, Reach, Stopped, Subject


def subject(tenant: str, feature_class: str = "tokens:9", witness: str | None = None) -> Subject:
    """A call of a tenant with a key, unless said otherwise."""
    return Subject(tenant, "minilm", feature_class, witness or tenant)


def call(panel: Panel, now: float, who: Subject, verdict: Verdict) -> bool:
    """One call that ends at once; whether it was let through."""
    asked = panel.ask(now, who)
    if isinstance(asked, Stopped):
        return False
    panel.report(now, asked, verdict)
    return True


def test_one_tenant_stops_only_itself_when_it_kills_workers() -> None:
    """However many kills: neither the class nor the model closes, and its other classes pass."""
    panel = Panel()
    for number in range(1000):
        call(panel, number * 0.01, subject("mallory"), Verdict.BAD)
    stopped = panel.ask(10.0, subject("mallory"))
    assert isinstance(stopped, Stopped)
    assert stopped.reach is Reach.TENANT
    assert call(panel, 10.0, subject("mallory", "tokens:2"), Verdict.GOOD)
    assert call(panel, 10.0, subject("ada"), Verdict.GOOD)


def test_callers_without_a_key_are_one_witness_when_they_fail_together() -> None:
    """Three hundred addresses can't close a model."""
    panel = Panel()
    for number in range(300):
        assert call(panel, number * 0.01, subject(f"ip:{number}", witness="anonymous"), Verdict.BAD)
    assert call(panel, 3.0, subject("ada"), Verdict.GOOD)


def test_class_stops_for_all_when_three_tenants_fail_and_nothing_goes_well() -> None:
    """The class closes, and with it (every failure is also one of the model) the model."""
    panel = Panel()
    for tenant in ("a", "b", "c", "a", "b"):
        call(panel, 0.0, subject(tenant), Verdict.BAD)
    stopped = panel.ask(1.0, subject("d"))
    assert isinstance(stopped, Stopped)
    assert stopped.reach is Reach.CLASS


def test_model_stays_open_for_other_classes_when_one_class_fails() -> None:
    """While other classes go well, the model's failure ratio is low."""
    panel = Panel()
    for number in range(60):
        call(panel, 0.0, subject(f"good {number}", "tokens:3"), Verdict.GOOD)
    for tenant in ("a", "b", "c", "a", "b"):
        call(panel, 0.0, subject(tenant), Verdict.BAD)
    assert panel.state(Reach.CLASS, subject("d")) is State.OPEN
    assert panel.state(Reach.MODEL, subject("d")) is State.CLOSED
    assert call(panel, 1.0, subject("d", "tokens:3"), Verdict.GOOD)


def test_busy_model_stays_open_when_three_tenants_have_one_poison_each() -> None:
    """Three kills within a minute among a thousand good calls are not the model's fault."""
    panel = Panel()
    for number in range(1000):
        call(panel, 0.0, subject(f"good {number % 50}"), Verdict.GOOD)
    for tenant in ("a", "b", "c"):
        call(panel, 1.0, subject(tenant), Verdict.BAD)
    assert call(panel, 2.0, subject("d"), Verdict.GOOD)


def test_trial_is_given_back_when_another_breaker_stops_the_call() -> None:
    """All or none: the tenant's trial is not lost because the model is closed."""
    panel = Panel()
    for _ in range(3):
        call(panel, 0.0, subject("a"), Verdict.BAD)
    for tenant in ("b", "c", "d", "b", "c"):
        call(panel, 20.0, subject(tenant), Verdict.BAD)
    stopped = panel.ask(31.0, subject("a"))
    assert isinstance(stopped, Stopped)
    assert stopped.reach is Reach.CLASS
    first = panel.ask(51.0, subject("a"))
    assert isinstance(first, Passage)
    assert first.trial
    assert all(given.trial for given in first.passes)


def test_nothing_is_stored_when_tenants_have_no_failures() -> None:
    """Good tenants cost no memory: only the class and the model are counted."""
    panel = Panel()
    for number in range(1000):
        call(panel, 0.0, subject(f"good {number}"), Verdict.GOOD)
    assert len(panel) == 2


def test_open_breakers_are_kept_when_many_others_fail() -> None:
    """Spraying failing identities does not open the gate for the one that is stopped."""
    panel = Panel(capacity=50)
    for _ in range(3):
        call(panel, 0.0, subject("mallory"), Verdict.BAD)
    for number in range(1000):
        call(panel, 0.0, subject(f"ip:{number}", witness="anonymous"), Verdict.BAD)
        assert isinstance(panel.ask(0.0, subject("mallory")), Stopped)
    assert len(panel) <= 50


def test_failure_counts_when_another_breaker_was_forgotten_for_it() -> None:
    """Also at capacity, three kills open the breaker."""
    panel = Panel(capacity=20)
    for number in range(200):
        call(panel, 0.0, subject(f"ip:{number}", witness="anonymous"), Verdict.BAD)
    assert [call(panel, 1.0, subject("mallory"), Verdict.BAD) for _ in range(4)] == [True, True, True, False]


def test_late_failure_changes_nothing_when_its_breaker_was_forgotten() -> None:
    """A call that passed before a breaker opened does not count for its successor."""
    panel = Panel(capacity=30)
    late = [panel.ask(0.0, subject("a", "late")) for _ in range(3)]
    for _ in range(3):
        call(panel, 0.0, subject("a", "late"), Verdict.BAD)
    assert panel.state(Reach.TENANT, subject("a", "late")) is State.OPEN
    for number in range(100):
        for _ in range(3):
            call(panel, 1.0, subject(f"other {number}", "late", witness="anonymous"), Verdict.BAD)
    assert panel.state(Reach.TENANT, subject("a", "late")) is State.CLOSED
    for passage in late:
        assert isinstance(passage, Passage)
        panel.report(2.0, passage, Verdict.BAD)
    assert panel.state(Reach.TENANT, subject("a", "late")) is State.CLOSED
