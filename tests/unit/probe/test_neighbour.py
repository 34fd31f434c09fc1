"""Oracles of the neighbour: what counts as another client's trouble, and what is only the caller's own limit."""

from __future__ import annotations

import math

import pytest

from wickguard.probe.canary import Window
from wickguard.probe.cases import CATALOGUE
from wickguard.probe.finding import Oracle
from wickguard.probe.oracles.neighbour import collateral, recovery
from wickguard.probe.oracles.suspicion import Suspicion
from wickguard.probe.series import Series, Storm

CASE = next(case for case in CATALOGUE if Oracle.COLLATERAL in case.oracles)


def window(good: int = 12, failed: int = 0, limited: int = 0, took_s: float = 0.01) -> Window:
    """Canaries that were answered, that failed, and that met the caller's own rate limit."""
    return Window(canary_s=[took_s] * good, canary_failures=failed, canary_limited=limited)


def judged(attack: Window, after: Window, twin: Window | None = None) -> list[Suspicion]:
    """What both oracles suspect, beside a quiet window."""
    series = Series(storm=Storm(64, window(), twin or window(), attack, after))
    return [found for found in (collateral(CASE, series), recovery(CASE, series)) if found is not None]


def test_nobody_is_accused_when_the_caller_itself_had_used_up_its_limit() -> None:
    """Canaries come from the same address and key as the attack: a fair limiter refuses them, too."""
    assert judged(window(2, limited=10), window(0, limited=12)) == []
    assert Series(storm=Storm(64, window(), window(), window(limited=1), window())).storm is not None
    assert Storm(64, window(), window(), window(limited=1), window()).limited
    assert not Storm(64, window(), window(), window(failed=9), window()).limited


@pytest.mark.parametrize(
    ("attack", "twin", "after", "oracles"),
    [
        (window(0, failed=12), window(), window(), [Oracle.COLLATERAL]),
        (window(took_s=0.5), window(), window(), [Oracle.COLLATERAL]),
        (window(), window(), window(6, failed=6), [Oracle.RECOVERY]),
        (window(8, failed=4), window(11, failed=1), window(), [Oracle.COLLATERAL]),
        (window(8, failed=4), window(8, failed=4), window(), []),
        (window(10, failed=2), window(), window(), []),
    ],
    ids=["fails", "slow", "after", "fails far more", "fails as before", "fails twice"],
)
def test_neighbour_suffers_when_it_fares_worse_beside_the_attack_than_beside_its_twin(
    attack: Window, twin: Window, after: Window, oracles: list[Oracle]
) -> None:
    """And what was measured is always a number: a file of events can't hold infinity."""
    found = judged(attack, after, twin)
    assert [suspicion.oracle for suspicion in found] == oracles
    assert all(math.isfinite(suspicion.measured) for suspicion in found)
