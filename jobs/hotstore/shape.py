"""How a hot table lies in its database, as the catalogue tells: plain, in partitions, or a hypertable."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import Enum
from typing import Any

DAY = timedelta(days=1)
#: What lies beyond Python's times, infinity among it.
FIRST, LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)

_BOUNDS = re.compile(r"FOR VALUES FROM \((.*)\) TO \((.*)\)")
_SHAPE = """
SELECT c.relkind::text, to_regclass('_timescaledb_catalog.hypertable') IS NOT NULL
FROM pg_class c WHERE c.oid = to_regclass(quote_ident(%s))
"""
_PARTITIONS = """
SELECT c.relname, pg_get_expr(c.relpartbound, c.oid)
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = to_regclass(quote_ident(%s)) ORDER BY c.relname
"""
_HYPERTABLE = "SELECT 1 FROM timescaledb_information.hypertables WHERE hypertable_name = %s AND hypertable_schema = current_schema()"


class TableKind(Enum):
    """What a hot table is."""

    MISSING = "missing"
    HEAP = "a table without partitions"
    PARTITIONED = "in partitions"
    HYPERTABLE = "a hypertable"


@dataclass(frozen=True)
class Span:
    """A partition and the times it holds: from ``first`` to before ``last``."""

    name: str
    first: datetime
    last: datetime


@dataclass(frozen=True)
class Shape:
    """What a table is, its partitions by time, and the name of its default partition (empty: it has none)."""

    kind: TableKind
    spans: tuple[Span, ...] = ()
    default: str = ""

    def at(self, day: date) -> Span | None:
        """A partition that holds some of a day."""
        first = midnight(day)
        return next((span for span in self.spans if span.first < first + DAY and span.last > first), None)


def days(first: datetime, last: datetime) -> list[date]:
    """The days from ``first`` to before ``last``; one at least."""
    return [(first + timedelta(days=n)).date() for n in range((last - first).days or 1)]


def midnight(day: date) -> datetime:
    """The beginning of a day, UTC."""
    return datetime.combine(day, time(), UTC)


def read(cursor: Any, table: str) -> Shape:
    """What a table is now.

    Parameters
    ----------
    cursor
        Of a connection whose time zone is UTC.
    table
        Its name.
    """
    cursor.execute(_SHAPE, (table,))
    found = cursor.fetchone()
    if found is None:
        return Shape(TableKind.MISSING)
    kind, extension = found
    if kind == "p":
        return _partitioned(cursor, table)
    if extension:
        cursor.execute(_HYPERTABLE, (table,))
        if cursor.fetchone():
            return Shape(TableKind.HYPERTABLE)
    return Shape(TableKind.HEAP)


def _partitioned(cursor: Any, table: str) -> Shape:
    cursor.execute(_PARTITIONS, (table,))
    spans, default = [], ""
    for name, bound in cursor.fetchall():
        if match := _BOUNDS.fullmatch(bound):
            spans.append(Span(name, _time(match[1], FIRST), _time(match[2], LAST)))
        elif bound == "DEFAULT":
            default = name
    return Shape(TableKind.PARTITIONED, tuple(sorted(spans, key=lambda span: span.first)), default)


def _time(bound: str, unknown: datetime) -> datetime:
    """``MINVALUE``, ``'infinity'`` and times that Python has no word for are the first or the last there is."""
    try:
        return datetime.fromisoformat(bound.strip("'"))
    except ValueError:
        return unknown
