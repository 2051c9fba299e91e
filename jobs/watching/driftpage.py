"""The page of the watching: each model and sensor with a map of features by hours, and curves of scores, alerts and rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any

from infra import files
from infra.config import Settings
from jobs.watching import html, judging, measures, tables
from jobs.watching.drift import folder
from jobs.watching.html import Markup, text

Row = Mapping[str, Any]
#: Days that the page shows.
DAYS = 7
_LATEST_ALARMS = 20
_COLOURS = ((1.0, "#dfe8f1"), (1.5, "#fbe3a6"), (2.5, "#f5b04a"), (5.0, "#e2672b"), (float("inf"), "#b3161b"))
_BELOW, _NONE = "#eef3f8", "transparent"


def write(settings: Settings, records: Sequence[str], now: datetime) -> Path:
    """Write the page of the last days of some record types; it replaces the old one when it is whole.

    Raises
    ------
    OSError
        The folder cannot be written.
    StoreError
        The table ``model_drift`` cannot be read.
    """
    first = (now - timedelta(days=DAYS)).date()
    rows = [row for record in records for row in tables.drift(settings, record, first, now.date())]
    place = folder(settings)
    place.mkdir(parents=True, exist_ok=True)
    files.replace(place / "index.html", build(rows, now))
    return place / "index.html"


def build(rows: Sequence[Row], now: datetime) -> str:
    """The page of rows of ``model_drift``."""
    parts = [f"<p>The last {DAYS} days of the table <code>model_drift</code>, as of {now:%Y-%m-%d %H:%M} UTC.</p>"]
    sections = [list(some) for _, some in groupby(sorted(rows, key=_whose), key=_whose)]
    if not sections:
        parts.append("<p>No model has been looked at in this time.</p>")
    else:
        parts.append(_overview(sections))
    return html.page("Drift of models", *parts, *(_section(some) for some in sections))


def _whose(row: Row) -> tuple[str, str, str]:
    return row["record_type"], row["model_version"], row["sensor_id"]


def _overview(sections: Sequence[Sequence[Row]]) -> str:
    lines = []
    for some in sections:
        record, version, sensor = _whose(some[0])
        hours = {row["hour"]: row["rows"] for row in some}
        alarms = {row["hour"] for row in some if row["state"] == judging.ALARM}
        newest = max(hours)
        state = Markup("<span class=bad>alarm</span>" if newest in alarms else "<span class=good>no alarm</span>")
        lines.append(
            (record, version, sensor, f"{newest:%Y-%m-%d %H:00}", state, f"{len(alarms):,}", f"{len(hours):,}", f"{sum(hours.values()):,}")
        )
    head = ("record", "model", "sensor", "newest hour, UTC", "then", "hours with an alarm", "hours", "rows")
    return html.table(head, lines, head[5:])


def _section(rows: Sequence[Row]) -> str:
    record, version, sensor = _whose(rows[0])
    against = "the data of its training" if rows[0]["reference"] == "training" else "a week that it has served, hours with hours of the day"
    alarms = [row for row in rows if row["state"] == judging.ALARM]
    marks = sorted({row["hour"] for row in alarms})
    return "".join(
        (
            f"<h2>{text(record)}, model {text(version)}, sensor {text(sensor or '(none)')}</h2><p>Compared with {against}.</p>",
            "<h3>Features, score and data quality by hour</h3>",
            _map(rows),
            "<h3>Alarms</h3>",
            _alarms(alarms),
            html.curves(
                "Score: PSI, and the limit that it rarely exceeds",
                _lines(rows, measures.SCORE, psi="psi", limit="psi_limit"),
                "PSI",
                marks=marks,
            )
            if any(row["measure"] == measures.SCORE and row["psi"] is not None for row in rows)
            else "",
            html.curves("Share of alerts", _lines(rows, measures.ALERTS, served="share", reference="usual_share"), "share", marks=marks),
            html.curves("Rows an hour", _lines(rows, measures.ALERTS, served="rows", reference="usual_rows"), "rows", marks=marks),
        )
    )


def _alarms(rows: Sequence[Row]) -> str:
    if not rows:
        return "<p class=good>No alarm.</p>"
    shown = sorted(rows, key=lambda row: (row["hour"], row["psi"] or 0.0), reverse=True)[:_LATEST_ALARMS]
    head = ("hour, UTC", "measure", "why", "PSI", "limit", "KS", "limit of KS", "share", "usual share")
    numbers = ("psi", "psi_limit", "ks", "ks_limit", "share", "usual_share")
    lines = [(f"{row['hour']:%Y-%m-%d %H:00}", row["measure"], row["reason"], *(_number(row[name]) for name in numbers)) for row in shown]
    more = f"<p>The newest {len(shown)} of {len(rows):,}.</p>" if len(rows) > len(shown) else ""
    return html.table(head, lines, head[3:]) + more


def _map(rows: Sequence[Row]) -> str:
    """Measures by hours: how far PSI is beyond its limit."""
    hours = sorted({row["hour"] for row in rows})
    first, last = hours[0], hours[-1]
    every = [first + timedelta(hours=n) for n in range(int((last - first).total_seconds() // 3600) + 1)]
    by = {(row["measure"], row["hour"]): row for row in rows}
    names = sorted({row["measure"] for row in rows}, key=_order)
    days = "".join(f'<th colspan="{len(list(some))}">{day:%m-%d}</th>' for day, some in groupby(every, key=lambda hour: hour.date()))
    lines = [
        f"<tr><th class=name>{text(name)}</th>{''.join(_cell(by.get((name, hour))) for hour in every)}</tr>"
        for name in names
        if _told(name, rows)
    ]
    words = (
        (_BELOW, "within"),
        (_COLOURS[0][1], "beyond, but small"),
        *((colour, f"up to {most:g} times") for most, colour in _COLOURS[1:4]),
    )
    key = "".join(f'<span style="background:{colour}"></span>{told}' for colour, told in (*words, (_COLOURS[4][1], "more")))
    map_ = f"<div class=wide><table class=heat><tr><th></th>{days}</tr>{''.join(lines)}</table></div>"
    return f"<p class=key>PSI beside its limit:{key}; framed red: an alarm; empty: no rows.</p>{map_}"


def _told(name: str, rows: Iterable[Row]) -> bool:
    """Shares of missing and undefined values are shown where they were ever odd; there are two for each feature."""
    if measures.split(name)[0] not in (measures.MISSING, measures.UNDEFINED):
        return True
    return any(row["measure"] == name and row["state"] in (judging.ODD, judging.ALARM) for row in rows)


def _order(name: str) -> tuple[int, str]:
    kinds = (measures.ALERTS, measures.SCORE, measures.NOVELTY, measures.FEATURE, measures.MISSING, measures.UNDEFINED)
    return kinds.index(measures.split(name)[0]), name


def _cell(row: Row | None) -> str:
    if row is None or row["psi"] is None:
        return f'<td style="background:{_NONE}"></td>'
    ratio = row["psi"] / row["psi_limit"]
    colour = _BELOW if ratio <= 1 else next(colour for most, colour in _COLOURS if ratio <= most or most == float("inf"))
    if row["state"] in (judging.OK, judging.FEW) and ratio > 1:
        colour = _COLOURS[0][1]
    told = f"{row['hour']:%m-%d %H:00} {row['measure']}: PSI {_number(row['psi'])}, limit {_number(row['psi_limit'])}"
    told += f"; {row['rows']:,} rows; {row['state']} {row['reason']}"
    frame = " class=alarm" if row["state"] == judging.ALARM else ""
    return f'<td{frame} style="background:{colour}" title="{text(told.strip())}"></td>'


def _lines(rows: Sequence[Row], measure: str, **columns: str) -> dict[str, tuple[list[datetime], list[float]]]:
    found = {}
    for name, column in columns.items():
        there = [(row["hour"], float(row[column])) for row in rows if row["measure"] == measure and row[column] is not None]
        if there:
            found[name] = ([hour for hour, _ in there], [value for _, value in there])
    return found


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
