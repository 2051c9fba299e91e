"""Curves and bars as SVG text that fits any width without a script: shapes are stretched, words are not. Pure.

No attribute ``style`` anywhere: the page's policy forbids it. Colours are the classes ``s0``, ``s1``, ... of the page's style sheet, and
``c-red`` and the like.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from html import escape

from markupsafe import Markup

#: Colours there are.
COLOURS = 8
_HEIGHT, _PLOT, _TOP = 190, 150, 14
_WIDE = 1000
_TICKS = 4


@dataclass(frozen=True)
class NamedSeries:
    """A named curve; ``points``: time, value, in the order of time. No value: there was none. ``colour``: by name; empty: by its place."""

    name: str
    points: tuple[tuple[datetime, float | None], ...]
    colour: str = ""

    def style(self, place: int) -> str:
        """Class of the page's style sheet: its own colour, or that of the place."""
        return f"c-{self.colour}" if self.colour else f"s{place % COLOURS}"


@dataclass(frozen=True)
class Axes:
    """Where points go: the range of time, the width of a point, and the end of the upright axis that begins at 0."""

    start: datetime
    end: datetime
    step: timedelta
    top: float

    def x(self, moment: datetime) -> float:
        """Thousandths of the width; within the picture."""
        share = (moment - self.start).total_seconds() / ((self.end - self.start).total_seconds() or 1.0)
        return min(1.0, max(0.0, share)) * _WIDE

    def y(self, value: float) -> float:
        """Hundredths of the height, from above."""
        return 100 - value / self.top * 100


def picture(
    series: Sequence[NamedSeries], axes: Axes, label: str, spell: Callable[[float], str], *, columns: bool, stacked: bool
) -> Markup:
    """NamedSeries over time.

    Parameters
    ----------
    series
        What is drawn; the first :data:`COLOURS` have a colour each.
    axes
        See there; :func:`top_of` gives the end of the upright one.
    label
        What the picture shows, for those who do not see it.
    spell
        A value as people read it.
    columns, stacked
        Columns instead of curves; each series on those before it.
    """
    shapes = _columns(series, axes, stacked) if columns else _curves(series, axes, stacked)
    plot = (
        f'<svg class="plot" y="{_TOP}" width="100%" height="{_PLOT}" viewBox="0 0 {_WIDE} 100" preserveAspectRatio="none">'
        f'{shapes}<line class="cursor" x1="0" x2="0" y1="0" y2="100" visibility="hidden"/></svg>'
    )
    return Markup(
        f'<svg class="chart" width="100%" height="{_HEIGHT}" role="img" aria-label="{escape(label, quote=True)}" '
        f'data-from="{axes.start.timestamp() * 1000:.0f}" data-to="{axes.end.timestamp() * 1000:.0f}">'
        f"{_levels(axes.top, spell)}{_times(axes.start, axes.end)}{plot}</svg>"
    )


def top_of(series: Sequence[NamedSeries], stacked: bool) -> float:
    """The end of an axis that holds all points."""
    sums: dict[datetime, float] = {}
    for one in series:
        for moment, value in one.points:
            if value is not None and math.isfinite(value):
                sums[moment] = sums.get(moment, 0.0) + value if stacked else max(sums.get(moment, 0.0), value)
    return nice_top(max(sums.values(), default=0.0))


def _curves(series: Sequence[NamedSeries], axes: Axes, stacked: bool) -> str:
    shapes, base = [], dict[datetime, float]()
    for number, one in enumerate(series):
        for piece in _pieces(one.points, axes):
            lower = [(moment, base.get(moment, 0.0)) for moment, _ in piece] if stacked else []
            upper = [(moment, value + base.get(moment, 0.0)) for moment, value in piece] if stacked else piece
            path = _path([(axes.x(moment), axes.y(value)) for moment, value in upper])
            if len(piece) > 1 and (stacked or len(series) == 1):
                ground = [(axes.x(moment), axes.y(value)) for moment, value in lower[::-1]]
                ground = ground or [(axes.x(piece[-1][0]), 100.0), (axes.x(piece[0][0]), 100.0)]
                shapes.append(f'<path class="area {one.style(number)}" d="{path}L{_path(ground)[1:]}Z"/>')
            shapes.append(f'<path class="line {one.style(number)}" d="{path}"/>')
            base.update(dict(upper) if stacked else {})
    return "".join(shapes)


def _columns(series: Sequence[NamedSeries], axes: Axes, stacked: bool) -> str:
    shapes, base = [], dict[datetime, float]()
    for number, one in enumerate(series):
        path = []
        for moment, value in one.points:
            if value is None or not math.isfinite(value) or value <= 0 or moment >= axes.end or moment + axes.step <= axes.start:
                continue
            left, right = axes.x(moment), axes.x(moment + axes.step)
            if not stacked:  # beside each other
                left, right = left + (right - left) * number / len(series), left + (right - left) * (number + 1) / len(series)
            gap = min(1.0, (right - left) * 0.12)
            low = base.get(moment, 0.0) if stacked else 0.0
            path.append(f"M{left:.2f} {axes.y(low):.2f}V{axes.y(low + value):.2f}H{right - gap:.2f}V{axes.y(low):.2f}Z")
            base[moment] = low + value
        shapes.append(f'<path class="column {one.style(number)}" d="{"".join(path)}"/>' if path else "")
    return "".join(shapes)


def bar(share: float, colour: str = "") -> Markup:
    """A bar as wide as ``share`` (0 to 1) of its place, of a named colour."""
    wide = min(100.0, max(0.5, 100 * share))
    return Markup(
        '<svg class="bar" width="100%" height="10" aria-hidden="true"><rect class="ground" width="100%" height="10" rx="2"/>'
        f'<rect class="{NamedSeries("", (), colour).style(0)}" width="{wide:.1f}%" height="10" rx="2"/></svg>'
    )


def nice_top(value: float) -> float:
    """The end of an axis from 0 that holds ``value``: a fourth of it is 1, 2, 2.5 or 5 times a power of ten."""
    raw = value / _TICKS
    if not sys.float_info.min <= raw < math.inf:  # nothing, no number, or so little that powers of ten come to nothing
        return 1.0 * _TICKS
    power = 10.0 ** math.floor(math.log10(raw))
    return float(next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999999) * _TICKS)


def _levels(top: float, spell: Callable[[float], str]) -> str:
    parts = []
    for tick in range(_TICKS + 1):
        y = _TOP + _PLOT - _PLOT * tick / _TICKS
        parts.append(f'<line class="grid" x1="0" x2="100%" y1="{y:.1f}" y2="{y:.1f}"/>')
        if tick:
            parts.append(f'<text class="tick" x="2" y="{y - 3:.1f}">{escape(spell(top * tick / _TICKS))}</text>')
    return "".join(parts)


def _times(start: datetime, end: datetime) -> str:
    """Words under the axis, at round times; every second one is left out where there is little room."""
    seconds = (end - start).total_seconds() or 1.0
    steps = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800, 2_592_000)
    step = next((step for step in steps if seconds / step <= 7), math.ceil(seconds / 6))
    form = "%H:%M:%S" if step < 60 else "%H:%M" if seconds <= 90_000 else "%b %d %H:%M" if step < 86_400 else "%b %d"
    first = math.ceil(start.timestamp() / step) * step
    parts = []
    for number, at in enumerate(range(int(first), int(end.timestamp()) + 1, int(step))):
        share = (at - start.timestamp()) / seconds
        anchor = "start" if share < 0.05 else "end" if share > 0.95 else "middle"
        text = datetime.fromtimestamp(at, UTC).strftime(form)
        kind = "tick spare" if number % 2 else "tick"
        parts.append(f'<text class="{kind}" text-anchor="{anchor}" x="{100 * share:.2f}%" y="{_HEIGHT - 8}">{text}</text>')
    return "".join(parts)


def _pieces(points: Sequence[tuple[datetime, float | None]], axes: Axes) -> list[list[tuple[datetime, float]]]:
    """What is drawn in one stroke: points no further apart than two steps."""
    pieces: list[list[tuple[datetime, float]]] = []
    before: datetime | None = None
    for moment, value in points:
        if value is None or not math.isfinite(value) or moment > axes.end:
            before = None
            continue
        if before is None or moment - before > 2 * axes.step:
            pieces.append([])
        pieces[-1].append((moment, value))
        before = moment
    return pieces


def _path(points: Sequence[tuple[float, float]]) -> str:
    if len(points) == 1:  # a round end makes a dot of it
        ((x, y),) = points
        return f"M{x:.1f} {y:.2f}l0.01 0"
    return "M" + "L".join(f"{x:.1f} {y:.2f}" for x, y in points)
