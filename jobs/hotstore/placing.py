"""The writer's side of partitions: the day of a late row gets its partition before the row comes, and touched hours are noted.

A row whose day has no partition is not lost: it goes to the default partition, from where ``flowlake db maintain`` moves it. So nothing
here waits long, and a role that may make no tables writes all the same.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import psycopg2
import pyarrow as pa

from infra.errors import StoreError, one_line
from infra.log import get
from infra.sections import HotSettings
from jobs.hotstore import partitions, rollups, shape
from jobs.hotstore.shape import TableKind
from schemas import hot
from schemas.records import HotTable

_GRANT = f"GRANT INSERT ON {hot.TOUCHED} to this user, then flowlake db maintain --rebuild"
_DAY_US, _HOUR_US = 86_400_000_000, 3_600_000_000
#: How long another may hold the lock that a new partition needs; and seconds until a day that could not be made is tried again.
_LOCK_TIMEOUT, _AGAIN_S = "1s", 60.0
#: Whether hours are to be noted, and may be: asked behind the rows, whose lock keeps the answer true.
_NOTED = f"""
SELECT relkind = 'p', coalesce(has_table_privilege(to_regclass('{hot.TOUCHED}'), 'INSERT'), false)
FROM pg_class WHERE oid = to_regclass(quote_ident(%s))
"""


@dataclass
class _Known:
    """What a connection has learnt of a table: days that have a partition, and days that are not to be tried before a time."""

    partitioned: bool = False
    warned: bool = False
    days: set[date] = field(default_factory=set)
    later: dict[date | None, float] = field(default_factory=dict)

    def waits(self, day: date) -> bool:
        return time.monotonic() < max(self.later.get(day, 0.0), self.later.get(None, 0.0))


_known: WeakKeyDictionary[Any, dict[str, _Known]] = WeakKeyDictionary()


def ready(connection: Any, settings: HotSettings, table: HotTable, times: pa.ChunkedArray) -> None:
    """Make the partitions that rows of these times need and that may be: no older than rows live, no later than days are made ahead.

    Parameters
    ----------
    connection
        Outside of a transaction.
    settings
        Say how long rows live and how far ahead days are made.
    table
        That is written to.
    times
        Of the rows.

    Raises
    ------
    psycopg2.Error
        The database is away, full or read-only. What keeps a single partition from being made is logged: its rows go to the default one.
    """
    known = _known.setdefault(connection, {}).setdefault(table.name, _Known())
    days = _days(times, *bounds(settings, table))
    if all(day in known.days or known.waits(day) for day in days):
        return
    with connection, connection.cursor() as cursor:
        found = shape.read(cursor, table.name)
    known.partitioned = found.kind is TableKind.PARTITIONED
    for day in days:
        if not known.partitioned or found.at(day):
            known.days.add(day)
        elif not known.waits(day):
            _make(connection, table, day, known)


def note(cursor: Any, table: HotTable, times: pa.ChunkedArray) -> None:
    """Note the hours of rows that were just written, in their transaction, where rollups are tables of ours."""
    if not table.rollups:
        return
    cursor.execute(_NOTED, (table.name,))
    partitioned, allowed = cursor.fetchone() or (False, False)
    known = _known.setdefault(cursor.connection, {}).setdefault(table.name, _Known())
    if partitioned and allowed:
        rollups.note(cursor, table, _units(times, _HOUR_US))
    elif partitioned and not known.warned:
        known.warned = True
        get("hot").warning("hours cannot be noted; rollups will lack these rows", table=table.name, hint=_GRANT)


def bounds(settings: HotSettings, table: HotTable) -> tuple[date, date]:
    """First and last day for which partitions are made."""
    today = datetime.now(UTC).date()
    days = min(table.life.retention_days or settings.retention_days, today.toordinal() - 1)
    return today - timedelta(days=days), today + timedelta(days=settings.partitions_ahead_days)


def _units(times: pa.ChunkedArray, width: int) -> list[int]:
    """Days or hours from 1970 that times fall into, in order."""
    counted = times.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_numpy() // width
    return [int(count) for count in np.unique(counted)]


def _days(times: pa.ChunkedArray, first: date, last: date) -> list[date]:
    epoch = date(1970, 1, 1).toordinal()
    return [date.fromordinal(n + epoch) for n in _units(times, _DAY_US) if first.toordinal() <= n + epoch <= last.toordinal()]


def _make(connection: Any, table: HotTable, day: date, known: _Known) -> None:
    """In a transaction of its own, one maker at a time."""
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'")
            partitions.make_absent(cursor, table, day)
    except psycopg2.errors.InsufficientPrivilege as e:
        known.later[None] = time.monotonic() + 10 * _AGAIN_S
        _say(table, day, one_line(e))
    except (StoreError, psycopg2.errors.CheckViolation, psycopg2.errors.LockNotAvailable, psycopg2.ProgrammingError) as e:
        known.later[day] = time.monotonic() + _AGAIN_S
        _say(table, day, one_line(e))
    else:
        known.days.add(day)


def _say(table: HotTable, day: date, cause: str) -> None:
    get("hot").warning("a day has no partition; its rows go to the default one", table=table.name, day=str(day), cause=cause)
