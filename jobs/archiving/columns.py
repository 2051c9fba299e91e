"""The columns of an archived table: the reference's types, and beside them what those types would lose.

Each column of the hot table is archived under its name, its type derived from the SQL type and from what the record type says of it: times
are ``timestamp[ms, UTC]``, addresses, UUIDs and JSON are text, the features of a model are ``float32``, a label is ``int8``. Milliseconds,
``float32`` and ``int8`` cannot hold every value of their column; such a column has a *companion*: ``<name>_us`` holds a time in
microseconds from 1970, ``<name>_exact`` holds the value where the archived one is not the same, and is null everywhere else. So whoever
reads the reference's columns finds them, and nothing is lost: :func:`exact` gives back what was in the store.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.records import HotTable, RecordType

#: SQL type -> exact Arrow type: how rows come out of the store and are checked. Times are microseconds from 1970.
EXACT: dict[str, pa.DataType] = {
    "smallint": pa.int16(),
    "integer": pa.int32(),
    "bigint": pa.int64(),
    "real": pa.float32(),
    "double precision": pa.float64(),
    "timestamptz": pa.int64(),
    "uuid": pa.string(),
    "inet": pa.string(),
    "text": pa.string(),
    "jsonb": pa.string(),
    "boolean": pa.bool_(),
}
#: PostgreSQL's ``-infinity`` and ``infinity``, as microseconds.
NEVER, EVER = -(2**63), 2**63 - 1
_MS = pa.timestamp("ms", tz="UTC")
_PARTITIONS = ("year", "month")


@dataclass(frozen=True)
class ArchivedColumn:
    """One column: SQL type in the store, exact type, type in the archive, name of its companion (empty: it loses nothing)."""

    name: str
    sql: str
    archived: pa.DataType
    companion: str

    @property
    def exact(self) -> pa.DataType:
        """Arrow type that holds every value."""
        return EXACT[self.sql]

    @property
    def out(self) -> str:
        """SQL expression that PostgreSQL prints as :attr:`exact` can be read from."""
        if self.sql != "timestamptz":
            return self.name
        return (
            f"CASE WHEN isfinite({self.name}) THEN (extract(epoch FROM {self.name}) * 1000000)::bigint "
            f"WHEN {self.name} = 'infinity' THEN {EVER} WHEN {self.name} = '-infinity' THEN {NEVER} END"
        )

    @property
    def back(self) -> str:
        """SQL expression that makes the value of the store from :attr:`staged`."""
        if self.sql != "timestamptz":
            return self.name
        # Whole days and the rest: an interval is multiplied by a double, which holds each of them exactly.
        return (
            f"CASE {self.name} WHEN {NEVER} THEN '-infinity' WHEN {EVER} THEN 'infinity' "
            f"ELSE timestamptz 'epoch' + ({self.name} / 86400000000) * interval '24 hours' "
            f"+ ({self.name} % 86400000000) * interval '1 microsecond' END"
        )

    @property
    def staged(self) -> str:
        """SQL type of the column in a stage table."""
        return "bigint" if self.sql == "timestamptz" else self.sql


@dataclass(frozen=True)
class ArchiveLayout:
    """The archived form of a record type's hot table."""

    table: HotTable
    columns: tuple[ArchivedColumn, ...]

    @classmethod
    def of(cls, record: RecordType) -> ArchiveLayout:
        """Derive it.

        Raises
        ------
        ValueError
            The record type has no hot table, or a column has a name that the archive needs.
        """
        if record.hot is None:
            raise ValueError(f"record type {record.name} has no hot table")
        made = cls(record.hot, tuple(_column(record, column.name, column.source) for column in record.hot.columns))
        names = [*made.schema.names, *_PARTITIONS]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"hot table {record.hot.name}: column {twice[0]!r} has a name that the archive uses")
        return made

    @property
    def time(self) -> str:
        """Name of the column of time."""
        return self.table.key[0]

    @cached_property
    def exact_schema(self) -> pa.Schema:
        """Rows as they come out of the store."""
        return pa.schema([(column.name, column.exact) for column in self.columns])

    @cached_property
    def schema(self) -> pa.Schema:
        """Rows of the archive: first the columns of the table, then the companions."""
        companions = [(column.companion, column.exact) for column in self.columns if column.companion]
        return pa.schema([*((column.name, column.archived) for column in self.columns), *companions])

    def archived(self, rows: pa.Table) -> pa.Table:
        """Rows of the store (:attr:`exact_schema`) as rows of the archive (:attr:`schema`)."""
        made: dict[str, pa.ChunkedArray] = {}
        for column in self.columns:
            main, rest = _split(rows[column.name], column)
            made[column.name] = main
            if column.companion:
                made[column.companion] = rest
        return pa.table([made[name] for name in self.schema.names], schema=self.schema)

    def exact(self, rows: pa.Table) -> pa.Table:
        """Rows of the archive as they were in the store: the inverse of :meth:`archived`."""
        return pa.table([_joined(rows, column) for column in self.columns], schema=self.exact_schema)


def _column(record: RecordType, name: str, source: str) -> ArchivedColumn:
    assert record.hot is not None
    sql = record.hot.types[name]
    exact, said = EXACT[sql], record.published.field(source).type
    if sql == "timestamptz":
        return ArchivedColumn(name, sql, _MS, f"{name}_us")
    if record.features and source in record.features.names and exact != pa.float32() and not pa.types.is_string(exact):
        return ArchivedColumn(name, sql, pa.float32(), f"{name}_exact")
    if pa.types.is_signed_integer(said) and pa.types.is_integer(exact) and said.bit_width < exact.bit_width:
        return ArchivedColumn(name, sql, said, f"{name}_exact")
    return ArchivedColumn(name, sql, exact, "")


def _split(values: pa.ChunkedArray, column: ArchivedColumn) -> tuple[pa.ChunkedArray, pa.ChunkedArray | None]:
    """What is archived under the column's name, and its companion."""
    if not column.companion:
        return values, None
    if column.sql == "timestamptz":
        finite = pc.and_(pc.not_equal(values, NEVER), pc.not_equal(values, EVER))
        times = pc.if_else(finite, values, pa.scalar(None, pa.int64()))
        floored = pc.divide(times, 1000)  # towards 1970; down, as date_trunc does, is one less for a time before it
        floored = pc.subtract(floored, pc.less(times, pc.multiply(floored, 1000)).cast(pa.int64()))
        return floored.cast(_MS), values
    nothing = pa.scalar(None, column.exact)
    if pa.types.is_floating(column.archived):
        numbers = values.cast(pa.float64(), safe=False)
        main = numbers.cast(pa.float32(), safe=False)
        again = main.cast(pa.float64())
        same = pc.or_(pc.equal(again, numbers), pc.is_nan(numbers))
        if pa.types.is_integer(column.exact):
            # Beyond 2**53 a double is no witness.
            same = pc.and_(same, pc.less_equal(pc.abs(numbers), float(2**53 - 1)))
        return main, pc.if_else(same, nothing, values)
    info = np.iinfo(column.archived.to_pandas_dtype())
    fits = pc.and_(pc.greater_equal(values, int(info.min)), pc.less_equal(values, int(info.max)))
    main = pc.if_else(fits, values, nothing).cast(column.archived)
    return main, pc.if_else(fits, nothing, values)


def _joined(rows: pa.Table, column: ArchivedColumn) -> Any:
    main = rows[column.name]
    if not column.companion:
        return main
    if column.sql == "timestamptz":
        return rows[column.companion]
    return pc.coalesce(rows[column.companion], main.cast(column.exact, safe=False))
