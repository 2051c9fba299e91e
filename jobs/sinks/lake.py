"""Lake: final records of a type, every column, into its Delta table (:class:`schemas.records.LakeTable`), partitioned by event date.

A batch is one Spark job and a commit: the tasks write the final records as Parquet (:mod:`jobs.sinks.parquet`) and tell the driver their
identities; the driver knows what the table holds (:mod:`jobs.sinks.identities`) and puts the files into the table. When some of the records
are there already, the files are thrown away and what is new is written by a second job. Where delta-rs is not given the keys of the store,
the first job tells identities only and the second hands rows to Spark's own writer. No join and no literal that changes from batch to
batch: each would cost a planning and a compilation that dwarf the work. The commit carries the transaction id of the query and the batch,
so a batch repeated after a crash is recognised by Delta too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from infra import paths
from infra.config import Settings
from infra.errors import FlowlakeError, StoreError, one_line
from infra.log import get
from infra.sections import LakeSettings
from jobs.quality.batch import Checks
from jobs.quality.intake import Intake, QuarantineWriter
from jobs.runtime import lake, s3
from jobs.runtime.dead_letter import DeadLetter
from jobs.runtime.workers import settled
from jobs.sinks import laketable, messages, parquet, sink
from jobs.sinks.identities import Identities
from jobs.sinks.lakekeys import WIDTH, Keys, Picks, TableIdentities
from jobs.sinks.parquet import PARTITION, lake_rows, statistics_of
from jobs.sinks.sink import Applied
from jobs.sinks.stores import QueryHandle, StoreUnavailable
from jobs.sinks.upkeep import Upkeep
from schemas.records import RecordType

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

#: The sink's own name (:meth:`schemas.records.RecordType.query`).
SINK = "lake"
#: What a task tells: the identities of a message's final records, a report of what it refused, or a file that it wrote.
_TOLD = pa.schema(
    [
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("ids", pa.binary()),  # 36 bytes each, shorter ones filled up with zeros
        ("starts", pa.binary()),  # int64 each, microseconds
        ("refused", pa.string()),
        ("left_out", pa.string()),
        *parquet.ADDED,
    ]
)
_TOLD_DDL = f"partition int, offset long, ids binary, starts binary, refused string, left_out string, {parquet.ADDED_DDL}"
#: Rows that one task writes.
_TASK_ROWS = 500_000
#: Where Spark compacts: files of this size are left alone, and made no larger.
_SMALL_FILE, _LARGE_FILE = 32 << 20, 128 << 20
#: Compactions by Spark between two removals of files that no version of the table needs any more.
_VACUUM_EVERY = 40
_DAY_US = 86_400_000_000


def _told(**columns: Any) -> pa.RecordBatch:
    """Rows of :data:`_TOLD`; columns that are not given are null."""
    n = len(next(iter(columns.values())))
    return pa.RecordBatch.from_arrays([pa.array(columns.get(f.name, [None] * n), f.type) for f in _TOLD], schema=_TOLD)


class _Identified:
    """Takes messages apart and keeps the identities of their final records, and what it had to refuse."""

    def __init__(self, record: RecordType, columns: Sequence[str] | None, intake: Intake | None = None) -> None:
        self._record = record
        self._intake = intake
        self._query = record.query(SINK)
        self._columns = columns
        self._keys: list[tuple[int, int, bytes, bytes]] = []
        self._letters: list[DeadLetter] = []

    def final(self, batch: pa.RecordBatch) -> list[pa.Table]:
        """Final records of a batch of Kafka rows, a table a message."""
        found, bad = messages.decode(batch, self._record, query=self._query, columns=self._columns)
        self._letters += bad
        good = []
        for message in self._intake.sift(found) if self._intake else found:
            rows = self._record.finals(message.rows)
            if not rows.num_rows:
                continue
            ids = rows[self._record.key].combine_chunks()
            length = pc.binary_length(ids)
            short = pc.and_(pc.less_equal(length, WIDTH), pc.greater(length, 0))
            fine = pc.and_(pc.and_(short, pc.string_is_ascii(ids)), pc.invert(pc.match_substring(ids, "\0")))
            if not pc.all(fine).as_py():
                odd = ids.filter(pc.invert(fine))[0].as_py()
                self._letters.append(message.refused(f"{self._record.key.replace('_', '-')}: {odd[:100]!r}", self._query))
                continue
            if pc.min(length).as_py() < WIDTH:
                ids = pc.utf8_rpad(ids, WIDTH, padding="\0")
            starts = np.asarray(rows[self._record.event_time].cast(pa.int64()), np.int64)
            self._keys.append((message.partition, message.offset, "".join(ids.to_pylist()).encode(), starts.tobytes()))
            good.append(rows)
        return good

    def tell(self, settings: Settings) -> Iterator[pa.RecordBatch]:
        """Rows of :data:`_TOLD`; sends the dead letters."""
        if self._keys:
            partition, offset, ids, starts = zip(*self._keys, strict=True)
            yield _told(partition=partition, offset=offset, ids=ids, starts=starts)
        if refused := sink.refuse(self._letters, settings.kafka):
            yield _told(refused=[refused])
        if self._intake and (left_out := self._intake.report()):
            yield _told(left_out=[left_out])


def _keys_task(settings: Settings, record: RecordType) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Identities of the final records; only the columns that they take are touched."""
    columns = [record.key, record.event_time, *([record.final] if record.final else [])]

    def keys(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        seen = _Identified(record, columns)
        for batch in batches:
            seen.final(batch)
        yield from seen.tell(settings)

    return keys


def _write_task(
    settings: Settings, record: RecordType, root: str, intake: Callable[[], Intake]
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """All final records as files below ``root``, and their identities; those that fail a check are left out (``intake``)."""

    def write(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        seen = _Identified(record, None, intake())
        tables = (parquet.dated(pa.concat_tables(rows), record) for batch in batches if (rows := seen.final(batch)))
        for files in parquet.write(tables, root, settings.lake, statistics_of(record)):
            yield _told(**files.to_pydict())
        yield from seen.tell(settings)

    return write


def _fresh(batches: Iterable[pa.RecordBatch], record: RecordType, picks: Picks, checks: Checks | None) -> Iterator[pa.Table]:
    """All columns of the final records that are new, a table a batch of messages."""
    for batch in batches:
        places = zip(batch.column("partition").to_pylist(), batch.column("offset").to_pylist(), strict=True)
        chosen = batch.filter(pa.array([place in picks for place in places], pa.bool_()))
        found, _ = messages.decode(chosen, record, query=record.query(SINK))
        parts = []
        for message in checks.sift(found)[0] if checks else found:
            part, fresh = lake_rows(message.rows, record), picks[message.partition, message.offset]
            parts.append(part if fresh is None else part.filter(pa.array(fresh)))
        if parts:
            yield pa.concat_tables(parts).combine_chunks()


def _rows_task(record: RecordType, picks: Picks) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """New records as rows for Spark's writer."""

    def rows(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for table in _fresh(batches, record, picks, None):  # whose rows nobody has checked
            yield from table.to_batches(max_chunksize=10_000)

    return rows


def _files_task(
    record: RecordType, picks: Picks, checks: Checks | None, root: str, lake: LakeSettings
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """New records as files below ``root``."""
    return lambda batches: parquet.write(_fresh(batches, record, picks, checks), root, lake, statistics_of(record))


class Lake:
    """The table, and this process as its owner: the only one that writes, compacts and cleans it."""

    def __init__(self, spark: SparkSession, settings: Settings, record: RecordType) -> None:
        self._settings = settings
        self._record = record
        self._path = lake.location(settings, record)
        self._known = Identities(TableIdentities(spark, record, self._path))
        self._root = s3.uri(self._path)
        self._log = parquet.Log(self._root, settings.lake) if parquet.reaches(self._path) else None
        self._keeper = QuarantineWriter(settings, record, SINK)
        self._upkeep = Upkeep(record, self._root, settings.lake, self._log) if self._log else None
        self._touched: set[int] = set()  # days since 1970, where Spark compacts
        self._tasks = 1  # of the next batch: as if it were as large as the last
        self._batches = 0
        self._compactions = 0
        self._spark = spark

    def prepare(self) -> None:
        """Make sure that the folder can be written and the table is there with the columns of today.

        Raises
        ------
        StoreError
            One line that names the folder.
        """
        if "://" not in self._path:
            paths.check(Path(self._path), lake.setting(self._record), paths.LAKE)
            laketable.check_folder(Path(self._path))
        try:
            laketable.ensure(self._spark, self._record, self._path, self._settings.lake)
        except FlowlakeError:
            raise
        except Exception as e:
            raise _problem(e, self._settings, self._path, final=True) from e
        self._keeper.prepare()

    def append(self, frame: DataFrame, batch_id: int, app: str) -> Applied:
        """Append the batch's records that the table does not hold.

        Parameters
        ----------
        frame
            Kafka rows of the batch.
        batch_id
            Version of the transaction.
        app
            Id of the transactions; unique to a checkpoint. With the id of an older checkpoint Delta would silently drop the batch.

        Returns
        -------
        Applied
            What is in the batch, and what of it was new.

        Raises
        ------
        StoreUnavailable, StoreError
            The batch was not applied, or was and this was not heard; it may be repeated.
        """
        try:
            return self._append(frame, batch_id, app)
        except BaseException as e:
            self._known.forget()  # whether it was committed is not known
            if self._log:
                self._log.forget()
            if isinstance(e, FlowlakeError) or not isinstance(e, Exception):
                raise
            raise _problem(e, self._settings, self._path) from e

    def _append(self, frame: DataFrame, batch_id: int, app: str) -> Applied:
        tasks = frame.coalesce(self._tasks) if self._log else frame
        settings, record = self._settings, self._record
        work = _write_task(settings, record, self._root, self._keeper.intake) if self._log else _keys_task(settings, record)
        told = tasks.mapInArrow(settled(work), _TOLD_DDL).collect()
        keys = Keys.of(told)
        rows = len(keys.ids)
        self._tasks = max(1, -(-rows // _TASK_ROWS))
        self._keeper.commit(keys.left_out, app, batch_id)
        if not rows:
            return Applied(refused=tuple(keys.refused), left_out=tuple(keys.left_out))
        files = [(r.path, r.size, r.date, r.stats) for r in told if r.path is not None]
        fresh = self._known.new(keys.ids, keys.starts)
        inserted = int(fresh.sum())
        if self._log and inserted == rows:
            self._log.commit(files, app, batch_id)
        else:
            parquet.discard([path for path, *_ in files], self._root, self._settings.lake)
            if inserted:
                self._write(frame.coalesce(max(1, -(-inserted // _TASK_ROWS))), keys.picks(fresh), batch_id, app)
        self._known.add(keys.ids, keys.starts)
        if not self._log:
            self._touched.update(np.unique(keys.starts[fresh] // _DAY_US).tolist())
        return Applied(rows, inserted, tuple(keys.refused), left_out=tuple(keys.left_out))

    def _write(self, frame: DataFrame, picks: Picks, batch_id: int, app: str) -> None:
        if self._log:
            files = frame.mapInArrow(
                settled(_files_task(self._record, picks, self._keeper.checks, self._root, self._settings.lake)), parquet.ADDED_DDL
            ).collect()
            self._log.commit([tuple(file) for file in files], app, batch_id)
            return
        rows = frame.mapInArrow(settled(_rows_task(self._record, picks)), laketable.nullable(self._record))
        rows.write.format("delta").mode("append").option("txnAppId", app).option("txnVersion", str(batch_id)).save(self._path)

    def maintain(self, spark: SparkSession) -> None:
        """After a batch: what is due of the table's housekeeping, for a bounded time. A failure is logged; the data is safe."""
        if self._upkeep:
            self._upkeep.after_batch()
            return
        self._batches += 1
        if self._batches < self._settings.lake.compact_every or not self._touched:
            return
        self._batches = 0
        from delta.tables import DeltaTable

        log = get("sink.lake")
        day = self._touched.pop()  # one a time: how long it takes is not in our hand
        try:
            # Else each compaction would rewrite the whole day, up to the default of 1 GB.
            spark.conf.set("spark.databricks.delta.optimize.minFileSize", str(_SMALL_FILE))
            spark.conf.set("spark.databricks.delta.optimize.maxFileSize", str(_LARGE_FILE))
            table = DeltaTable.forPath(spark, self._path)
            chosen = f"{PARTITION} = DATE'{date(1970, 1, 1) + timedelta(days=day)}'"
            done = table.optimize().where(chosen).executeCompaction().select("metrics.*").collect()[0]
            log.info("compacted", days=1, files_before=done["numFilesRemoved"], files_after=done["numFilesAdded"])
            self._compactions += 1
            if self._compactions % _VACUUM_EVERY == 0:
                table.vacuum(self._settings.lake.history_days * 24.0)
        except Exception as e:
            log.warning("compaction failed, will be tried again", cause=_first_line(e))
            self._touched.add(day)


def _first_line(error: BaseException) -> str:
    java = getattr(error, "java_exception", None)
    text = str(java.toString()) if java is not None else str(error)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return one_line(lines[0] if lines else type(error).__name__)


def _problem(error: Exception, settings: Settings, path: str, *, final: bool = False) -> Exception:
    """What to do about a failure of Spark or Delta: wait, stop with one line, or - unknown - pass it on as it is."""
    if known := lake.trouble(error, path, settings.lake):
        return StoreUnavailable(known.message) if known.passing and not final else StoreError(known.message, known.hint)
    return StoreError(f"lake {path}: {_first_line(error)}", "check lake.path") if final else error


class LakeSink:
    """The lake table of a record type (:class:`jobs.sinks.sink.Sink`)."""

    final = True
    hint = "check lake.path and lake.s3_endpoint"

    def __init__(self, spark: SparkSession, settings: Settings, record: RecordType) -> None:
        self.name = record.query(SINK)
        self.record = record
        self.trigger_ms = settings.lake.trigger_ms
        self._path = lake.location(settings, record)
        self._lake = Lake(spark, settings, record)

    @property
    def store(self) -> str:
        return f"lake {self._path}"

    def prepare(self) -> None:
        self._lake.prepare()

    def begin(self, handle: QueryHandle) -> None:
        """Nothing works beside the batches."""

    def apply(self, frame: DataFrame, batch_id: int, *, again: bool) -> Applied:
        return self._lake.append(frame, batch_id, sink.application(self, frame.sparkSession))

    def applied(self, frame: DataFrame, batch_id: int, done: Applied) -> None:
        self._lake.maintain(frame.sparkSession)
