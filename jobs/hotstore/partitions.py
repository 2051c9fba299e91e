"""Partitions by days (UTC) of a hot table on PostgreSQL without TimescaleDB: made, and told apart from what is none.

A partition is made as a table of its own and then attached: that locks the parent for nobody who reads or writes other days, while
``CREATE TABLE ... PARTITION OF`` would lock it for all. What PostgreSQL does lock is the default partition, to see that none of its rows
belongs into the new one; it is empty, or small, as long as clocks go right and ``flowlake db maintain`` runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

from infra.errors import StoreError
from jobs.hotstore import shape
from jobs.hotstore.shape import DAY, Shape, TableKind, midnight
from jobs.sinks import postgres
from schemas import hot
from schemas.records import HotTable

_KINDS = {"f": "a foreign table", "v": "a view", "m": "a materialized view", "p": "a partitioned table", "r": "a table", "i": "an index"}
_TAKEN = """
SELECT c.relkind::text, p.relname FROM pg_class c
LEFT JOIN pg_inherits i ON i.inhrelid = c.oid LEFT JOIN pg_class p ON p.oid = i.inhparent
WHERE c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema()) AND c.relname = %s
"""


def ahead(shape: Shape, today: date, days: int) -> list[date]:
    """Days from today on that have no partition yet; ``days``: how many there are to be."""
    wanted = (today + timedelta(days=n) for n in range(days + 1))
    return [day for day in wanted if shape.at(day) is None]


def statements(table: HotTable, day: date) -> tuple[str, str]:
    """Statements that make the partition of a day."""
    name, first, last = hot.partition(table.name, day), f"{day}T00:00Z", f"{midnight(day) + DAY:%Y-%m-%d}T00:00Z"
    return _attached(table, name, f"FOR VALUES FROM ('{first}') TO ('{last}')")


def _attached(table: HotTable, name: str, bound: str) -> tuple[str, str]:
    """A table of its own that is attached: a lighter lock than that of ``PARTITION OF``."""
    return (
        f"CREATE TABLE {name} (LIKE {table.name} INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE)",
        f"ALTER TABLE {table.name} ATTACH PARTITION {name} {bound}",
    )


def default_statement(table: HotTable) -> str:
    """Statement that makes the default partition."""
    return f"CREATE TABLE {hot.default_partition(table.name)} PARTITION OF {table.name} DEFAULT"


def make(cursor: Any, table: HotTable, day: date) -> str:
    """Make the partition of a day that has none; returns its name.

    Raises
    ------
    StoreError
        Something else has the name.
    psycopg2.errors.CheckViolation
        Rows of the day lie in the default partition: :mod:`jobs.hotstore.strays` makes it.
    psycopg2.Error
        The server refuses.
    """
    name = hot.partition(table.name, day)
    if problem := taken(cursor, table.name, name):
        raise problem
    for statement in statements(table, day):
        cursor.execute(statement)
    return name


def make_default(cursor: Any, table: HotTable) -> None:
    """Make the default partition of a table that has none: as a table of its own that is attached, as a day is.

    Raises
    ------
    StoreError
        Something else has the name: a default partition that was detached, say.
    psycopg2.Error
        The server refuses.
    """
    name = hot.default_partition(table.name)
    if problem := taken(cursor, table.name, name):
        raise StoreError(str(problem), f"{problem.hint.partition(';')[0]}; until then rows of a day without a partition are refused")
    for statement in _attached(table, name, "DEFAULT"):
        cursor.execute(statement)


def make_absent(cursor: Any, table: HotTable, day: date) -> None:
    """Make the partition of a day where the table has partitions and none of it: in a transaction, one maker at a time.

    Raises
    ------
    StoreError, psycopg2.Error
        As :func:`make`.
    """
    cursor.execute("SELECT pg_advisory_xact_lock(%s)", (postgres.LOCK_PARTITIONS,))
    found = shape.read(cursor, table.name)
    if found.kind is TableKind.PARTITIONED and found.at(day) is None:
        make(cursor, table, day)


def taken(cursor: Any, table: str, name: str) -> StoreError | None:
    """What stands in the way of a partition: something of its name that is none of the table's."""
    cursor.execute(_TAKEN, (name,))
    found = cursor.fetchone()
    if found is None or found[1] == table:
        return None
    kind = _KINDS.get(found[0], "no table") + (f", a partition of {found[1]}" if found[1] else "")
    verb = {"f": "FOREIGN TABLE", "v": "VIEW", "m": "MATERIALIZED VIEW", "i": "INDEX"}.get(found[0], "TABLE")
    return StoreError(
        f"the partition {name} of {table} cannot be made: {name} is {kind}",
        f"rename it (ALTER {verb} {name} RENAME TO {name}_old), then flowlake db maintain; until then rows of that day are in "
        f"{hot.default_partition(table)}",
    )


def misshapen(shape: Shape, table: str) -> Iterator[StoreError]:
    """Partitions with the name of a day that hold other times than that day: rows of a day would lie in two places, or live too long."""
    if shape.kind is not TableKind.PARTITIONED:
        return
    for span in shape.spans:
        suffix = span.name.removeprefix(f"{table}_p")
        if suffix == span.name or len(suffix) != 8 or not suffix.isdigit():
            continue
        try:
            first = midnight(date.fromisoformat(suffix))
        except ValueError:
            continue
        if (span.first, span.last) != (first, first + DAY):
            yield StoreError(
                f"partition {span.name} of {table} holds {span.first:%Y-%m-%d %H:%M} to {span.last:%Y-%m-%d %H:%M}, expected its day",
                f"ALTER TABLE {table} DETACH PARTITION {span.name}; rename it, flowlake db maintain, and INSERT its rows into {table}",
            )
