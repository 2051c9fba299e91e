"""A panel's answer as what its template shows. Pure; whatever comes from a store stays text until the template escapes it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from markupsafe import Markup

from ops.dash import figures, spelling
from ops.dash.answers import Answer, step
from ops.dash.figures import Axes, NamedSeries
from ops.dash.span import PageSpan
from ops.views import macros
from ops.views.model import Field, Link, Panel
from ops.views.subjects import SHORT_S

#: Where a cell leads: the link of its column, if it has one, the column, the row by the names of its columns, the span; empty: nowhere.
Leads = Callable[[Link | None, str, Mapping[str, Any], PageSpan], str]
#: Columns whose words are drawn as a label, and what tells how urgent they are.
_CHIPS = ("priority", "status", "severity")
#: Rows of the table of numbers behind a picture.
_MOST_POINTS = 400


@dataclass(frozen=True)
class Cell:
    """A cell of a table: its words, what it is sorted by, and where it leads."""

    text: str
    value: str
    kind: str = ""
    href: str = ""
    says: str = ""


@dataclass(frozen=True)
class Head:
    """A column's head."""

    title: str
    number: bool


@dataclass(frozen=True)
class Shown:
    """What the template of a panel shows; which parts are there depends on its kind.

    Parameters
    ----------
    panel, answer
        What was asked, and answered.
    numbers : tuple
        Name, words and warning of each number of a stat.
    picture : Markup or None
        Of what goes over time, with its ``legend``: names, and the class of each one's colour.
    heads, rows : tuple
        A table: of its own, or of the numbers in the picture.
    moments : tuple of str
        Milliseconds since the epoch of each row of a picture's table.
    shares : tuple of Markup
        Bars, one a row.
    note : str
        What was left out.
    """

    panel: Panel
    answer: Answer
    numbers: tuple[tuple[str, str, str], ...] = ()
    picture: Markup | None = None
    legend: tuple[tuple[str, str], ...] = ()
    heads: tuple[Head, ...] = ()
    rows: tuple[tuple[Cell, ...], ...] = ()
    moments: tuple[str, ...] = ()
    shares: tuple[Markup, ...] = ()
    note: str = ""

    @property
    def empty(self) -> bool:
        """Whether there is nothing to see."""
        return not (self.numbers or self.picture or self.rows)

    @property
    def width(self) -> int:
        """Columns of the page's grid of 24."""
        return self.panel.width


def show(panel: Panel, answer: Answer, span: PageSpan, leads: Leads | None = None) -> Shown:
    """What a panel shows; ``leads``: makes addresses of links, None: there are none."""
    if answer.error or not answer.rows:
        return Shown(panel, answer)
    if panel.kind == "stat":
        return _stat(panel, answer)
    if panel.kind in ("timeseries", "bars_over_time"):
        return _over_time(panel, answer, span)
    return _table(panel, answer, span, leads)


def columns(panel: Panel, answer: Answer) -> tuple[Field, ...]:
    """The columns of an answer: as declared; of metrics as their names say."""
    declared = {column.name: column for column in panel.columns}
    types = {"time": "time", "metric": "text"}
    return tuple(declared.get(name) or Field(name, types.get(name, "number")) for name in answer.names)  # type: ignore[arg-type]


def address(link: Link, row: Mapping[str, Any], span: PageSpan) -> str:
    """Where a link of a row leads: another view, of its variables and its time."""
    since, until = span.since, span.until
    if link.begin and row.get(link.begin) is not None:
        since = str(int(row[link.begin]))
    if link.end and row.get(link.end) is not None:
        until = str(int(row[link.end]))
    chosen = [(f"var-{name}", spelling.text(row[column])) for name, column in link.variables.items()]
    return f"/view/{link.view}?{urlencode(chosen)}&{span.with_range(since, until)}"


def _stat(panel: Panel, answer: Answer) -> Shown:
    declared = columns(panel, answer)
    if panel.source == "metrics":
        pairs = [(spelling.text(row[0]), row[1], panel.unit) for row in answer.rows[:12]]
        pairs = [("", *pairs[0][1:])] if len(pairs) == 1 else pairs
    else:
        kept = [(column, value) for column, value in zip(declared, answer.rows[0], strict=True) if not column.hidden]
        pairs = [(column.label if len(kept) > 1 else "", value, column.unit or panel.unit) for column, value in kept]
    return Shown(panel, answer, tuple((name, spelling.text(value, unit) or "–", _level(panel, value)) for name, value, unit in pairs))


def _level(panel: Panel, value: Any) -> str:
    if not isinstance(value, int | float | Decimal) or isinstance(value, bool):
        return ""
    sign = -1 if panel.falling else 1
    for name, limit in (("bad", panel.bad), ("warn", panel.warn)):
        if limit is not None and sign * float(value) >= sign * limit:
            return name
    return ""


def _over_time(panel: Panel, answer: Answer, span: PageSpan) -> Shown:
    declared = columns(panel, answer)
    found = _series(declared, answer)
    drawn = sorted(found, key=lambda one: -sum(value or 0 for _, value in one.points))[: figures.COLOURS]
    drawn = [one for one in found if one in drawn]
    unit = next((column.unit for column in declared if column.type == "number" and column.unit), panel.unit)
    start = max(span.start, span.end - macros.span(panel.last)) if panel.last else span.start
    axes = Axes(start, span.end, _width(panel, span, found), figures.top_of(drawn, panel.stacked))
    names = ", ".join(one.name for one in drawn)
    label = f"{panel.title}: {names}, from {spelling.text(start)} to {spelling.text(span.end)} UTC"
    picture = figures.picture(
        drawn, axes, label, lambda value: spelling.number(value, unit), columns=panel.kind == "bars_over_time", stacked=panel.stacked
    )
    units = {column.label: column.unit or panel.unit for column in declared}
    moments = sorted({moment for one in found for moment, _ in one.points})[-_MOST_POINTS:]
    lookup = [(dict(one.points), units.get(one.name, unit)) for one in found]
    rows = [
        (Cell(spelling.text(moment), str(moment.timestamp())), *(_number_cell(points.get(moment), of) for points, of in lookup))
        for moment in moments
    ]
    left = len(found) - len(drawn)
    older = len({moment for one in found for moment, _ in one.points}) - len(moments)
    return Shown(
        panel, answer, picture=picture, legend=tuple((one.name, one.style(place)) for place, one in enumerate(drawn)),
        heads=(Head("time", False), *(Head(one.name, True) for one in found)), rows=tuple(rows),
        moments=tuple(f"{moment.timestamp() * 1000:.0f}" for moment in moments),
        note=_left_out(left, older, answer.more),
    )  # fmt: skip


def _width(panel: Panel, span: PageSpan, series: Sequence[NamedSeries]) -> timedelta:
    """Of a point: an hour where the rollup was asked, however narrow the question's own would be."""
    width: timedelta = step(panel, span)
    if panel.source != "hot" or span.end - span.start <= timedelta(seconds=SHORT_S):
        return width
    by_hour = all(moment.timestamp() % 3600 == 0 for one in series for moment, _ in one.points)
    return max(width, timedelta(hours=1)) if by_hour else width


def _first(shown: int, answer: Answer) -> str:
    if not answer.more:
        return ""
    return f"the first {shown:,} of {answer.total:,} rows" if answer.total else f"the first {shown:,} rows; there are more"


def _left_out(series: int, older: int, more: bool) -> str:
    told = {
        f"{series} more {'are' if series > 1 else 'is'} not drawn; all numbers are above": series,
        f"of {older:,} older moment{'s' * (older > 1)} the numbers are left out": older,
        "there are more points than are shown": more,
    }
    return "; ".join(words for words, holds in told.items() if holds)


def _series(declared: Sequence[Field], answer: Answer) -> list[NamedSeries]:
    """One series for each number column, and for each word of the text column where there is one."""
    time = next((i for i, column in enumerate(declared) if column.type == "time" or column.name == "time"), 0)
    word = next((i for i, column in enumerate(declared) if column.type == "text"), None)
    numbers = [(i, column.label) for i, column in enumerate(declared) if column.type == "number" and i != time and not column.hidden]
    found: dict[str, list[tuple[datetime, float | None]]] = {}
    for row in answer.rows:
        moment = _moment(row[time])
        if moment is None:
            continue
        for i, label in numbers:
            name = label if word is None else spelling.text(row[word]) if len(numbers) == 1 else f"{spelling.text(row[word])} {label}"
            found.setdefault(name, []).append((moment, None if row[i] is None else float(row[i])))
    colours = declared[word].colours if word is not None else {}
    order = {name: place for place, name in enumerate(colours)}
    names = sorted(found, key=lambda name: order.get(name, len(order)))
    return [NamedSeries(name, tuple(sorted(found[name], key=lambda point: point[0])), colours.get(name, "")) for name in names]


def _moment(value: Any) -> datetime | None:
    if isinstance(value, datetime):
        return value
    return None if value is None else datetime.fromtimestamp(float(value), UTC)  # what Grafana's macro for groups gives


def _table(panel: Panel, answer: Answer, span: PageSpan, leads: Leads | None) -> Shown:
    declared = columns(panel, answer)
    shown = [(i, column) for i, column in enumerate(declared) if not column.hidden]
    rows = []
    for values in answer.rows:
        row = dict(zip(answer.names, values, strict=True))
        rows.append(tuple(_cell(column, values[i], panel, row, span, leads) for i, column in shown))
    shares: list[Markup] = []
    if panel.kind == "bars" and (first := next((i for i, column in shown if column.type == "number"), None)) is not None:
        sizes = [float(values[first] or 0) for values in answer.rows]
        most = max((size for size in sizes if math.isfinite(size)), default=0) or 1.0
        words = next((i for i, column in shown if column.colours), None)
        colours = ["" if words is None else declared[words].colours.get(str(values[words]), "") for values in answer.rows]
        shares = [figures.bar(size / most, colour) for size, colour in zip(sizes, colours, strict=True)]
    return Shown(
        panel, answer, heads=tuple(Head(column.label, _is_number(column)) for _, column in shown), rows=tuple(rows),
        shares=tuple(shares), note=_first(len(rows), answer),
    )  # fmt: skip


def _cell(column: Field, value: Any, panel: Panel, row: Mapping[str, Any], span: PageSpan, leads: Leads | None) -> Cell:
    link = column.link
    href = leads(link, column.name, row, span) if leads and value not in (None, "") else ""
    says = link.title if link else ""
    if _is_number(column):
        cell = _number_cell(value, column.unit or panel.unit)
        return Cell(cell.text, cell.value, "num", href, says)
    text = spelling.text(value)
    if column.type == "time":
        return Cell(text, spelling.sortable(value) if value is not None else "", "time", href, says)
    if column.name == "id" and panel.source == "alerts":  # its beginning tells it from others, and is enough for commands
        return Cell(text[:8], text, "id", href, text)
    if column.name == "id":
        return Cell(text, text, "uuid", href, says)
    kind = "words" if len(text) > (24 if " " in text else 28) else ""
    kind = "long" if len(text) > 60 else kind
    if column.name in _CHIPS and value is not None:
        last = "".join(c for c in (text.lower().split() or [""])[-1] if (c.isascii() and c.isalnum()) or c == "_")
        kind = f"chip {'level-' if column.type == 'number' else ''}{last}"
    return Cell(text, spelling.sortable(value) if value is not None else "", kind, href, says)


def _is_number(column: Field) -> bool:
    return column.type == "number" and column.name not in _CHIPS


def _number_cell(value: Any, unit: str) -> Cell:
    if value is None:
        return Cell("", "", "num")
    size = float(value)
    if unit in ("", "none") and size == int(size) if math.isfinite(size) else False:
        text = str(int(size))  # a port is no quantity
    elif unit == "short" and math.isfinite(size) and size == int(size) and abs(size) < 1e9:
        text = f"{int(size):,}"
    else:
        text = spelling.text(value, unit)
    return Cell(text, spelling.sortable(value), "num")
