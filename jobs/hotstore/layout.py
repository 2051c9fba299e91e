"""How a hot table is to lie: with days of their own and rollups, whatever the server has; TimescaleDB's where it has the extension.

Done at every start, and by ``flowlake db migrate``, behind the migrations; each step is nothing where it has been done.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from infra.sections import HotSettings
from jobs.hotstore import bucketing, conversion, partitions, rollups, shape
from jobs.hotstore.shape import TableKind
from jobs.sinks import postgres
from jobs.sinks.migrations import Say
from schemas import hot
from schemas.records import HotTable

#: How long a statement waits for a lock before it lets others go on.
LOCK_TIMEOUT = "2s"


class HotLayout:
    """The layout of one hot table (:class:`jobs.sinks.migrations.Layout`)."""

    def __init__(self, settings: HotSettings, table: HotTable) -> None:
        self._settings = settings
        self._table = table

    def missing(self, cursor: Any) -> Sequence[str]:
        found = shape.read(cursor, self._table.name)
        return list(self._missing(cursor, found))

    def script(self, cursor: Any) -> Sequence[str]:
        found = shape.read(cursor, self._table.name)
        if found.kind is TableKind.HYPERTABLE:
            return []
        lines = [f"-- {self._table.name}: partitions and rollups"]
        if found.kind is TableKind.PARTITIONED and not list(self._missing(cursor, found)):
            return []
        return [*lines, *(f"{statement};" for statement in self._plain(cursor, found))]

    def apply(self, connection: Any, say: Say) -> None:
        with connection, connection.cursor() as cursor:
            found = shape.read(cursor, self._table.name)
            todo = list(self._missing(cursor, found))
        if found.kind in (TableKind.HEAP, TableKind.PARTITIONED) and todo:
            for what in todo:
                say(f"{self._table.component}: {what}")
            self._in_steps(connection, found)

    def _in_steps(self, connection: Any, found: shape.Shape) -> None:
        with connection, connection.cursor() as cursor:
            steps = list(self._plain(cursor, found))
        for step in steps:
            with connection, connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_xact_lock(%s)", (postgres.LOCK_MIGRATE,))
                cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
                cursor.execute(step)

    def _missing(self, cursor: Any, found: shape.Shape) -> Iterator[str]:
        table = self._table
        if found.kind is TableKind.HEAP:
            yield f"partitions of {table.name}"
        elif found.kind is TableKind.PARTITIONED and not found.default:
            yield f"default partition of {table.name}"
        if found.kind in (TableKind.HEAP, TableKind.PARTITIONED):
            if bucketing.missing(cursor):
                yield "function time_bucket"
            yield from (f"table {name}" for name in self._absent(cursor, hot.TOUCHED, hot.DROPPED, *(r.name for r in table.rollups)))

    @staticmethod
    def _absent(cursor: Any, *names: str) -> list[str]:
        cursor.execute("SELECT name FROM unnest(%s::text[]) name WHERE to_regclass(quote_ident(name)) IS NULL", (list(names),))
        return [name for (name,) in cursor.fetchall()]

    def _plain(self, cursor: Any, found: shape.Shape) -> Iterator[str]:
        """Statements for a server without TimescaleDB, behind the migrations."""
        table = self._table
        yield from bucketing.statements()
        yield from (hot.TOUCHED_DDL, hot.DROPPED_DDL)
        yield from conversion.statements(table.name, table.time)
        if found.kind is TableKind.PARTITIONED and not found.default:
            yield partitions.default_statement(table)
        if table.rollups and (found.kind is TableKind.HEAP or self._absent(cursor, *(rollup.name for rollup in table.rollups))):
            yield rollups.all_touched(table)
        yield from (rollups.statement(table, rollup) for rollup in table.rollups)
        today = datetime.now(UTC).date()
        if found.kind is TableKind.HEAP and self._has_rows(cursor):
            today += timedelta(days=2)  # until then the table that was there holds all
        for day in partitions.ahead(found, today, self._settings.partitions_ahead_days):
            yield from partitions.statements(table, day)

    def _has_rows(self, cursor: Any) -> bool:
        cursor.execute(f"SELECT EXISTS (SELECT FROM {self._table.name})")
        return bool(cursor.fetchone()[0])
