"""Delta tables beside the lake's, such as ``labels``: few rows, written by whoever has something to say, with delta-rs alone.

Several processes may append at once: each commit is tried again behind the others. What needs the whole table (:meth:`Side.upsert`,
:meth:`Side.delete`) is begun anew where another of its kind came first.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa

from infra import paths
from infra.config import Settings
from infra.errors import StoreError, one_line
from jobs.runtime import lake, s3

if TYPE_CHECKING:
    import pyarrow.dataset as ds

#: Commits between two checkpoints of the table's log: a table that is opened reads one and what came after.
CHECKPOINT_EVERY = 20
#: Side tables live long and are small; their log is kept for so long.
_LOG_DAYS = 30
#: Files that :meth:`Side.maintain` begins at.
_MANY_FILES = 20
#: Times that a commit is tried where others come first, and seconds to the next try, on average half of them more each time.
_TRIES = 20
_PAUSE_S = 0.1
Result = TypeVar("Result")


@dataclass(frozen=True)
class SideTable:
    """What a side table is.

    Parameters
    ----------
    name : str
        Of its folder, beside ``lake.path`` (``lake.tables`` may give another place).
    schema : pa.Schema
        Its columns. Nullable in the table: old rows have no value in a column that came later.
    comment : str
        Of the table.
    partition : str
        Column by which it is partitioned; empty: by none.
    """

    name: str
    schema: pa.Schema
    comment: str
    partition: str = ""


class Side:
    """A side table in its place. Making one does nothing.

    Parameters
    ----------
    settings
        Where the lake is, and its keys.
    table
        What the table is.

    Examples
    --------
    >>> side = Side(settings, LABELS)  # doctest: +SKIP
    >>> side.create()  # doctest: +SKIP
    >>> side.append(rows, once=("labels-import", 1))  # doctest: +SKIP
    """

    def __init__(self, settings: Settings, table: SideTable) -> None:
        self.table = table
        self.path = lake.beside(settings, table.name)
        self._settings = settings.lake
        self._root = s3.uri(self.path)
        self._options = s3.storage_options(settings.lake, self.path)
        if "://" not in self.path:
            paths.check(settings.path(self.path), "lake.path", paths.LAKE)

    def exists(self) -> bool:
        """Whether it has been made.

        Raises
        ------
        StoreError
            The store does not answer, or refuses.
        """
        from deltalake import DeltaTable

        with self._told():
            return bool(DeltaTable.is_deltatable(self._root, self._options))

    def create(self) -> None:
        """Make the table where it is not there, and add the columns that it lacks.

        Raises
        ------
        StoreError
            The place cannot be written, or the table there has a column of another type. One line that names it.
        """
        from deltalake import DeltaTable

        def make() -> None:
            if not DeltaTable.is_deltatable(self._root, self._options):
                DeltaTable.create(
                    self._root,
                    _nullable(self.table.schema),
                    mode="ignore",
                    partition_by=[self.table.partition] if self.table.partition else None,
                    description=self.table.comment,
                    configuration=_PROPERTIES,
                    storage_options=self._options,
                )
            self._fit(self._open())

        self._again(make)

    def _fit(self, table: Any) -> None:
        there = pa.schema(table.schema().to_arrow())
        for field in self.table.schema:
            if field.name in there.names and there.field(field.name).type != field.type:
                raise StoreError(
                    f"table {self.path}: column {field.name} is {there.field(field.name).type}, expected {field.type}",
                    f"name another place: lake.tables: {{{self.table.name}: ...}}",
                )
        if lacking := [field for field in _nullable(self.table.schema) if field.name not in there.names]:
            from deltalake import Schema

            table.alter.add_columns(Schema.from_arrow(pa.schema(lacking)).fields)

    def append(self, rows: pa.Table, *, once: tuple[str, int] | None = None) -> bool:
        """Add rows with one commit; the table is made where it is not there.

        Parameters
        ----------
        rows
            Columns of the table's schema, in any order; those that are left out are null.
        once
            Id and version of a transaction: rows of a version that the table has, or of an older one, are left out. Unique to one writer.

        Returns
        -------
        bool
            False when it was there already.

        Raises
        ------
        StoreError
            The commit failed, or was made and this was not heard; with ``once`` it may be repeated.
        """
        from deltalake import CommitProperties, Transaction, write_deltalake

        rows = _fitted(rows, self.table.schema)
        self.create()
        with self._told():
            table = self._open()
            last = table.transaction_version(once[0]) if once else None
            if once and last is not None and last >= once[1]:
                return False
            marks = [Transaction(once[0], once[1], int(time.time() * 1000))] if once else None
            # Another version of this program may have added columns.
            wide = _fitted(rows, pa.schema(table.schema().to_arrow()))
            write_deltalake(table, wide, mode="append", commit_properties=CommitProperties(app_transactions=marks))
        return True

    def upsert(self, rows: pa.Table, key: Sequence[str], *, newer: str = "") -> tuple[int, int]:
        """Put rows in, each in the place of the one with the same key; a row that is there as it is, stays.

        Parameters
        ----------
        rows
            As of :meth:`append`; no two with one key, no key null.
        key
            Columns that tell one row from another.
        newer
            A column by which a row that is there stays when it is the greater.

        Returns
        -------
        tuple of int
            How many rows are new, how many were changed.

        Raises
        ------
        StoreError
            The table cannot be written, or other processes were changing it each time.
        """
        rows = _fitted(rows, self.table.schema)
        self.create()
        if not rows.num_rows:
            return 0, 0
        same = " AND ".join(f"t.{name} = s.{name}" for name in key)
        changed = " OR ".join(f"(t.{name} IS DISTINCT FROM s.{name})" for name in self.table.schema.names if name not in key)
        changed = f"({changed or 'false'})" + (f" AND (t.{newer} <= s.{newer})" if newer else "")
        values = {name: f"s.{name}" for name in rows.column_names}

        def merged() -> dict[str, Any]:
            merge = self._open().merge(rows, same, source_alias="s", target_alias="t")
            return dict(merge.when_matched_update(values, changed).when_not_matched_insert(values).execute())

        done = self._again(merged)
        return int(done["num_target_rows_inserted"]), int(done["num_target_rows_updated"])

    def delete(self, predicate: str) -> int:
        """Remove the rows that an SQL predicate holds for; returns how many. Older versions of the table still have them.

        Raises
        ------
        StoreError
            As of :meth:`upsert`.
        """
        return self._again(lambda: int(self._open().delete(predicate)["num_deleted_rows"] or 0))

    def version(self) -> int | None:
        """Number of the newest version; None where it was not made yet.

        Raises
        ------
        StoreError
            The store does not answer, or refuses.
        """
        if not self.exists():
            return None
        with self._told():
            return int(self._open().version())

    def dataset(self, version: int | None = None) -> ds.Dataset:
        """Its rows, for Arrow and DuckDB, as they are or in a version; without any where it was not made yet.

        Raises
        ------
        StoreError
            The store does not answer, or refuses.
        """
        import pyarrow.dataset as ds

        if not self.exists():
            return ds.dataset(self.table.schema.empty_table())
        with self._told():
            return lake.dataset(self.path, self._settings, version=version)

    def maintain(self) -> None:
        """Join small files, and write the log's checkpoint; the table's rows stay as they are.

        Raises
        ------
        StoreError
            As of :meth:`upsert`.
        """
        with self._told():
            table = self._open()
            if len(table.file_uris()) >= _MANY_FILES:
                table.optimize.compact()
                table.vacuum(dry_run=False)
            table.create_checkpoint()

    def _open(self) -> Any:
        from deltalake import DeltaTable

        return DeltaTable(self._root, storage_options=self._options)

    def _again(self, work: Callable[[], Result]) -> Result:
        """What a commit gives; where another one came first, it is begun anew, on the table as it is then."""
        from deltalake.exceptions import CommitFailedError

        tried = 0
        with self._told():
            while True:
                try:
                    return work()
                except CommitFailedError as e:
                    tried += 1
                    if tried >= _TRIES:
                        raise StoreError(
                            f"table {self.path}: other programs were changing it each of {tried} times: {one_line(e, 120)}",
                            "the same command again, in a moment",
                        ) from e
                    time.sleep(random.uniform(0, _PAUSE_S * tried))

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What delta-rs says, in one line."""
        from deltalake.exceptions import DeltaError

        try:
            yield
        except (DeltaError, OSError) as e:
            raise lake.problem(e, self.path, self._settings) from e


#: Of every side table. The log's own cleaning goes with its checkpoints.
_PROPERTIES = {
    "delta.checkpointInterval": str(CHECKPOINT_EVERY),
    "delta.logRetentionDuration": f"interval {_LOG_DAYS} days",
    "delta.enableExpiredLogCleanup": "true",
}


def _nullable(schema: pa.Schema) -> pa.Schema:
    return pa.schema([field.with_nullable(True) for field in schema])


def _fitted(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Rows with every column of the schema, in its order and types.

    Raises
    ------
    ValueError
        A column that the table does not have.
    """
    if unknown := sorted(set(rows.column_names) - set(schema.names)):
        raise ValueError(f"no column {unknown[0]!r}; there are: {', '.join(schema.names)}")
    columns = [rows[f.name].cast(f.type) if f.name in rows.column_names else pa.nulls(rows.num_rows, f.type) for f in schema]
    return pa.table(columns, schema=_nullable(schema))
