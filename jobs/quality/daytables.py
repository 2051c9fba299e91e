"""The tables of a record type, one day of each at a time: lake, hot store, archive.

Rows come in pieces, under the names that their columns have in a record, whatever the table calls them: so the same constraints hold of
all. What counts and averages (:meth:`DayTable.summary`) is asked of the engine beside the data: PostgreSQL, and DuckDB for files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from infra.config import Settings
from infra.errors import StoreError, one_line
from jobs.hotstore.shape import midnight
from jobs.runtime import lake, s3
from jobs.sinks import parquet, postgres
from jobs.sinks.stores import StoreUnavailable
from schemas.records import HotTable, RecordType, hot_records

if TYPE_CHECKING:
    import pyarrow.dataset as ds

STAGES = ("lake", "hot", "archive")
#: Memory that DuckDB may take; beyond, it writes to disk.
_DUCKDB_MEMORY = "1GB"
#: SQL type -> how a value is read: as Arrow knows it, also where Python's types know no such value.
_READ = {
    "timestamptz": ("(extract(epoch FROM {}) * 1000000)::bigint", pa.int64()),
    "uuid": ("{}::text", pa.string()),
    "inet": ("host({})", pa.string()),
    "jsonb": ("{}::text", pa.string()),
    "text": ("{}", pa.string()),
    "smallint": ("{}", pa.int16()),
    "integer": ("{}", pa.int32()),
    "bigint": ("{}", pa.int64()),
    "real": ("{}", pa.float32()),
    "double precision": ("{}", pa.float64()),
    "boolean": ("{}", pa.bool_()),
}


class DayTable(Protocol):
    """A table of a record type in one store.

    Attributes
    ----------
    names : column of a record -> column of the table.
    expected : column of a record -> type that the table should have it in, as its engine names types.
    required : columns of a record that must not be null in it.
    """

    names: Mapping[str, str]
    expected: Mapping[str, str]
    required: frozenset[str]

    def exists(self) -> bool:
        """Whether it is there."""
        ...

    def types(self) -> dict[str, str]:
        """Column of a record -> type that the table has it in; other columns under their own names."""
        ...

    def pieces(self, first: date, last: date, rows: int, keys: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """Rows of UTC days, both included, so many at once; with ``keys``: those of these identities."""
        ...

    def summary(self, columns: Mapping[str, str], by: Sequence[str], first: date, last: date, having: str = "") -> list[dict[str, Any]]:
        """Aggregates of the rows of some days.

        Parameters
        ----------
        columns
            Name -> SQL of an aggregate, with columns under their names in a record.
        by
            What is grouped by: ``day`` and ``hour`` (whole hours since 1970, days as their dates), or columns of a record.
        first, last
            UTC days, both included.
        having
            SQL that groups must keep.
        """
        ...


def open_table(settings: Settings, record: RecordType, stage: str) -> DayTable | None:
    """The table of a record type in a store; None where it declares none."""
    if stage == "lake":
        return LakeDays(settings, record) if record.lake else None
    if record.hot is None or record not in hot_records(settings.catalogue.records):  # of a table that is shared, once
        return None
    if stage == "hot":
        return HotDays(settings, record, record.hot)
    return ArchiveDays(settings, record, record.hot)


class _FileDays:
    """Files, read with Arrow and asked with DuckDB."""

    #: Column of a record -> column of the table.
    names: Mapping[str, str]
    expected: Mapping[str, str]
    required: frozenset[str]
    _dataset: ds.Dataset

    def __init__(self, record: RecordType) -> None:
        self._record = record

    def types(self) -> dict[str, str]:
        own = {column: name for name, column in self.names.items()}
        return {own.get(field.name, field.name): str(field.type) for field in self._dataset.schema if field.name not in _PARTITIONS}

    def _of_days(self, first: date, last: date) -> pc.Expression:
        kind = self._dataset.schema.field(self.names[self._record.event_time]).type
        begin, end = (pa.scalar(midnight(day), pa.timestamp("us", tz="UTC")).cast(kind) for day in (first, last + timedelta(days=1)))
        time = pc.field(self.names[self._record.event_time])
        return (time >= begin) & (time < end)

    def pieces(self, first: date, last: date, rows: int, keys: Sequence[str] | None = None) -> Iterator[pa.Table]:
        there = {name: column for name, column in self.names.items() if column in self._dataset.schema.names}
        chosen = self._of_days(first, last)
        if keys is not None:
            chosen &= pc.field(self.names[self._record.key]).isin(list(keys))
        columns = {name: pc.field(column) for name, column in there.items()}
        scanner = self._dataset.scanner(
            columns=columns, filter=chosen, batch_size=min(rows, 65_536), batch_readahead=2, fragment_readahead=1
        )
        yield from grouped(scanner.to_batches(), rows)

    def summary(self, columns: Mapping[str, str], by: Sequence[str], first: date, last: date, having: str = "") -> list[dict[str, Any]]:
        import duckdb

        time = self.names[self._record.event_time]
        groups = {"hour": f"epoch_us({_quoted(time)}) // 3600000000", "day": f"epoch_us({_quoted(time)}) // 86400000000"}
        inner = ", ".join(
            f"{_quoted(column)} AS {_quoted(name)}" for name, column in self.names.items() if column in self._dataset.schema.names
        )
        sql = _summary(f"(SELECT {inner}, {groups['hour']} AS hour, {groups['day']} AS day FROM stored) AS known", columns, by, having)
        with closing(duckdb.connect(config={"memory_limit": _DUCKDB_MEMORY, "threads": 2})) as connection:
            connection.register("stored", self._dataset.filter(self._of_days(first, last)))
            result = connection.execute(sql)
            names = [column[0] for column in result.description or ()]
            return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


#: Columns of folders, that no record has.
_PARTITIONS = (parquet.PARTITION, "year", "month")


class LakeDays(_FileDays):
    """The Delta table (:class:`DayTable`)."""

    def __init__(self, settings: Settings, record: RecordType) -> None:
        super().__init__(record)
        self._path, self._lake = lake.location(settings, record), settings.lake
        self.names = {field.name: field.name for field in record.published}
        self.expected = {field.name: str(field.type) for field in record.published}
        self.required = frozenset(field.name for field in record.published if not field.nullable)

    def exists(self) -> bool:
        from deltalake.exceptions import DeltaError, TableNotFoundError

        try:
            self._dataset = lake.dataset(self._path, self._lake)
        except TableNotFoundError:
            return False
        except (DeltaError, OSError) as e:
            raise StoreError(f"lake {self._path}: {one_line(e)}", "check lake.path and lake.s3_endpoint") from e
        return True

    def _of_days(self, first: date, last: date) -> pc.Expression:
        return (pc.field(parquet.PARTITION) >= pa.scalar(first)) & (pc.field(parquet.PARTITION) <= pa.scalar(last))


class ArchiveDays(_FileDays):
    """Parquet files by month, ``year=YYYY/month=MM``, of the columns of the hot table (:class:`DayTable`)."""

    def __init__(self, settings: Settings, record: RecordType, table: HotTable) -> None:
        super().__init__(record)
        path = settings.archive.path
        self._path = f"{path if '://' in path else settings.path(path)}/{table.name}"
        self._lake = settings.lake
        self.names = {column.source: column.name for column in table.columns}
        # the archive has types of its own, and says so in its files
        self.expected = {}
        self.required = frozenset(column.source for column in table.columns if "NOT NULL" in column.sql.upper())

    def exists(self) -> bool:
        import pyarrow.dataset as ds
        import pyarrow.fs as fs

        place = s3.uri(self._path)
        system = lake.files(place, self._lake) or fs.SubTreeFileSystem(str(Path(place)), fs.LocalFileSystem())
        try:
            found = system.get_file_info(fs.FileSelector("", recursive=True, allow_not_found=True))
            files = [info.path for info in found if info.is_file and info.path.endswith(".parquet")]
            if files:
                self._dataset = ds.dataset(files, filesystem=system, format="parquet", partitioning="hive")
        except (OSError, pa.ArrowException) as e:
            raise StoreError(f"archive {self._path}: {one_line(e)}", "check archive.path and lake.s3_endpoint") from e
        return bool(files)


class HotDays:
    """The table in PostgreSQL (:class:`DayTable`)."""

    names: Mapping[str, str]
    expected: Mapping[str, str]
    required: frozenset[str]

    def __init__(self, settings: Settings, record: RecordType, table: HotTable) -> None:
        self._settings = settings.hot
        self._record = record
        self._table = table
        self.names = {column.source: column.name for column in table.columns}
        named = {"timestamptz": "timestamp with time zone"}
        self.expected = {column.source: named.get(sql := table.types[column.name], sql) for column in table.columns}
        self.required = frozenset(column.source for column in table.columns if "NOT NULL" in column.sql.upper())

    def exists(self) -> bool:
        return bool(self._ask("SELECT to_regclass(%s) IS NOT NULL AS there", [self._table.name])[0]["there"])

    def types(self) -> dict[str, str]:
        own = {column: name for name, column in self.names.items()}
        sql = (
            "SELECT attname, format_type(atttypid, NULL) AS kind FROM pg_attribute "
            "WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped"
        )
        return {own.get(row["attname"], row["attname"]): row["kind"] for row in self._ask(sql, [self._table.name])}

    def pieces(self, first: date, last: date, rows: int, keys: Sequence[str] | None = None) -> Iterator[pa.Table]:
        there = self.types()
        chosen = [column for column in self._table.columns if column.source in there]
        listed, schema = [], []
        for column in chosen:
            read, kind = _READ[self._table.types[column.name]]
            listed.append(read.format(_quoted(column.name)))
            schema.append(pa.field(column.source, kind))
        sql = f"SELECT {', '.join(listed)} FROM {self._table.name} WHERE {self._of_days()}"
        values: list[Any] = [midnight(first), midnight(last + timedelta(days=1))]
        if keys is not None:
            sql += f" AND {_quoted(self.names[self._record.key])}::text = ANY(%s)"
            values.append(list(keys))
        with self._cursor("pieces") as cursor:
            cursor.execute(sql, values)
            while found := cursor.fetchmany(rows):
                arrays = [pa.array(values, field.type) for values, field in zip(zip(*found, strict=True), schema, strict=True)]
                yield _timed(pa.table(arrays, schema=pa.schema(schema)), self._record)

    def summary(self, columns: Mapping[str, str], by: Sequence[str], first: date, last: date, having: str = "") -> list[dict[str, Any]]:
        time, there = self.names[self._record.event_time], self.types()
        inner = ", ".join(f"{_quoted(column)} AS {_quoted(name)}" for name, column in self.names.items() if name in there)
        groups = ", ".join(
            f"floor(extract(epoch FROM {_quoted(time)}) / {seconds})::bigint AS {name}"
            for name, seconds in (("hour", 3600), ("day", 86_400))
        )
        source = f"(SELECT {inner}, {groups} FROM {self._table.name} WHERE {self._of_days()}) AS known"
        return self._ask(_summary(source, columns, by, having), [midnight(first), midnight(last + timedelta(days=1))])

    def _of_days(self) -> str:
        time = _quoted(self.names[self._record.event_time])
        return f"{time} >= %s AND {time} < %s"

    def _ask(self, sql: str, values: Sequence[Any]) -> list[dict[str, Any]]:
        with self._cursor() as cursor:
            cursor.execute(sql, values)
            names = [column.name for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    @contextmanager
    def _cursor(self, name: str | None = None) -> Iterator[Any]:
        import psycopg2

        try:
            connection = postgres.connect(self._settings, "flowlake-quality")
        except StoreUnavailable as e:
            raise StoreError(str(e), "start it: flowlake up") from e
        with closing(connection):
            try:
                with connection, connection.cursor(name) as cursor:
                    yield cursor
            except psycopg2.Error as e:
                raise StoreError(f"{postgres.where(self._settings)}: {one_line(e)}", "flowlake db status tells what its tables lack") from e


def grouped(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.Table]:
    """Batches as tables of so many rows, the last one of fewer."""
    waiting: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        while batch.num_rows:
            part = batch.slice(0, rows - count)
            batch = batch.slice(part.num_rows)
            waiting.append(part)
            count += part.num_rows
            if count == rows:
                yield pa.Table.from_batches(waiting)
                waiting, count = [], 0
    if count:
        yield pa.Table.from_batches(waiting)


def _summary(source: str, columns: Mapping[str, str], by: Sequence[str], having: str) -> str:
    listed = ", ".join([*by, *(f"{sql} AS {_quoted(name)}" for name, sql in columns.items())])
    group = f" GROUP BY {', '.join(by)}" if by else ""
    return f"SELECT {listed} FROM {source}{group}{f' HAVING {having}' if having else ''}"


def _timed(rows: pa.Table, record: RecordType) -> pa.Table:
    """Times that were read as microseconds, as times."""
    for i, field in enumerate(rows.schema):
        kind = record.published.field(field.name).type
        if pa.types.is_timestamp(kind):
            rows = rows.set_column(i, field.name, rows[field.name].cast(kind))
    return rows


def _quoted(name: str) -> str:
    return f'"{name}"'
