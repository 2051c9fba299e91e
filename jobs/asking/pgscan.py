"""A table of PostgreSQL as a dataset of Arrow that DuckDB scans: only the columns and rows that a question needs cross the wire.

DuckDB asks a dataset of Arrow for a scanner of some columns and a condition - what its optimizer has found, through views, joins and
sub-queries. A subclass of Arrow's dataset may answer with what it likes, as long as the rows are right. So nothing here reads SQL: what
can be left to the server is DuckDB's to decide (:mod:`jobs.asking.pushdown` says what the server understands).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from functools import cached_property
from typing import Any

import psycopg2
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.dataset as ds

from infra.console.looks import NO_TABLE
from infra.errors import StoreError, one_line
from infra.sections import PostgresSettings
from jobs.asking.pushdown import columns_of, condition, quoted
from jobs.sinks import postgres
from jobs.sinks.stores import StoreUnavailable

_US = pa.timestamp("us", tz="UTC")
#: PostgreSQL's types by the names of its catalogue; every other one is text as psql shows it.
_TYPES: dict[str, pa.DataType] = {
    "bool": pa.bool_(),
    "int2": pa.int16(),
    "int4": pa.int32(),
    "int8": pa.int64(),
    "float4": pa.float32(),
    "float8": pa.float64(),
    "numeric": pa.float64(),
    "date": pa.date32(),
    "timestamptz": _US,
    "timestamp": pa.timestamp("us"),
}
#: Infinite times as DuckDB has them, in microseconds, and infinite days.
_EVER, _EVER_DAYS = 2**63 - 1, 2**31 - 1
#: Text that is parsed at once; no row may be longer.
_BLOCK_BYTES = 8 << 20
#: How values are printed, whatever the role's own habits are.
_PRINTED = "SET datestyle = 'ISO'; SET extra_float_digits = 1; SET bytea_output = 'hex'"
_COLUMNS = """
SELECT a.attname, t.typname FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""


class Snapshot:
    """One moment of a database, which every scan of a question sees: a transaction that others take their snapshot from.

    Parameters
    ----------
    settings
        The database.

    Raises
    ------
    StoreError
        It is away, or refuses.
    """

    def __init__(self, settings: PostgresSettings) -> None:
        self.settings = settings
        self._connection = self.connect()
        self._id = ""
        self._scans: list[Any] = []

    def connect(self) -> Any:
        """A connection of one read-only transaction."""
        try:
            connection = postgres.connect(self.settings, "flowlake-sql")
        except StoreUnavailable as e:
            raise StoreError(str(e), "start it: flowlake up") from e
        connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
        with connection.cursor() as cursor:
            cursor.execute(_PRINTED)
        return connection

    def joined(self) -> Any:
        """A new connection that sees what this one does."""
        if not self._id:
            with self._connection.cursor() as cursor:
                cursor.execute("SELECT pg_export_snapshot()")
                self._id = cursor.fetchone()[0]
        connection = self.connect()
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION SNAPSHOT %s", (self._id,))
        self._scans = [*(scan for scan in self._scans if not scan.closed), connection]
        return connection

    def cancel(self) -> None:
        """End the scans that go on."""
        for scan in self._scans:
            with suppress(psycopg2.Error):
                scan.cancel()

    def types(self, table: str) -> dict[str, str]:
        """Columns of a table or view and their types; none where it is not there."""
        with self._connection.cursor() as cursor:
            cursor.execute(_COLUMNS, (quoted(table),))
            return dict(cursor.fetchall())

    def close(self) -> None:
        """End the transaction."""
        with suppress(psycopg2.Error):
            self._connection.close()


class PostgresTable(ds.Dataset):  # type: ignore[misc]
    """A table or view of a database.

    Parameters
    ----------
    snapshot
        The database, at one moment.
    table
        Its name there.
    failed
        Called with what goes wrong while rows are read: DuckDB would tell it in its own words.

    Raises
    ------
    StoreError
        There is no such table yet.
    """

    def __init__(self, snapshot: Snapshot, table: str, failed: Callable[[Exception], None]) -> None:
        self._snapshot = snapshot
        self._table = table
        self._failed = failed
        #: Statements that were sent, for whoever wants to know what was asked of the server.
        self.sent: list[str] = []
        try:
            self._types = snapshot.types(table)
        except psycopg2.Error as e:
            raise StoreError(f"{postgres.where(snapshot.settings)}: {one_line(e)}") from e
        if not self._types:
            raise StoreError(f"{postgres.where(snapshot.settings)} holds no table {table} yet", NO_TABLE)

    @cached_property
    def schema(self) -> pa.Schema:
        """Its columns as Arrow has them."""
        return pa.schema([(name, _TYPES.get(kind, pa.string())) for name, kind in self._types.items()])

    def scanner(self, columns: Sequence[str] | None = None, filter: Any = None, **_: Any) -> PostgresScanner:
        """What DuckDB reads: some columns of the rows that a condition takes."""
        wanted = list(columns) if columns else self.schema.names if columns is None else self.schema.names[:1]
        needed = columns_of(filter, self.schema.names) if filter is not None else []
        read = [name for name in self.schema.names if name in {*wanted, *needed}]
        where = condition(filter, self._types) if filter is not None else ""
        listed = ", ".join(_printed(name, self._types[name]) for name in read)
        sql = f"SELECT {listed} FROM {quoted(self._table)}{f' WHERE {where}' if where else ''}"
        self.sent.append(sql)
        return PostgresScanner(self, sql, read, wanted, filter)

    def rows(self, sql: str, names: list[str], wanted: list[str], filter: Any) -> Iterator[pa.RecordBatch]:
        """Run a statement; batches of the wanted columns."""
        try:
            with closing(self._snapshot.joined()) as connection:
                for batch in _copied(connection, sql, pa.schema([self.schema.field(name) for name in names])):
                    taken = batch.filter(filter) if filter is not None else batch
                    yield taken.select(wanted)
        except psycopg2.Error as e:
            # libpq has no words for a connection that ends within COPY
            said = "the connection broke off" if "no message from the libpq" in str(e) else one_line(e)
            error = StoreError(f"{postgres.where(self._snapshot.settings)}, table {self._table}: {said}", self._way_out(e))
            self._failed(error)
            raise error from e
        except pa.ArrowInvalid as e:
            error = StoreError(
                f"{postgres.where(self._snapshot.settings)}, table {self._table}: a value cannot be read: {one_line(e)}",
                "leave its column out of the question",
            )
            self._failed(error)
            raise error from e
        except Exception as e:
            self._failed(e)
            raise

    def _way_out(self, error: psycopg2.Error) -> str:
        """What to do about a scan that failed: rights do not come by asking again."""
        if not isinstance(error, psycopg2.errors.InsufficientPrivilege):
            return "ask again"
        user = quoted(self._snapshot.settings.user)
        if "for schema" in str(error):
            return f"let its owner GRANT USAGE ON its SCHEMA TO {user}"
        return f"let its owner say: GRANT SELECT ON {quoted(self._table)} TO {user}"


class PostgresScanner:
    """A scan that has not begun."""

    def __init__(self, table: PostgresTable, sql: str, read: list[str], wanted: list[str], filter: Any) -> None:
        self._table = table
        self._arguments = (sql, read, wanted, filter)
        self.projected_schema = pa.schema([table.schema.field(name) for name in wanted])

    def to_reader(self) -> pa.RecordBatchReader:
        """Its rows, read as they are asked for."""
        return pa.RecordBatchReader.from_batches(self.projected_schema, self._table.rows(*self._arguments))


def _printed(name: str, kind: str) -> str:
    """A column as COPY is to print it. Times as microseconds, dates as days: text would end at year 9999, and infinity is none."""
    column = quoted(name)
    if kind not in ("timestamptz", "timestamp", "date"):
        return column
    number, ever = (
        (f"{column} - date 'epoch'", _EVER_DAYS) if kind == "date" else (f"(extract(epoch FROM {column}) * 1000000)::bigint", _EVER)
    )
    return (
        f"CASE WHEN {column} IS NULL THEN NULL WHEN isfinite({column}) THEN {number} "
        f"WHEN {column} > 'epoch' THEN {ever} ELSE {-ever} END AS {column}"
    )


def _as_number(kind: pa.DataType) -> pa.DataType:
    """The type that a column is printed as (:func:`_printed`)."""
    return pa.int64() if pa.types.is_timestamp(kind) else pa.int32() if pa.types.is_date(kind) else kind


def _copied(connection: Any, sql: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Rows of a statement by COPY as CSV, a few megabytes at a time: another thread writes into a pipe what this one reads."""
    printed = pa.schema([f.with_type(_as_number(f.type)) for f in schema])
    options = csv.ConvertOptions(
        column_types=printed, null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False, true_values=["t"],
        false_values=["f"],
    )  # fmt: skip
    end, begin = os.pipe()
    copying = _Copying(connection, sql, begin)
    copying.start()
    try:
        with os.fdopen(end, "rb") as pipe:
            # NULL in the only column is an empty line.
            parsed = csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False)
            reader = csv.open_csv(pipe, csv.ReadOptions(block_size=_BLOCK_BYTES), parsed, options)
            for batch in reader:
                yield batch.cast(schema) if printed != schema else batch
        copying.join()
        if copying.error is not None:
            raise copying.error
    except pa.ArrowInvalid as e:
        copying.end()  # it may be the reason: rows that end in the middle
        raise (copying.error if isinstance(copying.error, psycopg2.Error) else e) from None
    finally:
        copying.end()


class _Copying(threading.Thread):
    """Writes what COPY sends into a pipe, and closes it."""

    def __init__(self, connection: Any, sql: str, pipe: int) -> None:
        super().__init__(name="copy from PostgreSQL", daemon=True)
        self._connection = connection
        self._sql = sql
        self._pipe = pipe
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            with os.fdopen(self._pipe, "wb", buffering=1 << 18) as pipe, self._connection.cursor() as cursor:
                cursor.copy_expert(f"COPY ({self._sql}) TO STDOUT (FORMAT csv, HEADER true)", pipe)
        except Exception as e:  # handed to the thread that reads
            self.error = e

    def end(self) -> None:
        """Nobody wants the rest."""
        if self.is_alive():
            with suppress(psycopg2.Error):
                self._connection.cancel()
            self.join()
