"""Plots: one measured curve as an SVG, drawn here so that a report needs nothing from anywhere.

Decides the layout of a chart: both axes logarithmic, points with their spread, the benign twin beside them, the fitted
curve, limits and cliffs as vertical lines. Promises markup that takes its colours from the page's style and holds nothing
that was not escaped. It must not know where the numbers come from.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from wickguard.probe.events import Point
from wickguard.probe.fit import Family, Fit

WIDTH, HEIGHT = 400, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 16, 14, 44
_CURVE_STEPS = 60
# Room for what lies at the edge, as a factor of the value.
_MARGIN = 1.25

Say = Callable[[float], str]


@dataclass(frozen=True, slots=True)
class Chart:
    """What is drawn. say_x, say_y: how a value is written at an axis. limit: a vertical line, None for none.

    binary: the values are bytes, whose round numbers are powers of two.
    """

    points: Sequence[Point]
    twin: Sequence[Point]
    fit: Fit
    x_label: str
    y_label: str
    say_x: Say
    say_y: Say
    limit: float | None = None
    binary: bool = False


class _Scale:
    """A logarithmic axis from `low` to `high`, onto pixels from `start` to `end`."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        low, high = min(values) / _MARGIN, max(values) * _MARGIN
        if high / low < 4:
            low, high = low / 2, high * 2
        self.low, self.high = low, high
        self._start, self._end = start, end

    def __call__(self, value: float) -> float:
        share = math.log(min(max(value, self.low), self.high) / self.low) / math.log(self.high / self.low)
        return round(self._start + share * (self._end - self._start), 1)

    def ticks(self, most: int, binary: bool = False) -> list[float]:
        """Round values inside, at most `most`: powers of ten, with twos and fives where there is room, or of two."""
        if binary:
            powers = range(math.ceil(math.log2(self.low)), math.floor(math.log2(self.high)) + 1)
            return [2.0**power for power in powers][:: max(1, -(-len(powers) // most))]
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        for steps in ((1, 2, 5), (1, 3), (1,)):
            found = [step * 10.0**power for power in range(first, last + 1) for step in steps]
            inside = [value for value in found if self.low <= value <= self.high]
            if len(inside) <= most:
                return inside
        return inside[:: -(-len(inside) // most)]


def draw(chart: Chart) -> str:
    """The chart as an <svg> element. At least one point with positive size and value is needed."""
    points = [point for point in chart.points if point.size > 0 and point.value > 0]
    twin = [point for point in chart.twin if point.size > 0 and point.value > 0]
    sizes = [point.size for point in (*points, *twin)] + ([chart.limit] if chart.limit else [])
    values = [value for point in (*points, *twin) for value in (point.value, point.low, point.high) if value > 0]
    x, y = _Scale(sizes, _LEFT, WIDTH - _RIGHT), _Scale(values, HEIGHT - _BOTTOM, _TOP)
    parts = [
        *_axes(chart, x, y),
        *_verticals(chart, x),
        _fitted(chart.fit, points, x, y),
        *(_mark(point, x, y, "twin", chart) for point in twin),
        *(_mark(point, x, y, "attack", chart) for point in points),
    ]
    label = escape(f"{chart.y_label} against {chart.x_label}, both logarithmic; {chart.fit.describe()}")
    return f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def _axes(chart: Chart, x: _Scale, y: _Scale) -> list[str]:
    right, bottom = WIDTH - _RIGHT, HEIGHT - _BOTTOM
    found = []
    for value in y.ticks(6, chart.binary):
        at = y(value)
        found.append(f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{at}" y2="{at}"/>')
        found.append(
            f'<text class="tick" x="{_LEFT - 6}" y="{at + 4}" text-anchor="end">{_say(chart.say_y, value)}</text>'
        )
    for value in x.ticks(6):
        at = x(value)
        found.append(f'<line class="grid" x1="{at}" x2="{at}" y1="{_TOP}" y2="{bottom}"/>')
        found.append(
            f'<text class="tick" x="{at}" y="{bottom + 14}" text-anchor="middle">{_say(chart.say_x, value)}</text>'
        )
    middle = (_LEFT + right) / 2
    found.append(f'<line class="axis" x1="{_LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"/>')
    found.append(
        f'<text class="label" x="{middle}" y="{HEIGHT - 8}" text-anchor="middle">{escape(chart.x_label)}</text>'
    )
    return found


def _verticals(chart: Chart, x: _Scale) -> list[str]:
    lines = []
    if chart.limit:
        lines.append((chart.limit, "limit", f"limit {chart.say_x(chart.limit)}"))
    if chart.fit.family is Family.CLIFF and chart.fit.cliff_at is not None:
        lines.append((chart.fit.cliff_at, "cliff", f"cliff, \u00d7{chart.fit.jump:.1f}"))
    found = []
    for value, kind, text in lines:
        at = x(value)
        side = "end" if at > WIDTH * 0.6 else "start"
        found.append(f'<line class="{kind}" x1="{at}" x2="{at}" y1="{_TOP}" y2="{HEIGHT - _BOTTOM}"/>')
        shift = -5 if side == "end" else 5
        found.append(
            f'<text class="{kind}" x="{at + shift}" y="{_TOP + 10}" text-anchor="{side}">{escape(text)}</text>'
        )
    return found


def _fitted(fit: Fit, points: Sequence[Point], x: _Scale, y: _Scale) -> str:
    if not points:
        return ""
    first, last = min(point.size for point in points), max(point.size for point in points)
    sizes = [first * (last / first) ** (step / _CURVE_STEPS) for step in range(_CURVE_STEPS + 1)]
    costs = [(size, fit.predict(size)) for size in sizes]
    drawn = " ".join(f"{x(size)},{y(cost)}" for size, cost in costs if y.low <= cost <= y.high)
    return f'<polyline class="fit" points="{drawn}"/>'


def _mark(point: Point, x: _Scale, y: _Scale, kind: str, chart: Chart) -> str:
    at, high, low = x(point.size), y(max(point.high, point.value)), y(max(point.low, y.low))
    said = escape(f"{chart.say_y(point.value)} at {chart.say_x(point.size)}")
    bar = f'<line class="{kind} bar" x1="{at}" x2="{at}" y1="{high}" y2="{low}"/>' if low - high > 2 else ""
    return f'<g><title>{said}</title>{bar}<circle class="{kind}" cx="{at}" cy="{y(point.value)}" r="3.2"/></g>'


def _say(say: Say, value: float) -> str:
    return escape(say(value))
