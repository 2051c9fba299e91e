"""What the tables of a database lack of those that their migrations make, and the statements that put it back.

Tables, columns (with NOT NULL, default and identity), constraints and indexes. Functions, triggers and rights are not looked at, and what
is there beside ours is left alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from infra.errors import StoreError
from jobs.sinks.pgcatalogue import Column, SchemaCatalogue


@dataclass(frozen=True)
class Repair:
    """What is missing, the table it is missing from (empty: it is a table), and the statements that make it."""

    what: str
    table: str
    statements: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.what} of {self.table}" if self.table else self.what

    @property
    def problem(self) -> str:
        """The same as a sentence."""
        return f"table {self.table} lacks {self.what}" if self.table else f"there is no {self.what}"


def repairs(wanted: SchemaCatalogue, found: SchemaCatalogue, statements: Sequence[str], taken: AbstractSet[str]) -> list[Repair]:
    """What is missing, in an order in which it can be put back: whatever needs something else comes after it.

    Parameters
    ----------
    wanted, found
        How the tables are to be, and how they are.
    statements
        Those of the migrations that made ``wanted``, in order; each may be run again.
    taken
        Names of ``wanted``'s indexes that something has.
    """
    gone = [table for table in wanted.relations if table not in found.relations]
    there = {table for table, kind in wanted.relations.items() if table in found.relations and kind == "table"}
    constraints = [(key, foreign) for key, foreign in wanted.constraints.items() if key[0] in there and key not in found.constraints]
    return [
        *_columns(wanted, found, there),
        *(_constraint(*key) for key, foreign in constraints if not foreign),
        *_indexes(wanted, found, there, taken),
        *_tables(gone, statements),
        *_indexes_without_name(wanted, gone, taken),
        *(_constraint(*key) for key, foreign in constraints if foreign),
    ]


def conflict(wanted: SchemaCatalogue, found: SchemaCatalogue, place: str) -> StoreError | None:
    """What a person must decide about, if there is such a thing; ``place``: the database as a person names it."""
    for table, kind in wanted.relations.items():
        if table in found.relations and found.relations[table] != kind:
            return StoreError(
                f"{place}: {table} is a {found.relations[table]}, expected a {kind}",
                f"rename it: ALTER {found.relations[table].upper()} {table} RENAME TO {_old(table)}",
            )
    for (table, name), column in found.columns.items():
        ours = wanted.columns.get((table, name))
        if ours and ours.type != column.type:
            return StoreError(
                f"{place}: column {name} of table {table} is {column.type}, expected {ours.type}",
                f"ALTER TABLE {table} ALTER COLUMN {name} TYPE {ours.type}, or {renaming(table)}",
            )
        if table in wanted.relations and not ours and column.required:
            return StoreError(
                f"{place}: column {name} of table {table} is not flowlake's, and is NOT NULL without a default",
                f"ALTER TABLE {table} ALTER COLUMN {name} DROP NOT NULL, or give it a default",
            )
    return None


def renaming(table: str) -> str:
    """A way out of everything: begin anew."""
    return f"rename the table (ALTER TABLE {table} RENAME TO {_old(table)}): the next start makes a new one"


def _old(table: str) -> str:
    return f'{table[:-1]}_old"' if table.endswith('"') else f"{table}_old"


def _tables(gone: Sequence[str], statements: Iterable[str]) -> Iterator[Repair]:
    """What speaks of a missing table is run again, the whole history of it: so it becomes what its migrations make, rows excepted."""
    if gone:
        # Either way of writing a name: quoted or not, in capitals or not. One statement too many does nothing.
        words = "|".join(re.escape(table.strip('"').replace('""', '"')) for table in gone)
        about = re.compile(rf"(?<!\w)(?:{words})(?!\w)", re.IGNORECASE)
        kind = "table" if len(gone) == 1 else "tables"
        yield Repair(f"{kind} {', '.join(gone)}", "", tuple(s for s in statements if about.search(s)))


def _columns(wanted: SchemaCatalogue, found: SchemaCatalogue, there: AbstractSet[str]) -> Iterator[Repair]:
    for (table, name), column in wanted.columns.items():
        if table not in there:
            continue
        present = found.columns.get((table, name))
        if present is None:
            yield Repair(f"column {name}", table, (f"ALTER TABLE {table} ADD COLUMN {name} {column.sql}",))
        else:
            yield from _properties(table, name, column, present)


def _properties(table: str, name: str, wanted: Column, found: Column) -> Iterator[Repair]:
    """Of a column that is there. A default that somebody chose instead of ours stays."""
    alter = f"ALTER TABLE {table} ALTER COLUMN {name}"
    if wanted.not_null and not found.not_null:
        yield Repair(f"NOT NULL of column {name}", table, (f"{alter} SET NOT NULL",))
    if found.default or found.generated:
        return
    if wanted.default:
        yield Repair(f"DEFAULT {wanted.default} of column {name}", table, (f"{alter} SET DEFAULT {wanted.default}",))
    if wanted.generated.endswith("IDENTITY"):
        # Numbers go on behind those that are there.
        sequence = f"pg_get_serial_sequence('{_escaped(table)}', '{_escaped(name.strip(chr(34)))}')"
        behind = f"SELECT setval({sequence}, (SELECT coalesce(max({name}), 0) + 1 FROM {table}), false)"
        yield Repair(f"{wanted.generated} of column {name}", table, (f"{alter} ADD {wanted.generated}", behind))


def _escaped(text: str) -> str:
    return text.replace("'", "''")


def _constraint(table: str, definition: str) -> Repair:
    return Repair(f"constraint {definition}", table, (f"ALTER TABLE {table} ADD {definition}",))


def _indexes(wanted: SchemaCatalogue, found: SchemaCatalogue, there: AbstractSet[str], taken: AbstractSet[str]) -> Iterator[Repair]:
    for (table, definition), name in wanted.indexes.items():
        if table in there and (table, definition) not in found.indexes:
            yield _index(table, definition, "" if name in taken else name)


def _indexes_without_name(wanted: SchemaCatalogue, gone: Sequence[str], taken: AbstractSet[str]) -> Iterator[Repair]:
    """An index of a table that was renamed keeps its name, by which IF NOT EXISTS takes it for that of the new table."""
    for (table, definition), name in wanted.indexes.items():
        if table in gone and name in taken:
            yield _index(table, definition, "")


def _index(table: str, definition: str, name: str) -> Repair:
    """Without a name PostgreSQL chooses one."""
    unique = "UNIQUE " if definition.startswith("UNIQUE ") else ""
    using = definition.removeprefix("UNIQUE ")
    return Repair(f"index {name or using}", table, (f"CREATE {unique}INDEX {name}{' ' if name else ''}ON {table} {using}",))
