"""Non-negative least squares: the coefficients >= 0 whose weighted sum of columns comes nearest to what was measured.

Decides by coordinate descent on the normal equations (Franc, Hlavac & Navara 2005): each step is exact in one coefficient, so
the error never rises, and for a handful of columns it ends in milliseconds. Non-negative coefficients are what makes a price
monotone: no feature can make a call cheaper. Pure; it must not know what the columns mean.
"""

from __future__ import annotations

from collections.abc import Sequence

from wickguard.errors import WickguardError

_SWEEPS = 5_000
_SETTLED = 1e-10


def solve(rows: Sequence[Sequence[float]], targets: Sequence[float], weights: Sequence[float]) -> tuple[float, ...]:
    """Coefficients x >= 0 that minimise sum of weight * (row . x - target)^2 / target^2: the relative error.

    Targets are positive. A column of zeros gets 0. Raises WickguardError when there is nothing to fit.
    """
    if not rows or not any(weights):
        raise WickguardError("a fit needs at least one measurement")
    width = len(rows[0])
    gram = [[0.0] * width for _ in range(width)]
    right = [0.0] * width
    for row, target, weight in zip(rows, targets, weights, strict=True):
        scaled = [value / target for value in row]
        for i, left in enumerate(scaled):
            right[i] += weight * left
            for j in range(i + 1):
                gram[i][j] += weight * left * scaled[j]
    # Columns in units of their own length: seconds, bytes and operations differ by many orders of magnitude.
    length = [gram[i][i] ** 0.5 or 1.0 for i in range(width)]
    right = [value / size for value, size in zip(right, length, strict=True)]
    unit = [
        [(gram[i][j] if j <= i else gram[j][i]) / (length[i] * length[j]) for j in range(width)] for i in range(width)
    ]
    return tuple(value / size for value, size in zip(_descend(unit, right), length, strict=True))


def _descend(gram: list[list[float]], right: list[float]) -> list[float]:
    found = [0.0] * len(right)
    for _ in range(_SWEEPS):
        moved = 0.0
        for i, row in enumerate(gram):
            if row[i] <= 0:
                continue
            slope = right[i] - sum(a * b for a, b in zip(row, found, strict=True))
            new = max(0.0, found[i] + slope / row[i])
            moved = max(moved, abs(new - found[i]))
            found[i] = new
        if moved < _SETTLED:
            break
    return found
