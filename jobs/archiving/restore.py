"""A month of the archive back into the hot store, or into a table of its own."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg2

from infra.config import Settings
from infra.errors import ConfigError, StoreError, one_line
from jobs.archiving import copying, ledger, lock, manifest, months, parquet, removal
from jobs.archiving import place as places
from jobs.archiving.columns import ArchiveLayout
from jobs.archiving.ledger import BookEntry
from jobs.archiving.months import Month
from jobs.archiving.place import ArchivePlace
from jobs.hotstore import partitions
from jobs.runtime import lake
from jobs.sinks import hot
from jobs.sinks.migrations import migrate
from schemas.archive import ArchiveState
from schemas.records import RecordType

_TABLE = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_DROPPING = (
    "SELECT count(*) FROM timescaledb_information.jobs WHERE proc_name = 'policy_retention' "
    "AND hypertable_schema = current_schema() AND hypertable_name = %s"
)
_SHAPE = """
SELECT c.relkind::text, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull AND NOT a.atthasdef AND a.attidentity = ''
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.oid = to_regclass(quote_ident(%s)) ORDER BY a.attnum
"""
_UNIQUE = """
SELECT array_agg(a.attname::text) FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey)
WHERE i.indrelid = to_regclass(quote_ident(%s)) AND i.indisunique AND i.indpred IS NULL AND i.indexprs IS NULL GROUP BY i.indexrelid
"""


@dataclass(frozen=True)
class RestoredMonth:
    """What was done: ``rows`` came back, ``there`` were there; ``until`` they stay (empty: retention does not look into that table)."""

    table: str
    month: str
    into: str
    rows: int
    there: int
    until: str


def restore(settings: Settings, records: Sequence[RecordType], month: Month, into: str, say: Callable[[str], None]) -> list[RestoredMonth]:
    """Bring a month back. What is there already stays as it is, so it may be done again.

    Parameters
    ----------
    settings
        Sections ``hot``, ``archive`` and, where it is a bucket, ``lake``.
    records
        Whose tables.
    month
        Which.
    into
        A table to be made instead of the hot one; empty: the hot one, where the month then stays for ``archive.restored_days``.
    say
        Told what is being done, a line each.

    Raises
    ------
    StoreError
        Nothing of the month is archived, or a file of it is damaged; or a store refuses or is away.
    ConfigError
        ``into`` is no name of a table or one of another shape, or several tables would be restored into it.
    """
    if into and (not _TABLE.fullmatch(into) or into.startswith("pg_") or into in (copying.STAGE, removal.KNOWN)):
        raise ConfigError(f"--into {into!r} is no name of a table", "lower-case letters, digits and _, such as flows_of_march")
    with lock.session(settings, "restore") as connection:
        migrate(ledger.component(settings), say)
        found = []
        for layout in [ArchiveLayout.of(record) for record in records]:
            place = places.of(settings, layout.table.name)
            manifest.adopt(connection, place, layout.table.name)
            with connection, connection.cursor() as cursor:
                held = [entry for entry in ledger.entries(cursor, layout.table.name, month) if entry.held]
            if held:
                found.append((layout, place, held))
        if not found:
            raise StoreError(f"{months.text(month)} is not archived in {lake.archive(settings)}", "flowlake archive list shows what is")
        if into and len(found) > 1:
            raise ConfigError(f"--into {into}: several tables have rows of {months.text(month)}", "name one with --table")
        return [_restore(settings, connection, layout, place, held, into, say) for layout, place, held in found]


def _restore(
    settings: Settings,
    connection: Any,
    layout: ArchiveLayout,
    place: ArchivePlace,
    held: list[BookEntry],
    into: str,
    say: Callable[[str], None],
) -> RestoredMonth:
    into = "" if into == layout.table.name else into
    table, month = into or layout.table.name, held[0].month
    if not into:
        migrate(hot.component(settings, layout.table), say)  # a database that has never had a stream
    _prepare(connection, layout, into)
    # Before anything is made or marked: a damaged file must leave no table that looks like a month without rows.
    for entry in held:
        for file in entry.files:
            say(f"{table} {months.text(month)}: {file['name']} is being checked")
            parquet.check(place, layout, place.path(place.folder(month), file["name"]), file)
    if into:
        _make(connection, layout, into)
    until = None if into else datetime.now(UTC) + timedelta(days=settings.archive.restored_days)
    if until is not None:
        # Before the first row: retention must not drop what has just come back.
        with connection, connection.cursor() as cursor:
            ledger.mark(cursor, layout.table.name, month, ArchiveState.RESTORED, until)
        _make_partitions(connection, layout, held, say)
    total, seen, new = sum(entry.rows for entry in held), 0, 0
    for entry in held:
        for file in entry.files:
            path = place.path(place.folder(month), file["name"])
            with place.told(f"read {path}"), place.files.open_input_file(path) as source:
                for rows in parquet.rows_of(source, layout):
                    new += _insert(connection, layout, table, rows)
                    seen += rows.num_rows
                    say(f"{table} {months.text(month)}: {seen:,} of {total:,} rows read")
    said = f"{until:%Y-%m-%dT%H:%M:%SZ}" if until else ""
    return RestoredMonth(layout.table.name, months.text(month), table, new, seen - new, said)


def _prepare(connection: Any, layout: ArchiveLayout, into: str) -> None:
    """See that the table will take the rows, and keep them.

    Raises
    ------
    StoreError
        TimescaleDB would drop them at once.
    ConfigError
        A table of the name ``into`` is there, and is another one.
    """
    name = layout.table.name
    with connection, connection.cursor() as cursor:
        if into:
            cursor.execute("SELECT to_regclass(quote_ident(%s)) IS NOT NULL", (into,))
            if cursor.fetchone()[0] and (wrong := _misfit(cursor, layout, into)):
                raise ConfigError(f"--into {into} is there already, and is no table like {name}: {wrong}", "name one that is to be made")
            return
        cursor.execute("SELECT to_regclass('timescaledb_information.jobs') IS NOT NULL")
        if not cursor.fetchone()[0]:
            return
        cursor.execute(_DROPPING, (name,))
        if cursor.fetchone()[0]:
            raise StoreError(
                f"{name}: TimescaleDB's retention policy would drop a restored month at its next run",
                "restore it into a table of its own: --into flows_of_march; or set hot.keep_until_archived, which takes the policy away",
            )


def _make(connection: Any, layout: ArchiveLayout, into: str) -> None:
    with connection, connection.cursor() as cursor:
        like = "INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES"
        cursor.execute(f'CREATE TABLE IF NOT EXISTS "{into}" (LIKE {layout.table.name} {like})')


def _misfit(cursor: Any, layout: ArchiveLayout, into: str) -> str:
    """Why rows of the hot table do not fit into a table, or would be doubled in it the next time; empty when they fit."""
    kind, ours, others = _columns(cursor, layout.table.name, into)
    if kind not in ("r", "p"):
        return "it is no table"
    for name in layout.table.types:
        if others.get(name, ("",))[0] != ours[name][0]:
            return f"its column {name} is {others[name][0] if name in others else 'missing'}, expected {ours[name][0]}"
    if needed := [name for name, (_, must) in others.items() if must and name not in ours]:
        return f"its column {needed[0]} wants a value"
    cursor.execute(_UNIQUE, (into,))
    if set(layout.table.key) not in [set(key) for (key,) in cursor.fetchall()]:
        return f"it has no primary key of {', '.join(layout.table.key)}"
    return ""


def _columns(cursor: Any, *tables: str) -> tuple[str, dict[str, tuple[str, bool]], dict[str, tuple[str, bool]]]:
    """Kind of the last of two tables; of each its columns: their types, and whether each must be given."""
    kind, found = "", []
    for table in tables:
        cursor.execute(_SHAPE, (table,))
        rows = cursor.fetchall()
        kind = rows[0][0] if rows else ""
        found.append({name: (sql, must) for _, name, sql, must in rows})
    return kind, found[0], found[1]


def _make_partitions(connection: Any, layout: ArchiveLayout, held: list[BookEntry], say: Callable[[str], None]) -> None:
    """Make the daily partitions that the rows need; what stands in the way of one is told, and its rows go to the default partition."""
    table = layout.table
    for day in sorted({day for entry in held for day in entry.days}):
        try:
            with connection, connection.cursor() as cursor:
                partitions.make_absent(cursor, table, day)
        except (StoreError, psycopg2.errors.CheckViolation, psycopg2.errors.InsufficientPrivilege) as e:
            say(f"{table.name}: no partition of {day}, its rows go to the default one: {one_line(e)}")


def _insert(connection: Any, layout: ArchiveLayout, table: str, rows: Any) -> int:
    names = ", ".join(layout.table.types)
    with connection, connection.cursor() as cursor:
        copying.stage(cursor, layout, rows)
        cursor.execute(f'INSERT INTO "{table}" ({names}) SELECT {names} FROM {copying.staged(layout)} s ON CONFLICT DO NOTHING')
        return int(cursor.rowcount)
