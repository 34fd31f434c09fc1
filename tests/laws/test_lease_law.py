"""Laws 1 and 2 for the whole quota: reservations are exactly those of live leases, and no level is overspent."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from wickguard.control.bucket import Limit
from wickguard.control.ladder import Currency, Level, Scope
from wickguard.control.lease import Demand, Lease, SettlementStatus, Shortfall, Usage
from wickguard.control.quota import Quota
from wickguard.control.roll import RollSettings

ALL = Level(Scope.GLOBAL, "all", Limit(2.0, 12.0))
POOL = Level(Scope.POOL, "pool:anonymous", Limit(1.0, 8.0))
CALLS = Level(Scope.TENANT, "ada#calls", Limit(0.0, 3.0), Currency.CALLS)
ADA = Level(Scope.TENANT, "ada", Limit(1.0, 6.0))
KEY = Level(Scope.KEY, "ada/k1", Limit(0.5, 5.0))
ADDRESSES = [Level(Scope.TENANT, f"ip:{number}", Limit(0.25, 4.0), credit=1.0) for number in range(4)]
NETWORK = Level(Scope.NETWORK, "net:0", Limit(0.5, 6.0), credit=2.0)
PATHS = [(ALL, ADA, CALLS, KEY), *((ALL, POOL, address, NETWORK) for address in ADDRESSES)]
KNOWN = (ALL, POOL, ADA, KEY, CALLS)
PRICES = st.floats(0.0, 6.0)


class Leases(RuleBasedStateMachine):
    """Any order of reserving, settling, settling again, cancelling, killing, refusing, waiting and expiring."""

    def __init__(self) -> None:
        super().__init__()
        # Three exact accounts for five made-up names, so that some are strangers and some are forgotten.
        self.quota = Quota(b"seed", roll=RollSettings(capacity=3, idle_s=4.0, half_life_s=10.0))
        self.now = 0.0
        self.live: dict[str, Lease] = {}
        self.over: list[str] = []
        self.number = 0
        self.spent: dict[str, list[tuple[float, float]]] = {}
        self.overshoot = 0.0

    @rule(path=st.sampled_from(PATHS), price=PRICES, lasts=st.floats(0.5, 20.0))
    def reserve(self, path: tuple[Level, ...], price: float, lasts: float) -> None:
        """All levels or none; a quote just before says the same."""
        self.expire()
        self.number += 1
        before = [self.quota.reserved(self.now, level) for level in KNOWN]
        would = self.quota.would(self.now, path, Demand(price))
        taken = self.quota.reserve(self.now, str(self.number), path, Demand(price), self.now + lasts)
        if isinstance(taken, Shortfall):
            assert would is not None
            assert taken.wait_s > 0
            assert [self.quota.reserved(self.now, level) for level in KNOWN] == before
            own = [level for level in path if level.scope in (Scope.TENANT, Scope.KEY) and level is not CALLS]
            self.note((own[-1],), self.quota.charge_refusal(self.now, path))
        else:
            assert would is None
            self.live[taken.id] = taken

    @rule(path=st.sampled_from(PATHS), times=st.floats(0.0, 500.0))
    def handle(self, path: tuple[Level, ...], times: float) -> None:
        """The front did something for a caller that was not priced."""
        self.expire()
        own = [level for level in path if level.scope in (Scope.TENANT, Scope.KEY) and level is not CALLS]
        self.note((own[-1],), self.quota.charge_handling(self.now, path, times))

    @precondition(lambda self: self.live)
    @rule(data=st.data(), ratio=st.floats(0.0, 1.5), killed=st.none() | st.floats(0.0, 0.5))
    def settle(self, data: st.DataObject, ratio: float, killed: float | None) -> None:
        """A call ends, below or above what it reserved."""
        self.expire()
        if not self.live:
            return
        lease = self.live.pop(data.draw(st.sampled_from(sorted(self.live))))
        done = self.quota.settle(self.now, lease.id, Usage(lease.price_s * ratio, killed_s=killed))
        assert done.status is SettlementStatus.SETTLED
        self.overshoot += max(0.0, done.charged_s - lease.price_s)
        self.note(tuple(hold.level for hold in lease.holds), done.charged_s)
        self.over.append(lease.id)

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        """A call leaves before it ran."""
        self.expire()
        if self.live:
            lease = self.live.pop(data.draw(st.sampled_from(sorted(self.live))))
            assert self.quota.cancel(self.now, lease.id).charged_s == 0.0
            self.over.append(lease.id)

    @precondition(lambda self: self.over)
    @rule(data=st.data())
    def settle_again(self, data: st.DataObject) -> None:
        """What is over stays over, and says so."""
        before = [self.quota.available(self.now, level) for level in KNOWN]
        again = self.quota.settle(self.now, data.draw(st.sampled_from(self.over)), Usage(5.0, killed_s=1.0))
        assert again.status is SettlementStatus.NOT_HELD
        if not self.expire():
            assert [self.quota.available(self.now, level) for level in KNOWN] == before

    @rule(wait=st.floats(0.0, 15.0))
    def wait(self, wait: float) -> None:
        """Time passes; nobody looks."""
        self.now += wait

    @rule()
    def look(self) -> None:
        """Somebody looks for expired leases."""
        self.expire()
        assert self.quota.expire(self.now) == ()

    def expire(self) -> bool:
        """End in the model what is over."""
        self.quota.expire(self.now)
        ended = [lease for lease in self.live.values() if lease.expires_at <= self.now]
        for lease in sorted(ended, key=lambda lease: lease.expires_at):
            del self.live[lease.id]
            self.over.append(lease.id)
            self.note(tuple(hold.level for hold in lease.holds), lease.price_s, at=lease.expires_at)
        return bool(ended)

    def note(self, levels: tuple[Level, ...], charged: float, *, at: float | None = None) -> None:
        """Remember what was charged where, and when."""
        for level in levels:
            if level.currency is Currency.COMPUTE_S:
                self.spent.setdefault(level.name, []).append((self.now if at is None else at, charged))

    @invariant()
    def reserved_is_what_live_leases_hold(self) -> None:
        """Exactly, not approximately, at every level that is never forgotten."""
        self.expire()
        for level in KNOWN:
            held = sum(hold.amount for lease in self.live.values() for hold in lease.holds if hold.level is level)
            assert self.quota.reserved(self.now, level) == held
        assert len(self.quota) == len(self.live)
        assert len(self.quota.roll) <= 3

    def teardown(self) -> None:
        """Law 2 for every level and every window, with the overshoots of all calls as allowance."""
        for level in (*KNOWN, *ADDRESSES, NETWORK):
            history = self.spent.get(level.name, [])
            for first, (begin, _) in enumerate(history):
                total = 0.0
                for at, charged in history[first:]:
                    total += charged
                    line = level.limit.depth + level.limit.rate * (at - begin) + self.overshoot
                    assert total <= line + 1e-9, (level.name, begin, at)


TestLeases = Leases.TestCase
TestLeases.settings = settings(max_examples=60, stateful_step_count=40, deadline=None, database=None)
