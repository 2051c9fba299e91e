"""Parquet files of the lake, written by the tasks with Arrow; the driver puts them into the Delta table with one commit (delta-rs).

Through Spark's own writer a batch of the lake cost ten times as much, all of it in the JVM: each of some 120 columns of each row is
converted twice and its statistics are kept. Readers see no difference: the same layout, the same log.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from infra.errors import one_line
from infra.log import get
from infra.sections import LakeSettings
from jobs.runtime import lake as tables
from jobs.runtime import s3
from schemas.records import RecordType

#: Column by which the tables are partitioned: the UTC date of the event time.
PARTITION = "event_date"

#: Rows of one file at most, before compaction; some 100 MB of memory.
FILE_ROWS = 100_000
#: What :func:`write` gives back: a file of the table, as the log wants it.
ADDED = pa.schema([("path", pa.string()), ("size", pa.int64()), ("date", pa.date32()), ("stats", pa.string())])
ADDED_DDL = "path string, size long, date date, stats string"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def reaches(path: str) -> bool:
    """Whether a lake can be written here: a folder, or S3, whose keys are settings. Others are left to Spark."""
    return "://" not in path or path.startswith("s3a://")


def lake_schema(record: RecordType) -> pa.Schema:
    """Columns of the table: every column of a published record, and :data:`PARTITION`."""
    return record.published.append(pa.field(PARTITION, pa.date32(), nullable=False))


def lake_rows(table: pa.Table, record: RecordType) -> pa.Table:
    """Final records as rows of the lake (:func:`lake_schema`)."""
    return dated(record.finals(table), record)


def dated(final: pa.Table, record: RecordType) -> pa.Table:
    """The same for records that are final all."""
    return final.append_column(pa.field(PARTITION, pa.date32(), nullable=False), final[record.event_time].cast(pa.date32()))


def statistics_of(record: RecordType) -> tuple[str, ...]:
    """Columns with statistics in the table's log; the default, the first 32, makes the log ten times larger."""
    return record.lake.statistics if record.lake else ()


def write(tables: Iterable[pa.Table], root: str, lake: LakeSettings, counted: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Write rows of :func:`lake_schema` below ``root``; gives rows of :data:`ADDED`. Nothing reads the files until they are committed.

    Parameters
    ----------
    tables
        Rows of any dates.
    root
        Folder, or ``s3://bucket/prefix``.
    lake
        Endpoint and keys of the bucket.
    counted
        Columns with statistics.
    """
    waiting: list[pa.Table] = []
    count = 0
    for table in tables:
        waiting.append(table)
        count += table.num_rows
        if count >= FILE_ROWS:
            yield from _flush(waiting, root, lake, counted)
            waiting, count = [], 0
    if count:
        yield from _flush(waiting, root, lake, counted)


def _flush(tables: Sequence[pa.Table], root: str, lake: LakeSettings, counted: Sequence[str]) -> Iterator[pa.RecordBatch]:
    rows = pa.concat_tables(tables)
    days = rows[PARTITION].unique().to_pylist()
    for day in days:
        part = (rows.filter(pc.equal(rows[PARTITION], day)) if len(days) > 1 else rows).drop_columns([PARTITION])
        path = f"{PARTITION}={day}/part-{unique()}.parquet"
        size = put(part, root, path, lake)
        yield pa.record_batch([[path], [size], pa.array([day], pa.date32()), [statistics(part, counted)]], schema=ADDED)


def unique() -> str:
    """A name that no other file has."""
    return str(uuid.uuid4())


def put(rows: pa.Table, root: str, path: str, lake: LakeSettings, group_rows: int = FILE_ROWS, bloom: Sequence[str] = ()) -> int:
    """Write one file; its size in bytes.

    Parameters
    ----------
    rows
        Without :data:`PARTITION`.
    root, path
        The table, and the file below it.
    lake
        Endpoint and keys of the bucket.
    group_rows
        Rows of a row group.
    bloom
        Columns with Bloom filters.
    """
    body = pa.BufferOutputStream()
    filters = {name: {"ndv": min(rows.num_rows, group_rows), "fpp": 0.01} for name in bloom}
    pq.write_table(
        rows,
        body,
        compression="zstd",
        compression_level=1,
        row_group_size=group_rows,
        write_page_index=True,
        bloom_filter_options=filters or None,
    )
    content = body.getvalue()
    if root.startswith("s3://"):
        s3.client(lake).put_object(**_object(root, path), Body=content.to_pybytes())
    else:
        file = Path(root) / path
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(content)
    return int(content.size)


def _object(root: str, path: str) -> dict[str, str]:
    """Bucket and key of a file below ``s3://bucket/prefix``, as boto3 takes them."""
    bucket, _, prefix = root.removeprefix("s3://").partition("/")
    return {"Bucket": bucket, "Key": f"{prefix}/{path}".lstrip("/")}


def discard(paths: Iterable[str], root: str, lake: LakeSettings) -> None:
    """Remove files that are not going to be committed. One that stays behind is removed by the table's vacuum."""
    for path in paths:
        try:
            if root.startswith("s3://"):
                s3.client(lake).delete_object(**_object(root, path))
            else:
                (Path(root) / path).unlink(missing_ok=True)
        except Exception as e:
            get("sink.lake").warning("a file that is not part of the table stays", file=path, cause=one_line(e, 200))


def statistics(rows: pa.Table, counted: Sequence[str]) -> str:
    """Statistics of a file as Delta's protocol wants them ("Per-file Statistics"): times as ISO 8601 in milliseconds, rounded outwards."""
    low: dict[str, Any] = {}
    high: dict[str, Any] = {}
    nulls: dict[str, int] = {}
    for name in counted:
        column = rows[name]
        nulls[name] = column.null_count
        bounds = pc.min_max(column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column).as_py()
        if bounds["min"] is None:
            continue
        if pa.types.is_timestamp(column.type):
            low[name], high[name] = _iso(bounds["min"] // 1000), _iso(-(-bounds["max"] // 1000))
        else:
            low[name], high[name] = bounds["min"], bounds["max"]
    return json.dumps({"numRecords": rows.num_rows, "minValues": low, "maxValues": high, "nullCount": nulls}, separators=(",", ":"))


def _iso(milliseconds: int) -> str:
    return (_EPOCH + timedelta(milliseconds=milliseconds)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Log:
    """The table's log as the driver appends to it.

    Its checkpoints are written by :meth:`checkpoint` and not by each hundredth commit on its way: somebody waits for a commit.
    """

    def __init__(self, root: str, lake: LakeSettings) -> None:
        self._root = root
        self._lake = lake
        self._options = s3.storage_options(lake, root)
        self._table: Any = None
        self._checkpoint: int | None = None

    def table(self) -> Any:
        """The newest version of the table.

        Raises
        ------
        deltalake.exceptions.DeltaError, OSError
            It cannot be read.
        """
        from deltalake import DeltaTable

        if self._table is None:
            self._table = DeltaTable(self._root, storage_options=self._options)
        else:
            self._table.update_incremental()
        return self._table

    def commit(self, added: Iterable[tuple[str, int, date, str]], app: str, version: int) -> None:
        """Add files to the table, once for each transaction (``app``, ``version``): a repetition leaves it as it is.

        Raises
        ------
        deltalake.exceptions.DeltaError, OSError
            The commit failed, or was made and this was not heard.
        """
        from deltalake import CommitProperties, Transaction

        last = self.table().transaction_version(app)
        if last is not None and last >= version:
            return
        now = int(time.time() * 1000)
        self._write(_added(added, now, True), CommitProperties(app_transactions=[Transaction(app, version, now)]))

    def replace(self, added: Iterable[tuple[str, int, date, str]], removed: Iterable[tuple[str, int, date]], now: int) -> None:
        """Put files in the place of others with the same rows: who follows the table's changes sees none.

        Parameters
        ----------
        added, removed
            Path, size and date, of those that are added with their statistics.
        now
            Wall clock, milliseconds.

        Raises
        ------
        deltalake.exceptions.DeltaError, OSError
            As of :meth:`commit`.
        """
        from deltalake import CommitProperties
        from deltalake.transaction import RemoveAction

        self.table()
        gone = [RemoveAction(path, False, now, size, {PARTITION: day.isoformat()}) for path, size, day in removed]
        self._write([*_added(added, now, False), *gone], CommitProperties(custom_metadata={"flowlake": "compaction"}))

    def _write(self, actions: list[Any], properties: Any) -> None:
        from deltalake import PostCommitHookProperties

        table = self._table
        later = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)
        table.create_write_transaction(
            actions, "append", table.schema(), [PARTITION], commit_properties=properties, post_commithook_properties=later
        )

    def holds(self, path: str) -> bool:
        """Whether the newest version of the table has a file; True when that cannot be told."""
        self.forget()
        try:
            return any(uri.endswith(f"/{path}") for uri in self.table().file_uris())
        except Exception:
            return True

    def since_checkpoint(self) -> int:
        """Commits since the log's last checkpoint."""
        version = int((self._table or self.table()).version())  # of the commit just made, where there was one
        if self._checkpoint is None:
            self._checkpoint = tables.last_checkpoint(self._root, self._lake) or 0
        return version - self._checkpoint

    def checkpoint(self) -> None:
        """Write the log's checkpoint: who opens the table reads it and what came after, and not all from the beginning.

        The table is then opened anew here too: what is known of it would be taken through all commits again at each further one.
        """
        table = self.table()
        table.create_checkpoint()
        self._checkpoint = int(table.version())
        self.forget()

    def clean(self) -> None:
        """Remove what is older than ``delta.logRetentionDuration`` and needed by no version since."""
        self.table().cleanup_metadata()

    def vacuum(self, days: int, *, full: bool) -> int:
        """Remove files that no version of the last days needs; returns how many that are (some may be gone already).

        ``full`` lists the whole table, and finds those too that were written and never committed; else only what the log says was removed.
        """
        return len(self.table().vacuum(days * 24, dry_run=False, enforce_retention_duration=False, full=full))

    def forget(self) -> None:
        """Read the log anew at the next commit."""
        self._table = None


def _added(files: Iterable[tuple[str, int, date, str]], now: int, change: bool) -> list[Any]:
    from deltalake.transaction import AddAction

    return [AddAction(path, size, {PARTITION: day.isoformat()}, now, change, stats) for path, size, day, stats in files]
