"""Rows of the default partition: those of plausible days are moved into the partition of their day, of the others is told.

A day's rows are first copied into a table beside it, while others read and write. Then, for as long as it takes to copy what came
meanwhile and to delete, the default partition is locked, and the table is attached. Broken off, the copy is used the next time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from jobs.hotstore import partitions
from jobs.hotstore.shape import DAY, Shape, midnight
from schemas import hot
from schemas.records import HotTable

#: By day; text, for Python knows no year beyond 9999. Outside of the bounds all are one.
_STRAYS = """
SELECT CASE WHEN {time} < %s THEN 'before' WHEN {time} >= %s THEN 'after' ELSE to_char({time} AT TIME ZONE 'UTC', 'YYYY-MM-DD') END AS day,
  count(*) FROM {default} GROUP BY 1 ORDER BY 1
"""


@dataclass(frozen=True)
class Strays:
    """Rows in the default partition: by day, and how many are older and later than partitions are made for."""

    days: dict[date, int]
    older: int
    later: int


def look(cursor: Any, table: HotTable, shape: Shape, first: date, last: date) -> Strays:
    """What lies in the default partition; ``first``, ``last``: days for which partitions are made."""
    if not shape.default:
        return Strays({}, 0, 0)
    cursor.execute(_STRAYS.format(time=table.time, default=shape.default), (midnight(first), midnight(last) + DAY))
    found = dict(cursor.fetchall())
    outside = found.pop("before", 0), found.pop("after", 0)
    return Strays({date.fromisoformat(day): count for day, count in found.items()}, *outside)


def copy(cursor: Any, table: HotTable, default: str, day: date) -> None:
    """The first step: the day's rows into a table beside the default partition.

    Raises
    ------
    StoreError
        Something else has the name of the partition.
    """
    name = hot.partition(table.name, day)
    if problem := partitions.taken(cursor, table.name, name):
        raise problem
    cursor.execute(f"CREATE TABLE IF NOT EXISTS {name}_new (LIKE {table.name} INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE)")
    cursor.execute("SELECT 1 FROM pg_constraint WHERE conrelid = to_regclass(%s) AND contype = 'p'", (f"{name}_new",))
    if not cursor.fetchone():
        cursor.execute(f"ALTER TABLE {name}_new ADD PRIMARY KEY ({', '.join(table.key)})")
    _insert(cursor, table, default, day)


def attach(cursor: Any, table: HotTable, default: str, day: date) -> int:
    """The second step, in one transaction: what came meanwhile, and the table becomes the day's partition; how many rows were moved."""
    name = hot.partition(table.name, day)
    cursor.execute(f"LOCK TABLE {default} IN ACCESS EXCLUSIVE MODE")
    _insert(cursor, table, default, day)
    cursor.execute(f"DELETE FROM {default} WHERE {_of_day(table)}", _day(day))
    moved = int(cursor.rowcount)
    cursor.execute(f"ALTER TABLE {name}_new RENAME TO {name}")
    cursor.execute(partitions.statements(table, day)[1])
    return moved


def _insert(cursor: Any, table: HotTable, default: str, day: date) -> None:
    columns = ", ".join(table.types)
    into = f"{hot.partition(table.name, day)}_new"
    cursor.execute(
        f"INSERT INTO {into} ({columns}) SELECT {columns} FROM {default} WHERE {_of_day(table)} ON CONFLICT DO NOTHING", _day(day)
    )


def _of_day(table: HotTable) -> str:
    return f"{table.time} >= %s AND {table.time} < %s"


def _day(day: date) -> tuple[datetime, datetime]:
    return midnight(day), midnight(day) + DAY
