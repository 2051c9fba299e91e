"""A plain table becomes a hypertable, its rows copied day by day.

``create_hypertable(..., migrate_data => TRUE)`` does it in one transaction that locks out every reader until the last row has been moved,
and begins anew when it is broken off. Here the rows of one day after the other are copied into a hypertable beside the table, each day in
a transaction, while others read and write the table. At the end writers wait while the days are compared and what came meanwhile is
copied, and the hypertable takes the name. Until then readers see the table with all its rows. Broken off, days that are whole are not
copied again. It needs the space of the table once more, as ``migrate_data`` does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jobs.hotstore import conversion, timescale
from jobs.sinks import postgres
from jobs.sinks.migrations import Say
from schemas.records import HotTable

#: How long the last step waits for writers and readers to let it in.
_LOCK_TIMEOUT = "10s"
#: The days in which a table has rows, and how many, oldest first. (Text: Python knows no year beyond 9999, and none before 1.)
_DAYS = """
SELECT day::text, count(*) FROM (SELECT date_trunc('day', {time}, 'UTC') AS day FROM {table}) found GROUP BY found.day ORDER BY found.day
"""


def convert(connection: Any, table: HotTable, say: Say) -> None:
    """Copy, compare, take the name; each step nothing where it has been done.

    Raises
    ------
    psycopg2.Error
        The server refuses; what has been copied is used the next time.
    """
    new = f"{table.name}_new"
    with _one(connection) as cursor:
        cursor.execute(conversion.refusal(table.name))
        cursor.execute(f"CREATE TABLE IF NOT EXISTS {new} (LIKE {table.name} INCLUDING ALL EXCLUDING INDEXES)")
        cursor.execute(timescale.hypertable(table, new))
        cursor.execute("SELECT 1 FROM pg_constraint WHERE conrelid = to_regclass(%s) AND contype = 'p'", (new,))
        if not cursor.fetchone():
            cursor.execute(f"ALTER TABLE {new} ADD PRIMARY KEY ({', '.join(table.key)})")
    with connection, connection.cursor() as cursor:
        behind = list(_behind(cursor, table.name, new, table.time))
    rows = sum(count for _, count in behind)
    copied = 0
    for day, count in behind:
        with _one(connection) as cursor:
            _copy(cursor, table, new, day)
        copied += count
        say(f"{table.component}: {copied:,} of {rows:,} rows of {table.name} copied into chunks, up to {day}")
    with _one(connection) as cursor:
        for statement in _indexes(cursor, table.name, new):
            cursor.execute(statement)
    with _one(connection) as cursor:
        cursor.execute(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'")
        cursor.execute(f"LOCK TABLE {table.name} IN EXCLUSIVE MODE")
        for day, _ in list(_behind(cursor, table.name, new, table.time)):
            _copy(cursor, table, new, day)
        cursor.execute(conversion.taken_over(table.name))


class _one:
    """A transaction under the lock of those who migrate."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def __enter__(self) -> Any:
        cursor = self._connection.cursor()
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", (postgres.LOCK_MIGRATE,))
        return cursor

    def __exit__(self, kind: Any, value: Any, trace: Any) -> None:
        if kind is None:
            self._connection.commit()
        else:
            self._connection.rollback()


def _behind(cursor: Any, old: str, new: str, time: str) -> Iterator[tuple[str, int]]:
    """Days of which not all rows have been copied, and how many they have."""
    cursor.execute(_DAYS.format(time=time, table=new))
    there = dict(cursor.fetchall())
    cursor.execute(_DAYS.format(time=time, table=old))
    yield from ((day, count) for day, count in cursor.fetchall() if there.get(day) != count)


def _copy(cursor: Any, table: HotTable, new: str, day: str) -> None:
    columns = ", ".join(table.types)
    cursor.execute(
        f"INSERT INTO {new} ({columns}) SELECT {columns} FROM {table.name} "
        f"WHERE {table.time} >= %s::timestamptz AND {table.time} < %s::timestamptz + interval '1 day' ON CONFLICT DO NOTHING",
        (day, day),
    )


def _indexes(cursor: Any, old: str, new: str) -> Iterator[str]:
    """Statements for the indexes that the new table lacks; the names are given when it takes the old one's."""
    listed = "SELECT substring(pg_get_indexdef(indexrelid) FROM 'USING .*$') FROM pg_index WHERE indrelid = to_regclass(%s) AND indisvalid"
    cursor.execute(f"{listed} EXCEPT {listed}", (old, new))
    yield from (f"CREATE INDEX ON {new} {definition}" for (definition,) in cursor.fetchall())
