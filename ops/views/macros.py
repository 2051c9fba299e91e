"""What Grafana makes of a question before it asks it: macros of its PostgreSQL data source, its global variables, ours.

Sources: "PostgreSQL query editor", section Macros, and "Variable syntax", sections Global variables and Advanced variable format options,
of Grafana's documentation (version 12); rounding of ``$__interval`` as of its function ``roundInterval``.

Grafana works in two steps: the browser puts in variables, the server then expands macros, also those inside of a variable's value. Here
values are put in last and never looked at again, so what a sensor is called is always text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from infra.errors import ConfigError
from ops.views.model import SENSOR

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_SPAN = re.compile(r"(\d+)(ms|s|m|h|d|w)")
#: A macro of the server with what stands in its parentheses, or a variable.
_WANTED = re.compile(r"\$(__[A-Za-z]+)\(([^)]*)\)|\$\{(\w+)(?::(\w+))?\}|\$(__[A-Za-z_]+)")
#: Upper bounds of a raw interval in milliseconds, and what it is rounded to.
_ROUNDED = (
    (10, 1), (15, 10), (35, 20), (75, 50), (150, 100), (350, 200), (750, 500), (1_500, 1_000), (3_500, 2_000), (7_500, 5_000),
    (12_500, 10_000), (17_500, 15_000), (25_000, 20_000), (45_000, 30_000), (90_000, 60_000), (210_000, 120_000), (450_000, 300_000),
    (750_000, 600_000), (1_050_000, 900_000), (1_500_000, 1_200_000), (2_700_000, 1_800_000), (5_400_000, 3_600_000),
    (9_000_000, 7_200_000), (16_200_000, 10_800_000), (32_400_000, 21_600_000), (86_400_000, 43_200_000), (604_800_000, 86_400_000),
    (1_814_400_000, 604_800_000), (3_628_800_000, 2_592_000_000),
)  # fmt: skip
_YEAR_MS = 31_536_000_000


def span(text: str) -> timedelta:
    """A length of time as Grafana writes it: ``30s``, ``5m``, ``12h``, ``7d``.

    Raises
    ------
    ConfigError
        It is none.
    """
    found = _SPAN.fullmatch(text.strip().strip("'\""))
    if found is None or int(found[1]) == 0:
        raise ConfigError(f"{text!r} is no length of time", f"a whole number and one of {', '.join(_UNITS)}: 5m")
    try:
        return timedelta(seconds=int(found[1]) * _UNITS[found[2]])
    except OverflowError as e:
        raise ConfigError(f"{text!r} is no length of time: it is too long", "5m, 12h, 30d") from e


def interval(start: datetime, end: datetime, *, points: int = 300, least: str = "1s") -> timedelta:
    """What Grafana takes for ``$__interval``: the range by the points that there is room for, rounded.

    Parameters
    ----------
    start, end
        The range of time.
    points
        Most points of a series: what is the width of a panel in pixels, or less.
    least
        A smaller one is not taken.
    """
    raw = (end - start).total_seconds() * 1000 / max(1, points)
    rounded = next((to for bound, to in _ROUNDED if raw < bound), _YEAR_MS)
    return max(timedelta(milliseconds=rounded), span(least))


def literal(text: str) -> str:
    """Text as a literal of PostgreSQL, as Grafana's ``sqlstring`` makes one: quotes are doubled (``standard_conforming_strings`` is on).

    Raises
    ------
    ConfigError
        It holds what no text of PostgreSQL can: the character 0.
    """
    if "\0" in text:
        raise ConfigError(f"{text!r} holds the character 0, which no text in PostgreSQL can", "leave it out")
    return "'" + text.replace("'", "''") + "'"


def expand(
    sql: str,
    *,
    start: datetime,
    end: datetime,
    interval: timedelta | str,
    sensors: Sequence[str] = (),
    variables: Mapping[str, str] | None = None,
    timescale: bool = False,
) -> str:
    """A question as it goes to PostgreSQL.

    Parameters
    ----------
    sql
        With macros and variables.
    start, end
        The range of time, with their zone.
    interval
        Width of a bucket (:func:`interval`).
    sensors
        Chosen ones; none: all.
    variables
        Others, by name; each is one text.
    timescale
        Whether Grafana's data source has its switch for TimescaleDB on.

    Raises
    ------
    ConfigError
        The end is before the start; a macro, variable or format is not known; a value is no text of PostgreSQL.

    Examples
    --------
    >>> day = datetime(2026, 3, 1, tzinfo=UTC)
    >>> expand("SELECT $__interval_ms WHERE $__timeFilter(t)", start=day, end=day, interval="1m")
    "SELECT 60000 WHERE t BETWEEN '2026-03-01T00:00:00Z' AND '2026-03-01T00:00:00Z'"
    """
    if end < start:
        raise ConfigError(f"the range of time ends ({_text(end)}) before it starts ({_text(start)})", "exchange the two")
    width = span(interval) if isinstance(interval, str) else interval
    values = {SENSOR: tuple(sensors), **{name: (value,) for name, value in (variables or {}).items()}}
    macros = _macros(start, end, timescale)
    names = {"__interval": _spelled(width), "__interval_ms": str(round(width / timedelta(milliseconds=1)))}

    def replaced(found: re.Match[str]) -> str:
        macro, arguments, variable, form, bare = found.groups()
        if macro == "__timeGroup" and sql[found.end() : found.end() + 1] == ",":
            macro = "__timeGroupAlias"  # as Grafana does for dashboards of old
        name = variable or bare
        if macro:
            if macro not in macros:
                raise ConfigError(f"${macro}() is no macro of Grafana's PostgreSQL data source", f"known: {', '.join(sorted(macros))}")
            given = [names.get(argument.strip().removeprefix("$"), argument.strip()) for argument in arguments.split(",")]
            return macros[macro](*given)
        if name in names and form is None:
            return names[name]
        if name not in values or bare:
            raise ConfigError(f"{found[0]} is no variable of this view", f"known: {', '.join(sorted({*names, *values}))}")
        if form != "sqlstring":
            raise ConfigError(f"{found[0]}: a value goes into SQL as a literal", f"write ${{{name}:sqlstring}}")
        return ",".join(literal(value) for value in values[name]) or "NULL"

    return _WANTED.sub(replaced, sql)


def expand_promql(query: str, *, interval: timedelta | str, scrape: timedelta | str = "15s") -> str:
    """A question as it goes to Prometheus.

    Parameters
    ----------
    query
        PromQL with ``$__interval`` and ``$__rate_interval``.
    interval
        Distance of two points.
    scrape
        Of two scrapes; a rate needs four of them at least (Grafana's documentation of the data source Prometheus, ``$__rate_interval``).
    """
    step = max(span(interval) if isinstance(interval, str) else interval, span(scrape) if isinstance(scrape, str) else scrape)
    every = span(scrape) if isinstance(scrape, str) else scrape
    rate = max(step + every, 4 * every)
    return query.replace("$__rate_interval", _spelled(rate)).replace("$__interval", _spelled(step))


def _macros(start: datetime, end: datetime, timescale: bool) -> dict[str, Callable[..., str]]:
    """What each macro stands for, given its arguments. A third of ``timeGroup`` (what fills gaps) is for Grafana, not for SQL."""
    first, last = math.floor(start.timestamp()), math.floor(end.timestamp())
    nano = (first * 1_000_000_000 + start.microsecond * 1000, last * 1_000_000_000 + end.microsecond * 1000)

    def group(column: str, width: str, _fill: str = "") -> str:
        seconds = span(width).total_seconds()
        if timescale:
            return f"time_bucket('{seconds:.3f}s',{column})"
        return f"floor(extract(epoch from {column})/{seconds:g})*{seconds:g}"

    def epochs(column: str, width: str, _fill: str = "") -> str:
        seconds = span(width).total_seconds()
        return f"floor(({column})/{seconds:g})*{seconds:g}"

    return {
        "__time": lambda column: f'{column} AS "time"',
        "__timeEpoch": lambda column: f'extract(epoch from {column}) as "time"',
        "__timeFilter": lambda column: f"{column} BETWEEN '{_text(start)}' AND '{_text(end)}'",
        "__timeFrom": lambda *_: f"'{_text(start)}'",
        "__timeTo": lambda *_: f"'{_text(end)}'",
        "__timeGroup": group,
        "__timeGroupAlias": lambda *given: group(*given) + ' AS "time"',
        "__unixEpochFilter": lambda column: f"{column} >= {first} AND {column} <= {last}",
        "__unixEpochFrom": lambda *_: str(first),
        "__unixEpochTo": lambda *_: str(last),
        "__unixEpochNanoFilter": lambda column: f"{column} >= {nano[0]} AND {column} <= {nano[1]}",
        "__unixEpochNanoFrom": lambda *_: str(nano[0]),
        "__unixEpochNanoTo": lambda *_: str(nano[1]),
        "__unixEpochGroup": epochs,
        "__unixEpochGroupAlias": lambda *given: epochs(*given) + ' AS "time"',
    }


def _text(moment: datetime) -> str:
    """RFC 3339 in UTC, with the digits behind the second that there are."""
    told = moment.astimezone(UTC).isoformat().removesuffix("+00:00")
    return (told.rstrip("0") if "." in told else told) + "Z"


def _spelled(width: timedelta) -> str:
    """In the largest unit that it is a whole number of, below weeks."""
    ms = round(width / timedelta(milliseconds=1))
    for unit in ("d", "h", "m", "s"):
        if ms % round(_UNITS[unit] * 1000) == 0:
            return f"{ms // round(_UNITS[unit] * 1000)}{unit}"
    return f"{ms}ms"
