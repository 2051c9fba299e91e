"""Lake: closed records, every column, into a Delta table partitioned by event date.

A batch goes through in three steps: the identities of its records (three columns, decoded from the messages without touching the rest), the
identities among them that the table holds already (only files of the same dates and start times are read, only ``flow_id``), and one append
of what is new. The append carries the transaction id of the query and the batch, so a batch repeated after a crash is recognised by Delta
too.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from infra.config import Settings
from infra.errors import FlowlakeError, StoreError
from infra.log import get
from jobs.platform import s3
from jobs.platform.dead_letter import DeadLetter
from jobs.platform.workers import settled
from jobs.sinks import counters, messages, source
from jobs.sinks.stores import Handle, StoreUnavailable, until_done
from schemas.flows import PREDICTION_SCHEMA, RECORD_VERSION

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession
    from pyspark.sql.streaming import StreamingQuery

NAME = "lake"
PARTITION = "event_date"
#: Columns of the table: every column of a prediction, and the UTC date of the flow's start.
LAKE_SCHEMA = PREDICTION_SCHEMA.append(pa.field(PARTITION, pa.date32(), nullable=False))

#: Columns with statistics in the table's log; those that questions filter by. (The default, the first 32, makes the log ten times larger.)
STATISTICS = ("start_time", "end_time", "src_ip", "dst_ip", "dst_port", "protocol", "predicted_label", "attack_type", "sensor_id", "domain")

_KEY_COLUMNS = ("flow_id", "start_time", "closed")
_KEYS = pa.schema(
    [("flow_id", pa.string()), ("start_time", pa.timestamp("us", tz="UTC")), (PARTITION, pa.date32()), ("refused", pa.string())]
)
_KEYS_DDL = f"flow_id string, start_time timestamp, {PARTITION} date, refused string"

#: Rows of one output file at most, before compaction.
_FILE_ROWS = 500_000
#: Rows up to which the batch's identities are sent to every task instead of shuffling the table's.
_BROADCAST_ROWS = 500_000
#: Files of this size are left alone by compaction, and made no larger.
_SMALL_FILE, _LARGE_FILE = 32 << 20, 128 << 20
#: Compactions between two removals of files that no version of the table needs any more; how long those are kept.
_VACUUM_EVERY, _VACUUM_HOURS = 40, 168.0

_AWAY = (
    "No space left",
    "Disk quota",
    "Connection refused",
    "Connection reset",
    "Connect to",
    "timed out",
    "Timeout",
    "UnknownHost",
    "SdkClientException",
    "Service Unavailable",
    "SlowDown",
    "Status Code: 50",
    "ConcurrentAppendException",
    "ConcurrentModification",
    "DELTA_CONCURRENT",
    "ProtocolChangedException",
    "KafkaError",
    "NoBrokersAvailable",
    "Input/output error",
)
_DENIED = (
    "Permission denied",
    "AccessControlException",
    "AccessDenied",
    "Access Denied",
    "Read-only file system",
    "Not a directory",
    "ParentNotDirectory",
    "Mkdirs failed",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "NoSuchBucket",
)


def lake_rows(table: pa.Table) -> pa.Table:
    """Closed records as rows of the lake (:data:`LAKE_SCHEMA`)."""
    closed = table.filter(table["closed"])
    return closed.append_column(LAKE_SCHEMA.field(PARTITION), closed["start_time"].cast(pa.date32()))


def location(settings: Settings) -> str:
    """The table's place: an URI as it is, a relative folder made absolute."""
    path = settings.lake.path
    return path if "://" in path else str(settings.path(path))


def _keys_task(settings: Settings) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Identities of the closed records; this pass also sends what cannot be decoded to the dead letters."""

    def keys(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        letters: list[DeadLetter] = []
        for batch in batches:
            found, bad = messages.decode(batch, query=NAME, columns=_KEY_COLUMNS)
            letters += bad
            rows = messages.joined(found, _KEY_COLUMNS)
            rows = rows.filter(rows["closed"])
            days, nothing = rows["start_time"].cast(pa.date32()), pa.nulls(rows.num_rows, pa.string())
            yield from pa.table([rows["flow_id"], rows["start_time"], days, nothing], schema=_KEYS).to_batches()
        refused = source.refuse(letters, settings.kafka)
        if refused:
            yield pa.record_batch([[None], [None], [None], [refused]], schema=_KEYS)

    return keys


def _rows_task() -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """All columns of the closed records."""

    def rows(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            found, _ = messages.decode(batch, query=NAME)
            if found:
                yield from lake_rows(messages.joined(found)).to_batches(max_chunksize=10_000)

    return rows


@dataclass(frozen=True)
class Span:
    """Records of one event date in a batch."""

    day: date
    rows: int
    distinct: int
    first: datetime
    last: datetime


class Lake:
    """The table, and this process as its owner: the only one that writes, compacts and cleans it."""

    def __init__(self, spark: SparkSession, settings: Settings) -> None:
        self._settings = settings
        self._path = location(settings)
        self._touched: set[date] = set()
        self._batches = 0
        self._compactions = 0
        self._spark = spark

    def prepare(self) -> None:
        """Make sure that the folder can be written and the table is there with the right columns.

        Raises
        ------
        StoreError
            One line that names the folder.
        """
        if "://" not in self._path:
            _check_folder(Path(self._path))
        from delta.tables import DeltaTable
        from pyspark.sql.pandas.types import from_arrow_schema

        columns = _nullable(from_arrow_schema(LAKE_SCHEMA))
        try:
            table = (
                DeltaTable.createIfNotExists(self._spark)
                .location(self._path)
                .addColumns(columns)
                .partitionedBy(PARTITION)
                .property("delta.dataSkippingStatsColumns", ",".join(STATISTICS))
                .comment("Flow records, closed and scored; one row a flow_id")
                .execute()
            )
            there = {field.name: field.dataType for field in table.toDF().schema.fields}
        except Exception as e:
            raise _problem(e, self._settings, final=True) from e
        for field in columns.fields:
            if there.get(field.name) != field.dataType:
                found = there.get(field.name)
                raise StoreError(
                    f"lake table {self._path}: column {field.name} is {found.simpleString() if found else 'missing'}, "
                    f"expected {field.dataType.simpleString()} (records of version {RECORD_VERSION})",
                    "use another lake.path for this version",
                )

    def append(self, frame: DataFrame, batch_id: int, app: str) -> dict[str, Any]:
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
        dict
            ``rows`` closed records in the batch, ``inserted`` those that were new, ``refused`` the reports of refused messages.

        Raises
        ------
        StoreUnavailable, StoreError
            The batch was not applied, or was and this was not heard; it may be repeated.
        """
        try:
            return self._append(frame, batch_id, app)
        except FlowlakeError:
            raise
        except Exception as e:
            raise _problem(e, self._settings) from e

    def _append(self, frame: DataFrame, batch_id: int, app: str) -> dict[str, Any]:
        from pyspark.sql import functions as F
        from pyspark.sql.pandas.types import from_arrow_schema

        keys = frame.mapInArrow(settled(_keys_task(self._settings)), _KEYS_DDL).persist()
        known = None
        try:
            spans, refused = _spans(keys)
            rows, distinct = sum(s.rows for s in spans), sum(s.distinct for s in spans)
            if not rows:
                return {"rows": 0, "inserted": 0, "refused": refused}
            wanted = keys.where(F.col("flow_id").isNotNull()).select("flow_id")
            there = frame.sparkSession.read.format("delta").load(self._path).where(_within(spans)).select("flow_id")
            known = there.join(_hinted(wanted, rows), "flow_id", "left_semi").distinct().persist()
            held = known.count()
            new = frame.mapInArrow(settled(_rows_task()), _nullable(from_arrow_schema(LAKE_SCHEMA)))
            if distinct < rows:
                new = new.dropDuplicates(["flow_id"])
            if held:
                new = new.join(_hinted(known, held), "flow_id", "left_anti").select(*LAKE_SCHEMA.names)
            if distinct > held:
                files = max(1, -(-(distinct - held) // _FILE_ROWS))
                writer = new.coalesce(files).write.format("delta").mode("append")
                writer.option("txnAppId", app).option("txnVersion", str(batch_id)).save(self._path)
                self._touched.update(s.day for s in spans)
            return {"rows": rows, "inserted": distinct - held, "refused": refused}
        finally:
            keys.unpersist()
            if known is not None:
                known.unpersist()

    def maintain(self, spark: SparkSession) -> None:
        """After a batch: compact what was written lately, now and then remove old files. A failure is logged; the data is safe."""
        self._batches += 1
        if self._batches < self._settings.lake.compact_every or not self._touched:
            return
        from delta.tables import DeltaTable

        log = get("sink.lake")
        days, self._touched, self._batches = sorted(self._touched), set(), 0
        try:
            # Else each compaction would rewrite the whole day, up to the default of 1 GB.
            spark.conf.set("spark.databricks.delta.optimize.minFileSize", str(_SMALL_FILE))
            spark.conf.set("spark.databricks.delta.optimize.maxFileSize", str(_LARGE_FILE))
            table = DeltaTable.forPath(spark, self._path)
            chosen = ", ".join(f"DATE'{day}'" for day in days)
            done = table.optimize().where(f"{PARTITION} IN ({chosen})").executeCompaction().select("metrics.*").collect()[0]
            log.info("compacted", days=len(days), files_before=done["numFilesRemoved"], files_after=done["numFilesAdded"])
            self._compactions += 1
            if self._compactions % _VACUUM_EVERY == 0:
                table.vacuum(_VACUUM_HOURS)
        except Exception as e:
            log.warning("compaction failed, will be tried again", cause=_first_line(e))
            self._touched.update(days)


def _nullable(schema: Any) -> Any:
    """Without NOT NULL: a constraint of the table would be checked on every row, and the decoder has done that."""
    from pyspark.sql.types import StructField, StructType

    return StructType([StructField(field.name, field.dataType, True) for field in schema.fields])


def _spans(keys: DataFrame) -> tuple[list[Span], list[str]]:
    """Counts and time spans by date, and the reports of refused messages: one evaluation."""
    from pyspark.sql import functions as F

    found = (
        keys.groupBy(PARTITION)
        .agg(
            F.count("flow_id").alias("rows"),
            F.countDistinct("flow_id").alias("distinct_rows"),
            F.min("start_time").alias("first"),
            F.max("start_time").alias("last"),
            F.collect_list("refused").alias("refused"),
        )
        .collect()
    )
    spans = [Span(r[PARTITION], r.rows, r.distinct_rows, r["first"], r["last"]) for r in found if r[PARTITION] is not None]
    return spans, [report for r in found for report in r.refused]


def _within(spans: list[Span]) -> Column:
    """Rows of the table that can be records of these spans; partitions and file statistics decide it without reading."""
    from functools import reduce
    from operator import or_

    from pyspark.sql import functions as F

    return reduce(or_, ((F.col(PARTITION) == F.lit(s.day)) & F.col("start_time").between(F.lit(s.first), F.lit(s.last)) for s in spans))


def _hinted(frame: DataFrame, rows: int) -> DataFrame:
    from pyspark.sql import functions as F

    return F.broadcast(frame) if rows <= _BROADCAST_ROWS else frame


def _check_folder(path: Path) -> None:
    hint = "give this user the right to write there, or set lake.path"
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as e:
        if e.errno in (28, 122):  # ENOSPC, EDQUOT
            hint = "make room on the disk, or set lake.path"
        raise StoreError(f"lake folder {path} (lake.path) cannot be written: {os.strerror(e.errno or 0)}", hint) from e


def _first_line(error: BaseException) -> str:
    java = getattr(error, "java_exception", None)
    text = str(java.toString()) if java is not None else str(error)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300]


def _problem(error: Exception, settings: Settings, *, final: bool = False) -> Exception:
    """What to do about a failure of Spark or Delta: wait, stop with one line, or - unknown - pass it on as it is."""
    text, path = str(error), location(settings)
    if store := s3.trouble(text, path, settings.lake):
        return StoreUnavailable(store.message) if store.passing and not final else StoreError(store.message, store.hint)
    if any(word in text for word in _DENIED):
        return StoreError(
            f"lake {path} cannot be written: {_told(text, _DENIED)}", "check the rights on the folder or bucket, or set lake.path"
        )
    if any(word in text for word in _AWAY):
        cause = f"lake {path}: {_told(text, _AWAY)}"
        return StoreError(cause, "check lake.path and lake.s3_endpoint") if final else StoreUnavailable(cause)
    return StoreError(f"lake {path}: {_first_line(error)}", "check lake.path") if final else error


def _told(text: str, words: tuple[str, ...]) -> str:
    """The line of a long trace that says it."""
    for line in text.splitlines():
        if any(word in line for word in words):
            return line.strip()[:300]
    return text[:300]


def start(spark: SparkSession, settings: Settings) -> StreamingQuery:
    """Start the query ``lake``.

    Raises
    ------
    StoreError
        The lake cannot be written, or holds a table of other columns. (Once started, the query waits for a lake that goes away.)
    """
    handle = Handle(NAME)
    table = Lake(spark, settings)
    table.prepare()

    def apply(frame: DataFrame, batch_id: int) -> dict[str, Any]:
        app = f"flowlake-lake-v{RECORD_VERSION}-{source.query_id(frame.sparkSession)}"
        result = until_done(
            lambda: table.append(frame, batch_id, app),
            handle,
            store=f"lake {location(settings)}",
            on_wait=lambda _: counters.add(counters.WAITS, NAME, 1),
        )
        counters.add(counters.SINK_ROWS, NAME, result["inserted"])
        counters.add(counters.SINK_COPIES, NAME, result["rows"] - result["inserted"])
        refused = source.count_refused(result.pop("refused"), NAME)
        table.maintain(frame.sparkSession)
        return {**result, "refused": refused}

    return source.run(source.read(spark, settings, NAME), settings, NAME, settings.lake.trigger_ms, handle, apply)
