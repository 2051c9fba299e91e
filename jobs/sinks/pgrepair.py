"""What the tables of a database lack of those that its migrations make, and how it is put back.

The migrations themselves say how things should be: they are run on temporary tables, PostgreSQL's catalogue describes those, and the
temporary tables are rolled back. So there is no second list of columns to keep in step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg2

from infra.errors import StoreError, one_line

#: Of all tables of the schema in which unqualified names are created: table, kind, name, definition, whether an INSERT must give it.
#: Indexes go without their name, which PostgreSQL may have chosen, and those of a constraint are made with it.
_CATALOGUE = """
SELECT c.relname, 'column', a.attname, format_type(a.atttypid, a.atttypmod),
    CASE WHEN a.attidentity <> '' THEN ' GENERATED ALWAYS AS IDENTITY'
         ELSE CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END || coalesce(' DEFAULT ' || pg_get_expr(d.adbin, d.adrelid), '') END,
    a.attnotnull AND d.adbin IS NULL AND a.attidentity = ''
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
UNION ALL
SELECT c.relname, 'constraint', pg_get_constraintdef(k.oid), '', '', false
FROM pg_class c JOIN pg_constraint k ON k.conrelid = c.oid AND k.contype IN ('p', 'u', 'c', 'f')
WHERE c.relnamespace = current_schema()::regnamespace
UNION ALL
SELECT c.relname, 'index', CASE WHEN i.indisunique THEN 'UNIQUE ' ELSE '' END
    || substring(pg_get_indexdef(i.indexrelid) from ' (USING .*)$'), '', '', false
FROM pg_class c JOIN pg_index i ON i.indrelid = c.oid AND i.indisvalid
WHERE c.relnamespace = current_schema()::regnamespace AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid)
"""


@dataclass(frozen=True)
class Part:
    """A column, constraint or index of a table; ``name`` is a constraint's or an index's definition."""

    table: str
    kind: str
    name: str


@dataclass(frozen=True)
class Detail:
    """Of a column: SQL type, what else its definition says, and whether every INSERT must give it a value."""

    type: str
    rest: str
    required: bool


State = dict[Part, Detail]


def repair(cursor: Any, migrations: Mapping[int, Sequence[str]], place: str) -> None:
    """Make what the migrations make and the database lacks: tables, columns, constraints, indexes. Rows stay as they are.

    Parameters
    ----------
    cursor
        In a transaction, with the lock of migrations held.
    migrations
        Those that have been applied: version -> statements, each of which may be run again.
    place
        The database as a person names it.

    Raises
    ------
    StoreError
        Something cannot be put back: a column without a default in a table with rows, a key that rows contradict; or a column has
        another type, or one that is not ours must be given a value.
    """
    wanted = _expected(cursor, migrations)
    found = _state(cursor)
    tables = _tables(found)
    _refuse_changed(wanted, found, place)
    for part, detail in wanted.items():
        if part.kind == "column" and part.table in tables and part not in found:
            column = f'"{part.name}" {detail.type}{detail.rest}'
            _alter(cursor, f"ALTER TABLE {part.table} ADD COLUMN {column}", f"column {part.name}", part.table, place)
    if _tables(wanted) - tables or any(part.kind == "index" and part not in found for part in wanted):
        for statement in _statements(migrations):
            cursor.execute(statement)
    found = _state(cursor)
    for part in wanted:
        if part in found:
            continue
        if part.kind == "constraint":
            _alter(cursor, f"ALTER TABLE {part.table} ADD {part.name}", f"constraint {part.name}", part.table, place)
        elif part.kind == "index":  # its name is taken by an index of a table that was renamed
            unique, definition = part.name.startswith("UNIQUE "), part.name.removeprefix("UNIQUE ")
            cursor.execute(f"CREATE {'UNIQUE ' if unique else ''}INDEX ON {part.table} {definition}")


def _statements(migrations: Mapping[int, Sequence[str]]) -> list[str]:
    return [statement for number in sorted(migrations) for statement in migrations[number]]


def _expected(cursor: Any, migrations: Mapping[int, Sequence[str]]) -> State:
    cursor.execute("SAVEPOINT expected")
    cursor.execute("SET LOCAL search_path TO pg_temp")
    for statement in _statements(migrations):
        cursor.execute(statement)
    wanted = _state(cursor)
    cursor.execute("ROLLBACK TO SAVEPOINT expected")
    return wanted


def _state(cursor: Any) -> State:
    cursor.execute(_CATALOGUE)
    return {Part(*row[:3]): Detail(*row[3:]) for row in cursor.fetchall()}


def _tables(state: State) -> set[str]:
    return {part.table for part in state}


def _refuse_changed(wanted: State, found: State, place: str) -> None:
    """Raise when columns are there that a person must decide about."""
    for part, detail in found.items():
        if part.kind != "column" or part.table not in _tables(wanted):
            continue
        ours = wanted.get(part)
        if ours and ours.type != detail.type:
            raise StoreError(
                f"{place}: column {part.name} of table {part.table} is {detail.type}, expected {ours.type}",
                f"ALTER TABLE {part.table} ALTER COLUMN {part.name} TYPE {ours.type}, or {_rename(part.table)}",
            )
        if not ours and detail.required:
            raise StoreError(
                f"{place}: column {part.name} of table {part.table} is not flowlake's, and is NOT NULL without a default",
                f"ALTER TABLE {part.table} ALTER COLUMN {part.name} DROP NOT NULL, or give it a default",
            )


def _alter(cursor: Any, statement: str, what: str, table: str, place: str) -> None:
    try:
        cursor.execute(statement)
    except psycopg2.Error as e:
        reason = one_line(e, 200)
        raise StoreError(
            f"{place}: table {table} lacks {what}, and it cannot be put back: {reason}",
            f"mend the rows or restore a backup ({statement}), or {_rename(table)}",
        ) from e


def _rename(table: str) -> str:
    return f"rename the table (ALTER TABLE {table} RENAME TO {table}_old): the next start makes a new one"
