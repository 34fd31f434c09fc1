"""Backoff: how long to wait before trying again something that keeps failing at once.

Exponential with full jitter above half, so that several supervisors don't march in step; the first retry is
immediate, because one death is no pattern. Pure: the randomness is an argument. It must not know what is retried.
"""

from __future__ import annotations


def delay_s(failures: int, base_s: float, max_s: float, chance: float) -> float:
    """Seconds to wait after `failures` failures in a row; `chance` is uniform in [0, 1).

    0 after the first failure, then base, 2 base, 4 base ... up to max, each between half and all of it.
    """
    if failures <= 1:
        return 0.0
    ceiling = min(max_s, base_s * 2.0 ** min(failures - 2, 60))
    return ceiling * (0.5 + 0.5 * chance)
