"""Rollups of a hot table (:class:`schemas.records.Rollup`) on PostgreSQL without TimescaleDB: tables, refreshed hour by hour.

Which hours are to do, the writers say: with the rows of a batch goes, in the same transaction, a line for each hour that it touched
(:data:`schemas.hot.TOUCHED`). A refresh takes lines away first and then computes their buckets anew, from all rows of each: a line that is
seen speaks of rows that are seen, and one that comes meanwhile stays for the next time.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from schemas import hot
from schemas.records import HotTable, Rollup

#: Hours whose buckets are computed in one transaction.
HOURS_AT_ONCE = 48
#: (What lies before the year 1 has no place in Python, nor in a dashboard.)
_DUE = "table_name = %s AND hour <= %s AND hour >= '0001-01-02'"
#: The hours in which a table has rows, by jumping along its index on the time.
_HOURS = """
WITH RECURSIVE found(hour) AS (
  SELECT date_trunc('hour', min({time}), 'UTC') FROM {table}
  UNION ALL
  SELECT (SELECT date_trunc('hour', {time}, 'UTC') FROM {table} WHERE {time} >= found.hour + interval '1 hour' ORDER BY {time} LIMIT 1)
  FROM found WHERE found.hour IS NOT NULL AND isfinite(found.hour)
)
SELECT hour FROM found WHERE hour IS NOT NULL AND isfinite(hour)
"""


def query(table: HotTable, rollup: Rollup, where: str = "") -> str:
    """The query that a rollup is the result of."""
    columns = [f"time_bucket(interval '{rollup.hours} hours', {table.time}) AS {rollup.bucket}", *rollup.group_by]
    columns += [f"{aggregate.sql} AS {aggregate.name}" for aggregate in rollup.aggregates]
    grouped = ", ".join(str(n + 1) for n in range(1 + len(rollup.group_by)))
    return f"SELECT {', '.join(columns)} FROM {table.name}{where} GROUP BY {grouped}"


def statement(table: HotTable, rollup: Rollup) -> str:
    """Statement that makes its table; nothing where it is there."""
    by_group = (
        f"CREATE INDEX {rollup.name}_{rollup.group_by[0]} ON {rollup.name} ({rollup.group_by[0]}, {rollup.bucket} DESC);\n"
        if rollup.group_by
        else ""
    )
    further = "".join(f"{index};\n" for index in indexes(rollup))
    return (
        f"DO $do$ BEGIN\nIF to_regclass('{rollup.name}') IS NULL THEN\n"
        f"CREATE TABLE {rollup.name} AS {query(table, rollup)} WITH NO DATA;\n"
        f"CREATE INDEX {rollup.name}_{rollup.bucket} ON {rollup.name} ({rollup.bucket} DESC);\n{by_group}{further}END IF;\nEND $do$"
    )


def indexes(rollup: Rollup) -> tuple[str, ...]:
    """Statements for the indexes that it declares."""
    return tuple(f"CREATE INDEX ON {rollup.name} {index}" for index in rollup.indexes)


def all_touched(table: HotTable) -> str:
    """Statement that notes every hour in which the table has rows."""
    hours = _HOURS.format(table=table.name, time=table.time).strip()
    return f"INSERT INTO {hot.TOUCHED} (table_name, hour) SELECT '{table.name}', hour FROM ({hours}) hours"


def note(cursor: Any, table: HotTable, hours: Iterable[int]) -> None:
    """Note hours (counted from 1970 on) as touched, in the transaction that writes their rows."""
    if hours := list(hours):
        cursor.execute(
            f"INSERT INTO {hot.TOUCHED} (table_name, hour) SELECT %s, to_timestamp(3600 * unnest(%s::bigint[]))", (table.name, hours)
        )


def refresh(cursor: Any, table: HotTable, now: datetime) -> int:
    """Compute the buckets of some touched hours anew, in one transaction.

    Buckets that are too young stay to do (:attr:`schemas.records.Rollup.end_offset_hours`). Those of rows that have been dropped stay as
    they are.

    Returns
    -------
    int
        Hours that are done; 0 when none is to do.
    """
    cursor.execute(f"SELECT DISTINCT hour FROM {hot.TOUCHED} WHERE {_DUE} ORDER BY hour LIMIT %s", (*_due(table, now), HOURS_AT_ONCE))
    hours = [hour for (hour,) in cursor.fetchall()]
    if not hours:
        return 0
    cursor.execute(f"DELETE FROM {hot.TOUCHED} WHERE table_name = %s AND hour = ANY(%s)", (table.name, hours))
    cursor.execute(f"SELECT before FROM {hot.DROPPED} WHERE table_name = %s", (table.name,))
    dropped = cursor.fetchone()
    for rollup in table.rollups:
        cursor.execute("SELECT DISTINCT time_bucket(%s, hour) FROM unnest(%s::timestamptz[]) hour ORDER BY 1", (_width(rollup), hours))
        for (bucket,) in cursor.fetchall():
            if not dropped or bucket >= dropped[0]:
                _compute(cursor, table, rollup, bucket)
    return len(hours)


def due(cursor: Any, table: HotTable, now: datetime) -> int:
    """Touched hours that :func:`refresh` would compute."""
    cursor.execute(f"SELECT count(DISTINCT hour) FROM {hot.TOUCHED} WHERE {_DUE}", _due(table, now))
    return int(cursor.fetchone()[0])


def _due(table: HotTable, now: datetime) -> tuple[str, datetime]:
    """Values for :data:`_DUE`: the buckets of all rollups are old enough."""
    return table.name, now - timedelta(hours=max(rollup.end_offset_hours + rollup.hours for rollup in table.rollups))


def _width(rollup: Rollup) -> timedelta:
    return timedelta(hours=rollup.hours)


def _compute(cursor: Any, table: HotTable, rollup: Rollup, bucket: datetime) -> None:
    cursor.execute(f"DELETE FROM {rollup.name} WHERE {rollup.bucket} = %s", (bucket,))
    where = f" WHERE {table.time} >= %s AND {table.time} < %s"
    cursor.execute(f"INSERT INTO {rollup.name} {query(table, rollup, where)}", (bucket, bucket + _width(rollup)))
