"""How a hot table is to lie: with days of their own and rollups, whatever the server has; TimescaleDB's where it has the extension.

Done at every start, and by ``flowlake db migrate``, behind the migrations; each step is nothing where it has been done. What is in
partitions stays in partitions when the extension comes later: both serve the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg2

from infra.errors import one_line
from infra.log import get
from infra.sections import HotSettings
from jobs.hotstore import bucketing, conversion, intohyper, partitions, rollups, shape, timescale
from jobs.hotstore.shape import Shape, TableKind
from jobs.sinks import postgres
from jobs.sinks.migrations import Say
from schemas import hot
from schemas.records import HotTable

#: How long a statement waits for a lock before it lets others go on.
LOCK_TIMEOUT = "2s"
_EXTENSION = "CREATE EXTENSION IF NOT EXISTS timescaledb"


class HotLayout:
    """The layout of one hot table (:class:`jobs.sinks.migrations.Layout`)."""

    def __init__(self, settings: HotSettings, table: HotTable) -> None:
        self._settings = settings
        self._table = table

    def missing(self, cursor: Any) -> Sequence[str]:
        return list(self._missing(cursor, shape.read(cursor, self._table.name)))

    def script(self, cursor: Any) -> Sequence[str]:
        found = shape.read(cursor, self._table.name)
        if found.kind not in (TableKind.MISSING, TableKind.HEAP) and not list(self._missing(cursor, found)):
            return []
        return [f"-- {self._table.name}: how it lies", *(f"{statement};" for statement in self._statements(cursor, found))]

    def apply(self, connection: Any, say: Say) -> None:
        with connection, connection.cursor() as cursor:
            found = shape.read(cursor, self._table.name)
            todo = list(self._missing(cursor, found))
            hyper = found.kind is TableKind.HEAP and timescale.usable(cursor)
        for what in todo:
            say(f"{self._table.component}: {what}")
        if found.kind is TableKind.HYPERTABLE or (hyper and self._into_hypertable(connection, say)):
            self._live(connection)
        elif todo:
            self._partition(connection, found)

    # -- what is to do -----------------------------------------------------------------------------------------------------------------

    def _missing(self, cursor: Any, found: Shape) -> Iterator[str]:
        table = self._table
        if found.kind is TableKind.HYPERTABLE:
            yield from (change.what for change in timescale.changes(cursor, self._settings, table))
        elif found.kind is TableKind.HEAP:
            yield f"days of {table.name}"
        elif found.kind is TableKind.PARTITIONED:
            if not found.default:
                yield f"default partition of {table.name}"
            if bucketing.missing(cursor):
                yield "function time_bucket"
            yield from (f"table {name}" for name in _absent(cursor, hot.TOUCHED, hot.DROPPED, *(r.name for r in table.rollups)))

    def _statements(self, cursor: Any, found: Shape) -> Iterator[str]:
        """What :meth:`apply` runs, as far as it can be known beforehand."""
        if found.kind is TableKind.HYPERTABLE:
            for change in timescale.changes(cursor, self._settings, self._table):
                yield from change.statements
        elif found.kind is not TableKind.PARTITIONED and timescale.usable(cursor):
            yield from (*bucketing.dropped(), _EXTENSION)
            if found.kind is TableKind.HEAP and self._has_rows(cursor):
                yield f"-- {self._table.name} is copied into a hypertable day by day: run flowlake db migrate, not this script"
            yield timescale.hypertable(self._table)
            for change in timescale.fresh(self._settings, self._table):
                yield from change.statements
        else:
            yield from self._plain(cursor, found)

    def _plain(self, cursor: Any, found: Shape) -> Iterator[str]:
        table = self._table
        yield from bucketing.statements()
        yield from (hot.TOUCHED_DDL, hot.DROPPED_DDL)
        yield from conversion.statements(table.name, table.time)
        if found.kind is TableKind.PARTITIONED and not found.default:
            yield partitions.default_statement(table)
        if table.rollups and (found.kind is TableKind.HEAP or _absent(cursor, *(rollup.name for rollup in table.rollups))):
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

    # -- doing it ----------------------------------------------------------------------------------------------------------------------

    def _partition(self, connection: Any, found: Shape) -> None:
        with connection, connection.cursor() as cursor:
            steps = list(self._plain(cursor, found))
        for step in steps:
            self._run(connection, step)

    def _run(self, connection: Any, *statements: str) -> None:
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", (postgres.LOCK_MIGRATE,))
            cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
            for statement in statements:
                cursor.execute(statement)

    def _into_hypertable(self, connection: Any, say: Say) -> bool:
        """Whether the table is a hypertable now; where the extension cannot be had, partitions serve the same."""
        with connection, connection.cursor() as cursor:
            installed = timescale.installed(cursor)
            empty = not self._has_rows(cursor)
        if not installed:
            try:
                self._run(connection, *bucketing.dropped(), _EXTENSION)
            except psycopg2.ProgrammingError as e:
                get("hot").info("TimescaleDB cannot be used, partitions serve the same", table=self._table.name, cause=one_line(e))
                return False
        if empty and not self._begun(connection):
            self._run(connection, timescale.hypertable(self._table))
        else:
            intohyper.convert(connection, self._table, say)
        return True

    def _begun(self, connection: Any) -> bool:
        with connection, connection.cursor() as cursor:
            return not _absent(cursor, f"{self._table.name}_new")

    def _live(self, connection: Any) -> None:
        """Each part by itself: an edition or a version that lacks one has the others."""
        with connection, connection.cursor() as cursor:
            todo = list(timescale.changes(cursor, self._settings, self._table))
        for change in todo:
            try:
                self._run(connection, *change.statements)
            except (psycopg2.ProgrammingError, psycopg2.NotSupportedError, psycopg2.InternalError) as e:
                get("hot").warning("TimescaleDB refuses; the table serves without", what=change.what, cause=one_line(e))


def _absent(cursor: Any, *names: str) -> list[str]:
    cursor.execute("SELECT name FROM unnest(%s::text[]) name WHERE to_regclass(quote_ident(name)) IS NULL", (list(names),))
    return [name for (name,) in cursor.fetchall()]
