"""Law 11: a result of an older breaker generation changes nothing."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from wickguard.control.breaker import Breaker, BreakerSettings, Pass, State, Verdict

SETTINGS = BreakerSettings(witnesses=2, trial_s=20.0, forget_s=300.0)


def snapshot(breaker: Breaker) -> dict[str, str]:
    """All that a breaker knows."""
    return {name: repr(getattr(breaker, name)) for name in Breaker.__slots__}


class LateResults(RuleBasedStateMachine):
    """Calls that pass, wait as long as they like, and report in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = Breaker(SETTINGS)
        self.now = 0.0
        self.flying: list[Pass] = []
        self.opened_at: float | None = None
        self.generation = 0

    @rule(count=st.integers(1, 4))
    def ask(self, count: int) -> None:
        """Open lets nothing through; half-open one trial per trial_s; closed everything."""
        for _ in range(count):
            was_open = self.breaker.state is State.OPEN
            asked = self.breaker.ask(self.now)
            if isinstance(asked, Pass):
                assert asked.trial is (self.breaker.state is State.HALF_OPEN)
                assert not was_open or asked.trial
                assert not any(known.trial and known == asked for known in self.flying)
                self.flying.append(asked)
            else:
                assert 0 < asked <= SETTINGS.most_open_s
                assert self.breaker.state is not State.CLOSED

    @precondition(lambda self: self.flying)
    @rule(data=st.data(), verdict=st.sampled_from(Verdict), witness=st.sampled_from("abc"))
    def report(self, data: st.DataObject, verdict: Verdict, witness: str) -> None:
        """Of an older generation: nothing changes. Of the present one: only now may the state change."""
        passed = self.flying.pop(data.draw(st.integers(0, len(self.flying) - 1)))
        before = snapshot(self.breaker)
        late = passed.generation != self.breaker.generation
        self.breaker.report(self.now, passed, verdict, witness)
        if late:
            assert snapshot(self.breaker) == before

    @rule(wait=st.sampled_from([0.5, 10.0, 25.0, 31.0, 61.0, 130.0, 4000.0]))
    def wait(self, wait: float) -> None:
        """Time passes."""
        self.now += wait

    @invariant()
    def generations_only_grow(self) -> None:
        """And memory stays small."""
        assert self.breaker.generation >= self.generation
        self.generation = self.breaker.generation


TestLateResults = LateResults.TestCase
TestLateResults.settings = settings(max_examples=80, stateful_step_count=60, deadline=None, database=None)


def test_late_failures_do_not_open_again_when_the_breaker_has_closed() -> None:
    """The case that the law is for: a hundred calls that hung since before the trouble all die after it is over."""
    breaker = Breaker(BreakerSettings())
    old = [breaker.ask(0.0) for _ in range(100)]
    for _ in range(3):
        passed = breaker.ask(0.0)
        assert isinstance(passed, Pass)
        breaker.report(0.0, passed, Verdict.BAD, "a")
    for _ in range(3):
        trial = breaker.ask(30.0)
        assert isinstance(trial, Pass)
        breaker.report(30.0, trial, Verdict.GOOD, "a")
    for passed in old:
        assert isinstance(passed, Pass)
        breaker.report(31.0, passed, Verdict.BAD, "a")
    assert breaker.state is State.CLOSED
